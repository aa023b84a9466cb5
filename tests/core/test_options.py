"""Settings given as keywords and in `options=`."""

import pytest

from visagist.core.errors import ConfigError
from visagist.core.options import combine
from visagist.media import EncodeOptions


def test_keywords_are_merged_into_the_options() -> None:
    options = EncodeOptions(codec="h264")
    combined = combine(options, EncodeOptions, crf=18, encoder_preset=None)
    assert combined == EncodeOptions(codec="h264", crf=18)
    assert combined.model_fields_set == {"codec", "crf"}
    assert combine(options, EncodeOptions, crf=None) is options
    assert combine(None, EncodeOptions, crf=0).crf == 0


@pytest.mark.parametrize(
    ("options", "given", "words"),
    [
        (EncodeOptions(crf=18), {"crf": 18}, "crf: given both"),  # even if the values agree
        (None, {"crf": "high"}, "EncodeOptions: crf"),
        (None, {"quality": 3}, "quality"),
    ],
)
def test_a_duplicate_or_invalid_setting_is_named(
    options: EncodeOptions | None, given: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        combine(options, EncodeOptions, **given)
