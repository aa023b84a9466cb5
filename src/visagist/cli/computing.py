"""What can be said of a training and of a device before any work.

- `training_is_possible`, `device_is_named`: validators for cyclopts
"""

from visagist.core.device import check_name
from visagist.core.errors import ConfigError
from visagist.models import ARCHITECTURES, configure
from visagist.training import TrainOptions


def device_is_named(_: type, device: str) -> None:
    """Refuse what names no device. Whether the device is there says the machine; that is no usage error.

    Raises:
        ValueError: it is none.
    """
    try:
        check_name(device)
    except ConfigError as error:
        raise ValueError(f"--device: {error}") from error


def training_is_possible(_: type, training: TrainOptions) -> None:
    """Refuse an unknown model, what its config and size do not take, and what names no device.

    Raises:
        ValueError: a value is refused.
    """
    try:
        if training.preset is None or "model" in training.model_fields_set:  # else the preset has yet to choose one
            configure(training.model, training.settings)
    except ConfigError as error:
        option = "--settings" if training.model in ARCHITECTURES else "--model"
        raise ValueError(f"{option}: {error}") from error
    if training.preset is None and training.losses.gan:  # else the preset has yet to choose the size
        try:
            training.losses.patch(configure(training.model, training.settings).size)
        except ConfigError as error:
            raise ValueError(f"--losses.gan-patch: {error}") from error
    device_is_named(str, training.device)
