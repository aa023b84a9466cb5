"""Validators of options that would be refused only later, by torch or by a network."""

from visagist.core.device import check_device_name
from visagist.core.errors import ConfigError
from visagist.models import configure
from visagist.training import TrainOptions


def device_is_named(_: type, device: str) -> None:
    """Refuse what names no device; whether the machine has it is no usage error.

    Raises:
        ValueError: it is none.
    """
    try:
        check_device_name(device)
    except ConfigError as error:
        raise ValueError(str(error)) from error


def training_is_possible(_: type, training: TrainOptions) -> None:
    """Refuse settings that make no network, and a device that is none.

    Raises:
        ValueError: a value is refused; begins with the option.
    """
    field = "device"
    try:
        check_device_name(training.device)
        if training.preset is None or "model" in training.model_fields_set:  # else the preset has yet to choose one
            field = "settings"
            size = configure(training.model, training.settings).size
            if training.preset is None and training.losses.gan:
                field = "losses.gan_patch"
                training.losses.patch(size)
    except ConfigError as error:
        raise ValueError(f"{field}: {error}") from error
