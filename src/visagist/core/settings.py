"""Settings: one frozen schema shared by Python, the command line, TOML and the studio's forms.

In the JSON schema, each setting has a `description` (the docstring below the field), its range and default, and the
`group`, `advanced` and `unit` given by `shown`. `--help` is generated from these.
"""

import re
from difflib import get_close_matches
from pathlib import Path
from typing import Any, ClassVar, Self

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, ValidationError, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from visagist.core import read
from visagist.core.errors import ConfigError, ReadError
from visagist.core.files import write_atomic


def shown(group: str | None = None, *, first: bool = False, unit: str | None = None) -> Any:
    """Presentation of a setting in `--help` and forms, for use in `Annotated`.

    Args:
        group: panel title; by default that of the class.
        first: show before the Advanced panels.
        unit: unit shown after the range, such as `px`.
    """
    extra = {"group": group, "advanced": not first, "unit": unit}
    return Field(json_schema_extra={name: value for name, value in extra.items() if value is not None})


class Settings(BaseModel):
    """Base class of frozen settings that can be saved as TOML."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        field_title_generator=lambda name, _: name.replace("_", " ").capitalize(),
    )

    group: ClassVar[str] = "Options"
    """Panel title of settings without a `group` of their own."""

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler, /) -> JsonSchemaValue:
        found = handler.resolve_ref_schema(handler(schema))
        for each in found.get("properties", {}).values():
            each.setdefault("group", cls.group)
            each.setdefault("advanced", True)
        return found

    @model_validator(mode="before")
    @classmethod
    def _suggest(cls, values: Any) -> Any:
        """Reject unknown names and suggest the closest match."""
        for name in values if isinstance(values, dict) else ():  # pyright: ignore[reportUnknownVariableType]
            if name not in cls.model_fields:
                close = get_close_matches(str(name).lower().replace("-", "_"), cls.model_fields, n=1)  # pyright: ignore[reportUnknownArgumentType]
                remedy = f"did you mean '{close[0]}'?" if close else f"available: {', '.join(cls.model_fields)}"
                raise ValueError(f"no setting '{name}'; {remedy}")
        return values  # pyright: ignore[reportUnknownVariableType]

    def toml(self) -> str:
        """These settings as TOML; None is omitted."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))

    def save(self, path: Path) -> None:
        """Write the settings to a TOML file atomically.

        Raises:
            OutputError: the file cannot be written.
        """
        write_atomic(path, self.toml())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read settings from a TOML file.

        Raises:
            ConfigError: the file is missing, is not TOML, or has an invalid field.
        """
        return cls.parse(read_toml(path), path)

    @classmethod
    def parse(cls, values: dict[str, Any], where: Path | str) -> Self:
        """Validate plain values; `where` is named in the error.

        Raises:
            ConfigError: a field is missing, unknown or invalid.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(": ".join(filter(None, (str(where), *first_error(error))))) from error


def first_error(error: ValidationError) -> tuple[str, str]:
    """Dotted field name of the first error (empty if it concerns the whole), and pydantic's message with the value."""
    first, *rest = error.errors()
    where, messages = first["loc"], [first["msg"]]
    if where and not re.fullmatch(r"[\w-]+", str(where[-1])):  # a member of a union, such as literal['left','right']
        where = where[:-1]
        messages += [each["msg"] for each in rest if each["loc"][:-1] == where]
    if "error" in first.get("ctx", {}):  # raised by one of our own validators
        return ".".join(map(str, where)), str(first.get("ctx", {})["error"])
    value = f", not {first['input']}" if isinstance(first["input"], str | int | float) else ""
    return ".".join(map(str, where)), " or ".join(message[:1].lower() + message[1:] for message in messages) + value


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        ConfigError: the file is missing or is not TOML.
    """
    try:
        return read.read_toml(path)
    except ReadError as error:
        raise ConfigError(str(error)) from error


def save_call(path: Path, values: dict[str, Any]) -> None:
    """Write the resolved arguments of a call as TOML, so that `--config` with this file repeats it.

    Raises:
        OutputError: the file cannot be written.
    """
    write_atomic(path, tomli_w.dumps(_plain(values)))


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Values that TOML supports: paths as text, without None and empty tables."""
    plain: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            value = _plain(value)
        if value is not None and value != {}:
            plain[name] = str(value.absolute()) if isinstance(value, Path) else value
    return plain
