"""What `swap` and `merge` can say of an encoding before they look at the target.

- `encoding_is_possible`: a validator for cyclopts
"""

from visagist.core.errors import ConfigError
from visagist.media import EncodeOptions


def encoding_is_possible(_: type, encoding: EncodeOptions) -> None:
    """Refuse a quality or a speed that the codec does not have; where none is given, one that no codec has.

    Whether the output can hold the codec is known when the target has been probed; that is no usage error.

    Raises:
        ValueError: a value is refused.
    """
    codec = encoding.codec or "h264"  # h265 has the same settings, and no other codec has any
    try:
        EncodeOptions(codec=codec, crf=encoding.crf, encoder_preset=encoding.encoder_preset).filled()
    except ConfigError as error:
        raise ValueError(f"--{error}") from error  # its message begins with the setting's name
