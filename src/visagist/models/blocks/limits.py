"""Checks of sizes and widths for the configs of architectures."""

from collections.abc import Mapping

from visagist.core.errors import ConfigError

MAX_WIDTH = 4096  # channels, or length of a latent


def check_size(model: str, size: int, limits: tuple[int, int], step: int) -> None:
    """Check that a size in px is within `limits`, inclusive, and a multiple of `step`.

    Raises:
        ConfigError: it is not; the message suggests valid sizes.
    """
    low, high = limits
    if not low <= size <= high or size % step:
        near = sorted({min(high, max(low, size // step * step + more)) for more in (0, step)})
        raise ConfigError(
            f"model '{model}': size {size} must be a multiple of {step} from {low} to {high}, such as "
            + " or ".join(str(value) for value in near)
        )


def check_widths(model: str, widths: Mapping[str, int | tuple[int, ...]], minimum: int = 1) -> None:
    """Check widths, given by the name of their setting.

    Raises:
        ConfigError: a width is not in `minimum` to `MAX_WIDTH`.
    """
    for name, given in widths.items():
        for width in given if isinstance(given, tuple) else (given,):
            if not minimum <= width <= MAX_WIDTH:
                raise ConfigError(f"model '{model}': {name} {width} must be from {minimum} to {MAX_WIDTH}")
