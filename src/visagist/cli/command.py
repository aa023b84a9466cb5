"""Commands whose `--help` is generated from the schemas of their settings, with panels, ranges and defaults."""

from collections.abc import Iterator
from functools import cache
from itertools import count
from math import inf
from pathlib import Path
from typing import Annotated, Any, ClassVar

from cyclopts import App, Argument, ArgumentCollection, Group, Parameter
from cyclopts.field_info import FieldInfo

from visagist.core.settings import Settings
from visagist.models import settings_schema

TYPES = {"integer": "INT", "number": "FLOAT", "string": "STR", "boolean": "BOOL"}  # names of JSON schema types
_order = count()


@cache
def panel(group: str, advanced: bool) -> Group:
    """A panel of `--help`; advanced ones come last."""
    return Group(f"Advanced: {group[0].lower()}{group[1:]}" if advanced else group, sort_key=(advanced, next(_order)))


INPUT, PEOPLE = panel("Input and output", False), panel("Choosing people", False)
SHARED = Group("All commands", sort_key=(False, inf))

SourceConsent = Annotated[
    Path,
    Parameter(help="Consent record of the subject whose face will appear; `visagist consent new` writes one."),
]
TargetConsent = Annotated[
    Path, Parameter(help="Consent record of the performer in TARGET; `visagist consent new` writes one.")
]


class Command(App):
    """An `App` that describes settings among its arguments by their schemas."""

    model: ClassVar[str | None] = None  # model whose settings `--help` lists; None for the default

    def assemble_argument_collection(
        self, *, default_parameter: Parameter | None = None, parse_docstring: bool = False
    ) -> ArgumentCollection:
        arguments = super().assemble_argument_collection(
            default_parameter=default_parameter, parse_docstring=parse_docstring
        )
        for root in arguments if parse_docstring else ():  # otherwise no help is shown
            if not root.keys and isinstance(root.hint, type) and issubclass(root.hint, Settings):
                for argument in root.children_recursive:
                    _describe(argument, root.hint)
                own = {each.keys[-1]: each for each in root.children}
                if "settings" in own:
                    arguments.extend(_settings_of(self.model or own["model"].field_info.default, own["settings"]))
        return arguments


def _describe(argument: Argument, kind: type[Settings]) -> None:
    *tables, name = argument.keys
    for table in tables:
        kind = kind.model_fields[table].annotation  # pyright: ignore[reportAssignmentType] - a table is Settings
    schema = kind.model_json_schema()["properties"][name]
    if "description" in schema:
        argument.parameter = Parameter.combine(
            argument.parameter,
            Parameter(
                group=panel(schema["group"], schema["advanced"]),
                help=" ".join(f"{schema['description']} {_range(schema)}".split()),
                show_default=_plain(schema.get("default")) or False,
            ),
        )


def _settings_of(model: str, settings: Argument) -> Iterator[Argument]:
    """The entries of `--settings` for a model, as arguments for display only."""
    for name, schema in settings_schema(model).items():
        shown = Parameter(
            name=f"{settings.name}.{name}".replace("_", "-"),
            help=" ".join(schema.get("description", "").split()),
            group=panel(f"Settings of the model {model}", advanced=True),
            metavar=",".join(TYPES[part["type"]] for part in schema.get("prefixItems", [schema])),
            show_default=_plain(schema["default"]).replace(" ", ",") or False,
        )
        field = FieldInfo((name,), FieldInfo.KEYWORD_ONLY, annotation=str, default=schema["default"])
        yield Argument(field_info=field, parameter=Parameter.combine(settings.parameter, shown), hint=str)


def _range(schema: dict[str, Any]) -> str:
    """`[range: 0 to 1]` with the unit, for a number or a list of numbers."""
    for part in _parts(schema):
        low, high = (part.get(end, part.get(f"exclusive{end.title()}")) for end in ("minimum", "maximum"))
        if low is None and high is None:
            continue
        first = "" if low is None else f"above {_plain(low)} " if "exclusiveMinimum" in part else f"{_plain(low)} "
        last = "or more" if high is None else f"to {'below ' if 'exclusiveMaximum' in part else ''}{_plain(high)}"
        return f"[range: {first}{last}{_unit(schema)}]"
    return f"[unit:{_unit(schema)}]" if "unit" in schema else ""


def _unit(schema: dict[str, Any]) -> str:
    unit = schema.get("unit", "")
    return unit if not unit or unit.startswith("%") else f" {unit}"


def _parts(schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A schema and the schemas of its alternatives and items."""
    yield schema
    for inner in (*schema.get("anyOf", ()), *schema.get("prefixItems", ()), schema.get("items")):
        if inner:
            yield from _parts(inner)


def _plain(value: Any) -> str:
    """A value as typed on the command line; empty for None and empty containers."""
    if value in (None, {}, []):
        return ""
    if isinstance(value, list):
        return " ".join(map(_plain, value))  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    if isinstance(value, float):
        return f"{value:.10g}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def command(name: str) -> Command:
    """A command with its own options in the first panel, and without `--empty-NAME` options for lists."""
    return Command(name=name, group_parameters=INPUT, default_parameter=Parameter(negative_iterable=()))
