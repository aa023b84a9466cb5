"""Networks that swap faces, one architecture per file.

Other distributions add architectures through the entry-point group `visagist.models`.
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
    if name in ("Swapper", "SwapperConfig"):  # lazily, so that architectures can be listed without importing torch
        from visagist.models import swapper

        return getattr(swapper, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def configure(name: str, settings: Mapping[str, object]) -> "SwapperConfig":
    """The config of an architecture, with defaults for missing settings.

    A setting with several numbers can also be text such as `96,192,320`, as on the command line.

    Raises:
        ConfigError: an unknown architecture or setting, or an invalid value.

    >>> configure("quick", {"latent": 64}).size
    128
    """
    architecture = ARCHITECTURES[name]
    if not hasattr(architecture, "Config"):  # from another distribution
        raise ConfigError(f"model '{name}': {architecture!r} is not a Swapper with a Config")
    config = architecture.Config
    known = config.__dataclass_fields__
    unknown = sorted(set(settings) - set(known))
    if unknown:
        raise ConfigError(f"model '{name}' has no setting {', '.join(unknown)} (available: {', '.join(known)})")
    hints = get_type_hints(config)
    given = {key: _numbers(name, known[key], hints[key], value) for key, value in settings.items()}
    adapter: TypeAdapter[Any] = TypeAdapter(config)
    try:
        made: SwapperConfig = adapter.validate_python(given)  # also converts lists and text from TOML and the CLI
    except ValidationError as error:
        raise ConfigError(f"model '{name}': {': '.join(first_error(error))}") from error
    if made.size < MIN_SIZE:
        raise ConfigError(f"model '{name}': size {made.size} must be at least {MIN_SIZE} px")
    return made


def settings_schema(name: str) -> dict[str, Any]:
    """JSON schema of each setting of an architecture, with the docstring below the field as `description`.

    >>> settings_schema("quick")["latent"]["default"]
    320
    """
    config: Any = ARCHITECTURES[name].Config
    config.__pydantic_config__ = ConfigDict(use_attribute_docstrings=True)
    return TypeAdapter(config).json_schema()["properties"]


def _numbers(name: str, setting: Field[Any], hint: Any, value: object) -> object:
    """Split the value of a setting with several numbers; return any other value unchanged."""
    if get_origin(hint) is not tuple:
        return value
    numbers: Any = value.split(",") if isinstance(value, str) else value
    count = len(get_args(hint))
    if not isinstance(numbers, list | tuple) or len(numbers) != count:  # pyright: ignore[reportUnknownArgumentType]
        default = ",".join(map(str, cast("tuple[int, ...]", setting.default)))
        raise ConfigError(f"model '{name}': {setting.name} must be {count} numbers such as {default}, not {value}")
    return numbers  # pyright: ignore[reportUnknownVariableType]


def create(name: str, identities: tuple[str, ...], **settings: object) -> "Swapper":
    """A network with random weights from torch's global generator.

    Args:
        name: one of `ARCHITECTURES`.
        identities: names of the identities the network can predict, two or more.
        settings: fields of the architecture's config; the others keep their defaults.

    Raises:
        ConfigError: an unknown architecture or setting, or too few identities.

    >>> create("quick", ("source", "target")).size
    128
    """
    config = configure(name, settings)
    return ARCHITECTURES[name](identities, config)
