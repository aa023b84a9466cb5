"""Networks that swap faces, one architecture a file.

- `Swapper`: what every one of them is
- `ARCHITECTURES`: their names
- `create`: a network by name; `configure`: its config

A new architecture is a new file with a frozen config and a `Swapper`, and a line in `ARCHITECTURES`.
"""

from collections.abc import Mapping

from visagist.errors import ConfigError
from visagist.models.base import Swapper, SwapperConfig
from visagist.models.original import Original, OriginalConfig
from visagist.models.quick import Quick, QuickConfig

__all__ = [
    "ARCHITECTURES",
    "Original",
    "OriginalConfig",
    "Quick",
    "QuickConfig",
    "Swapper",
    "SwapperConfig",
    "configure",
    "create",
]

ARCHITECTURES: dict[str, type[Swapper]] = {"original": Original, "quick": Quick}


def configure(name: str, settings: Mapping[str, object]) -> SwapperConfig:
    """The config of an architecture; settings that are not given keep their defaults.

    Raises:
        ConfigError: an unknown architecture or setting.

    >>> configure("quick", {"latent": 64}).size
    128
    """
    if name not in ARCHITECTURES:
        raise ConfigError(f"no model '{name}' (there are: {', '.join(ARCHITECTURES)})")
    config = ARCHITECTURES[name].Config
    known = config.__dataclass_fields__
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise ConfigError(f"model '{name}' has no setting {', '.join(unknown)} (it has: {', '.join(known)})")
    return config(**{key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()})


def create(name: str, identities: tuple[str, ...], **settings: object) -> Swapper:
    """A network with fresh weights, drawn from torch's global generator.

    Args:
        name: one of `ARCHITECTURES`.
        identities: the people that it will draw, two or more.
        settings: fields of the architecture's config; the rest keep their defaults.

    Raises:
        ConfigError: an unknown architecture or setting, or too few identities.

    >>> create("quick", ("source", "target")).size
    128
    """
    config = configure(name, settings)
    return ARCHITECTURES[name](identities, config)
