"""Settings: one frozen schema for Python, the command line and TOML.

- `Settings`: the base of every options class; unknown names are errors
- `read_toml`: a file's values, with errors that name the file and the field
- `save_call`: the resolved arguments of a call, beside its result
"""

import tomllib
from pathlib import Path
from typing import Any, Self

import tomli_w
from pydantic import BaseModel, ConfigDict, ValidationError

from visagist.errors import ConfigError
from visagist.files import write_atomic


class Settings(BaseModel):
    """Frozen settings; `model_dump(mode="json", exclude_none=True)` is what a TOML file holds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def toml(self) -> str:
        """These settings as TOML; absent values are left out."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))

    def save(self, path: Path) -> None:
        """Write the settings to `path`, atomically.

        Raises:
            OutputError: it cannot be written.
        """
        write_atomic(path, self.toml())

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read settings from a TOML file.

        Raises:
            ConfigError: the file is missing, is not TOML, or has a wrong field.
        """
        return cls.parse(read_toml(path), path)

    @classmethod
    def parse(cls, values: dict[str, Any], where: Path | str) -> Self:
        """Settings from plain values; `where` is named in the error.

        Raises:
            ConfigError: a field is missing, unknown or has a wrong value.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            field, reason = first_fault(error)
            raise ConfigError(f"{where}: {field or 'the file'}: {reason}") from error


def first_fault(error: ValidationError) -> tuple[str, str]:
    """The first field that is wrong, empty where it is all of them together, and what is wrong with it."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    if first["type"] == "value_error" and "ctx" in first:  # one of our own, which pydantic heads with `Value error, `
        return field, str(first["ctx"]["error"])
    return field, first["msg"][:1].lower() + first["msg"][1:]


def read_toml(path: Path) -> dict[str, Any]:
    """The values of a TOML file.

    Raises:
        ConfigError: the file is missing or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not a TOML file ({error})") from error


def save_call(path: Path, values: dict[str, Any]) -> None:
    """Write the resolved arguments of a call as TOML; the command with `--config` of this file repeats it.

    Raises:
        OutputError: it cannot be written.
    """
    write_atomic(path, tomli_w.dumps(_plain(values)))


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """What TOML can hold: paths as text, nothing where there is None, no empty tables."""
    plain: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict):
            value = _plain(value)
        if value is not None and value != {}:
            plain[name] = str(value.absolute()) if isinstance(value, Path) else value
    return plain
