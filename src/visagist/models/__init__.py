"""Networks that swap faces, one architecture a file.

- `Swapper`: what every one of them is
- `ARCHITECTURES`: their names
- `create`: a network by name; `configure`: its config

A new architecture is a new file with a frozen config and a `Swapper`, and a line in `ARCHITECTURES`.
"""

from collections.abc import Mapping
from dataclasses import Field
from typing import Any, cast, get_args, get_origin

from pydantic import TypeAdapter, ValidationError

from visagist.core.errors import ConfigError
from visagist.core.settings import first_fault
from visagist.models.amp import Amp, AmpConfig
from visagist.models.base import Swapper, SwapperConfig
from visagist.models.df import Df, DfConfig
from visagist.models.liae import Liae, LiaeConfig
from visagist.models.original import Original, OriginalConfig
from visagist.models.quick import Quick, QuickConfig
from visagist.models.visage import Visage, VisageConfig

__all__ = [
    "ARCHITECTURES",
    "Amp",
    "AmpConfig",
    "Df",
    "DfConfig",
    "Liae",
    "LiaeConfig",
    "Original",
    "OriginalConfig",
    "Quick",
    "QuickConfig",
    "Swapper",
    "SwapperConfig",
    "Visage",
    "VisageConfig",
    "configure",
    "create",
]

ARCHITECTURES: dict[str, type[Swapper]] = {
    "original": Original,
    "quick": Quick,
    "visage": Visage,
    "df": Df,
    "liae": Liae,
    "amp": Amp,
}


def configure(name: str, settings: Mapping[str, object]) -> SwapperConfig:
    """The config of an architecture; settings that are not given keep their defaults.

    Settings of several numbers can be text, too: `96,192,320`, as on a command line.

    Raises:
        ConfigError: an unknown architecture or setting, or a value that makes no network.

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
    adapter: TypeAdapter[Any] = TypeAdapter(config)
    given = {key: _numbers(name, known[key], value) for key, value in settings.items()}
    try:
        made: SwapperConfig = adapter.validate_python(given)  # TOML and the command line know lists and text
    except ValidationError as error:
        field, reason = first_fault(error, config)
        raise ConfigError(f"model '{name}': {field} {reason}") from error
    return made


def _numbers(name: str, setting: Field[Any], value: object) -> object:
    """The numbers of a setting that has several, from text or a list; the value of any other as it is.

    Raises:
        ConfigError: more or fewer than the setting has.
    """
    if get_origin(setting.type) is not tuple:
        return value
    numbers: Any = value.split(",") if isinstance(value, str) else value
    wanted = len(get_args(setting.type))
    if not isinstance(numbers, list | tuple) or len(numbers) != wanted:  # pyright: ignore[reportUnknownArgumentType]
        usual = ",".join(map(str, cast("tuple[int, ...]", setting.default)))
        raise ConfigError(f"model '{name}': {setting.name} must be {wanted} numbers such as {usual}, not {value}")
    return numbers  # pyright: ignore[reportUnknownVariableType]


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
