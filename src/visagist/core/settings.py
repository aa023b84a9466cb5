"""Settings: one frozen schema for Python, the command line and TOML.

- `Settings`: the base of every options class; unknown names are errors
- `first_fault`: what is wrong with values, in words for whoever gave them, with all that a value may be
- `unknown_name`: the same of a name that is none
- `read_toml`: a file's values, with errors that name the file and the field
- `save_call`: the resolved arguments of a call, beside its result
"""

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import astuple, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin, get_type_hints

import tomli_w
from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core.core_schema import ErrorType

from visagist.core.errors import ConfigError
from visagist.core.files import write_atomic


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
            field, reason = first_fault(error, cls)
            raise ConfigError(f"{where}: {field or 'the file'}: {reason}") from error


def first_fault(error: ValidationError, kind: Any) -> tuple[str, str]:
    """The first field that is wrong, empty where it is all of them together, and what is wrong with it.

    Args:
        error: what pydantic found.
        kind: the type that it looked for: a class of settings, a dataclass, or a plain one.
    """
    first = error.errors()[0]
    location = [str(part) for part in first["loc"]]
    if first["type"] == "value_error" and "ctx" in first:  # one of our own, which pydantic heads with `Value error, `
        reason = str(first["ctx"]["error"])
        head, _, rest = reason.partition(": ")
        if head in getattr(kind, "model_fields", ()):  # found by all fields together, and said of one of them
            return head, rest
        return ".".join(location), reason
    depth, hint = _located(kind, first["loc"])
    if first["type"] == "extra_forbidden" and (model := _model(hint)):
        return ".".join(location[:-1]), unknown_name(location[-1], model.model_fields)
    has_own_words = first["type"] not in get_args(ErrorType) or (first["type"] == "missing" and depth == len(location))
    allowed = None if has_own_words else _alternatives(hint)
    if allowed is None:
        return ".".join(location), first["msg"][:1].lower() + first["msg"][1:]
    given = first["input"]
    instead = f", not {given}" if isinstance(given, str | int | float) else ""
    return ".".join(location[:depth]), f"must be {_listed(allowed)}{instead}"


def unknown_name(name: str, known: Iterable[str]) -> str:
    """What is wrong with a name that is none of those known.

    >>> unknown_name("GAN", ["dssim", "gan"])
    'has no GAN; did you mean gan? (it has: dssim, gan)'
    """
    lowered = name.lower().replace("-", "_")
    close = get_close_matches(lowered, list(known), n=1)
    suggestion = f"; did you mean {close[0]}?" if close else ""
    return f"has no {name}{suggestion} (it has: {', '.join(known)})"


def _located(kind: Any, location: Sequence[str | int]) -> tuple[int, Any]:
    """How many parts of a location name what a user gave, and the type of that.

    What follows is pydantic's: which member of a union it tried, which of several numbers it looked at.
    """
    depth, hint = 0, kind
    for taken, part in enumerate(location, 1):
        model = _model(hint)
        if get_origin(hint) is dict:  # the part is a name that the user chose
            depth, hint = taken, get_args(hint)[1]
        elif model and get_origin(hint) in (tuple, list):  # the part says which of them
            depth, hint = taken, model
        elif model and part in model.model_fields:
            field = model.model_fields[str(part)]
            depth, hint = taken, Annotated[field.annotation, field] if field.metadata else field.annotation
        elif is_dataclass(hint) and (field := get_type_hints(hint, include_extras=True).get(str(part))):
            depth, hint = taken, field
        else:
            break
    return depth, hint


def _model(hint: Any) -> type[BaseModel] | None:
    """The class of settings that a type is, or holds."""
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return hint
    return next((model for each in get_args(hint) if (model := _model(each))), None)


def _alternatives(hint: Any, limits: Sequence[Any] = ()) -> list[str] | None:
    """All that a value of a type may be, in words; None where only pydantic knows."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        notes = [note.metadata if isinstance(note, FieldInfo) else [note] for note in inner[1:]]
        return _alternatives(inner[0], [limit for note in notes for limit in note])
    if origin in (Union, UnionType):
        members = [_alternatives(each, limits) for each in inner if each is not NoneType]
        return None if None in members else [each for member in members for each in member or ()]
    if origin is Literal:
        return [str(each) for each in inner]
    if origin is tuple and (each := _alternatives(inner[0])):
        count = _range(limits) if limits else str(len(inner)) if Ellipsis not in inner else "any number of"
        return [f"{count} values, each {_listed(each)}"]
    if origin is dict or _model(hint) is hint:
        return ["a table of names and their values"]
    if hint is bool:
        return ["true", "false"]
    if hint in (int, float) and all(isinstance(limit, Ge | Gt | Le | Lt) for limit in limits):
        if hint is float:
            return [_range(limits) or "a number"]
        between = "" if _range(limits).startswith("from") or not limits else "of "
        return [f"a whole number {between}{_range(limits)}".strip()]
    return None


def _range(limits: Sequence[Any]) -> str:
    """What limits leave, in words.

    >>> _range([Ge(0), Le(180)]), _range([Gt(0), Le(1)])
    ('from 0 to 180', 'above 0 and at most 1')
    """
    match limits:
        case [Ge(least), Le(most)]:
            return f"from {least} to {most}"
        case [MinLen(least), MaxLen(most)]:
            return f"{least} to {most}"
    words = {Ge: "at least", Gt: "above", Le: "at most", Lt: "below"}
    return " and ".join(f"{words[type(limit)]} {astuple(limit)[0]}" for limit in limits)


def _listed(words: Sequence[str]) -> str:
    """Words as a choice: `a, b or c`."""
    return " or ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)


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
