"""Validators of options that torch or a network would refuse only later."""

from visagist.core.device import check_device_name
from visagist.core.errors import ConfigError
from visagist.models import configure
from visagist.training import TrainOptions


def device_is_named(_: type, device: str) -> None:
    """Raise `ValueError` for a malformed device name; a device that is not available is not a usage error."""
    try:
        check_device_name(device)
    except ConfigError as error:
        raise ValueError(str(error)) from error


def training_is_possible(_: type, training: TrainOptions) -> None:
    """Raise `ValueError`, starting with the option, for a malformed device or settings that the model refuses."""
    field = "device"
    try:
        check_device_name(training.device)
        if training.preset is None or "model" in training.model_fields_set:  # else the preset chooses one later
            field = "settings"
            size = configure(training.model, training.settings).size
            if training.preset is None and training.losses.gan:
                field = "losses.gan_patch"
                training.losses.patch(size)
    except ConfigError as error:
        raise ValueError(f"{field}: {error}") from error
