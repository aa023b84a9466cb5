"""Networks that swap faces, one architecture per file.

- `Swapper`: the contract of an architecture
- `ARCHITECTURES`: all of them by name, those of other distributions (entry-point group `visagist.models`) included
- `configure`, `create`: the config of an architecture, and a network with fresh weights
"""

from collections.abc import Mapping
from dataclasses import Field
from typing import TYPE_CHECKING, Any, cast, get_args, get_origin, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from visagist.core.errors import ConfigError
from visagist.core.registry import Registry
from visagist.core.settings import first_error

if TYPE_CHECKING:
    from visagist.models.swapper import Swapper, SwapperConfig

__all__ = ["ARCHITECTURES", "Swapper", "SwapperConfig", "configure", "create", "settings_schema"]

ARCHITECTURES: "Registry[type[Swapper]]" = Registry(
    "model", "visagist.models", "visagist.models", besides=("bundle", "swapper")
)

MIN_SIZE = 32  # px; the windows of structural similarity do not fit into 16


def __getattr__(name: str) -> Any:
    if name in ("Swapper", "SwapperConfig"):  # at first use, so that names are listed without importing torch
        from visagist.models import swapper

        return getattr(swapper, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def configure(name: str, settings: Mapping[str, object]) -> "SwapperConfig":
    """The config of an architecture; settings that are not given keep their defaults.

    A setting with several numbers can also be text, such as `96,192,320` on the command line.

    Raises:
        ConfigError: an unknown architecture or setting, or a value that makes no network.

    >>> configure("quick", {"latent": 64}).size
    128
    """
    kind = ARCHITECTURES[name]
    if not hasattr(kind, "Config"):  # of another distribution
        raise ConfigError(f"model '{name}': {kind!r} is not a Swapper with a Config")
    config = kind.Config
    known = config.__dataclass_fields__
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise ConfigError(f"model '{name}' has no setting {', '.join(unknown)} (available: {', '.join(known)})")
    hints = get_type_hints(config)
    given = {key: _numbers(name, known[key], hints[key], value) for key, value in settings.items()}
    adapter: TypeAdapter[Any] = TypeAdapter(config)
    try:
        made: SwapperConfig = adapter.validate_python(given)  # TOML and the command line know lists and text
    except ValidationError as error:
        raise ConfigError(f"model '{name}': {': '.join(first_error(error))}") from error
    if made.size < MIN_SIZE:
        raise ConfigError(f"model '{name}': size {made.size} must be at least {MIN_SIZE} px")
    return made


def settings_schema(name: str) -> dict[str, Any]:
    """JSON schema of each setting of an architecture; `description` is the docstring below the field.

    >>> settings_schema("quick")["latent"]["default"]
    320
    """
    config: Any = ARCHITECTURES[name].Config
    config.__pydantic_config__ = ConfigDict(use_attribute_docstrings=True)
    return TypeAdapter(config).json_schema()["properties"]


def _numbers(name: str, setting: Field[Any], hint: Any, value: object) -> object:
    """The numbers of a setting that has several, from text or a list; the value of any other setting as it is."""
    if get_origin(hint) is not tuple:
        return value
    numbers: Any = value.split(",") if isinstance(value, str) else value
    wanted = len(get_args(hint))
    if not isinstance(numbers, list | tuple) or len(numbers) != wanted:  # pyright: ignore[reportUnknownArgumentType]
        usual = ",".join(map(str, cast("tuple[int, ...]", setting.default)))
        raise ConfigError(f"model '{name}': {setting.name} must be {wanted} numbers such as {usual}, not {value}")
    return numbers  # pyright: ignore[reportUnknownVariableType]


def create(name: str, identities: tuple[str, ...], **settings: object) -> "Swapper":
    """A network with fresh weights, drawn from torch's global generator.

    Args:
        name: one of `ARCHITECTURES`.
        identities: names of the identities that it can draw, two or more.
        settings: fields of the architecture's config; the rest keep their defaults.

    Raises:
        ConfigError: an unknown architecture or setting, or too few identities.

    >>> create("quick", ("source", "target")).size
    128
    """
    config = configure(name, settings)
    return ARCHITECTURES[name](identities, config)
