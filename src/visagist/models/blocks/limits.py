"""Checks of sizes and widths for the configs of architectures."""

from collections.abc import Mapping

from visagist.core.errors import ConfigError

WIDEST = 4096  # channels, or numbers of a latent


def check_size(model: str, size: int, limits: tuple[int, int], step: int) -> None:
    """Refuse a size that a network cannot have.

    Args:
        model: its name, for the message.
        size: px.
        limits: the smallest and the largest, px.
        step: what sizes are multiples of, px.

    Raises:
        ConfigError: it is outside of the limits or no multiple of `step`; the message says what is.
    """
    low, high = limits
    if not low <= size <= high or size % step:
        near = sorted({min(high, max(low, size // step * step + more)) for more in (0, step)})
        raise ConfigError(
            f"model '{model}': size {size} must be a multiple of {step} from {low} to {high}, such as "
            + " or ".join(str(value) for value in near)
        )


def check_widths(model: str, widths: Mapping[str, int | tuple[int, ...]], least: int = 1) -> None:
    """Refuse widths that make no network.

    Raises:
        ConfigError: one is not in `least` to `WIDEST`.
    """
    for name, given in widths.items():
        for width in given if isinstance(given, tuple) else (given,):
            if not least <= width <= WIDEST:
                raise ConfigError(f"model '{model}': {name} {width} must be from {least} to {WIDEST}")
