"""What is wrong with a call, in words that its user knows; exit code 2.

- `tables_are_tables`: what has names of its own is not given one value in a file
- `usage_message`: one line from what cyclopts or pydantic found
"""

import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import get_args, get_origin

from cyclopts import App, ArgumentCollection, CycloptsError, UnknownOptionError, ValidationError
from cyclopts.argument import Argument
from pydantic import ValidationError as SettingsError

from visagist.core.settings import first_fault, read_toml, unknown_name


def tables_are_tables(
    values: Mapping[str, object], file: Path
) -> Callable[[App, tuple[str, ...], ArgumentCollection], None]:
    """A look at the values of a file before cyclopts takes them, which drops `settings = 3` beside `--settings.size`.

    Raises:
        CycloptsError: by what is returned; a table has one value.
    """

    def look(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        tables = {argument.name for argument in arguments if _is_table(argument)}
        for name, value in values.items():
            if _option(name) in tables and not isinstance(value, dict):
                raise CycloptsError(msg=f"{file}: {name} must be a table, [{name}], of names and values, not {value}")

    return look


def usage_message(error: CycloptsError, app: App, commands: Sequence[str]) -> str:
    """What is wrong with a call, without the validators' own words about themselves.

    Args:
        error: what was found.
        app: the whole command line.
        commands: those that take their options from a `--config` file.
    """
    cause = error.__cause__
    if isinstance(cause, SettingsError) and error.argument:
        return _fault(cause, error.argument)
    if isinstance(error, ValidationError) and error.exception_message:
        option = re.match(r"--([\w.-]+)", error.exception_message)
        file = _file(error.argument, option[1]) if option and error.argument else None
        if option and file:
            return f"{file}: {option[1].replace('-', '_')}{error.exception_message[option.end() :]}"
        return error.exception_message
    if isinstance(error, UnknownOptionError) and error.token.source != "cli":
        return _unknown(error, app, commands)
    return str(error)


def _fault(found: SettingsError, argument: Argument) -> str:
    """What is wrong with the values of an argument, and where they are: an option, or a field of a file."""
    field, reason = first_fault(found, argument.hint)
    file = _file(argument, field)
    if file:
        return f"{file}: {field}: {reason}" if field else f"{file}: {reason}"
    option = _option(field)
    for each in argument.children_recursive:
        if each.name == option and _is_table(each) and any(not token.keys for token in each.tokens):
            return f"{option}: takes its values by name, as in {option}.NAME VALUE"
    return f"{option}: {reason}" if field else reason


def _file(argument: Argument, field: str) -> str | None:
    """The file that has all that was given of a field; None where some of it is from the command line."""
    option = _option(field)
    sources = {
        token.source
        for each in (argument, *argument.children_recursive)
        if not field or each.name == option or each.name.startswith(option + ".")
        for token in each.tokens
    }
    return sources.pop() if len(sources) == 1 and "cli" not in sources else None


def _unknown(error: UnknownOptionError, app: App, commands: Sequence[str]) -> str:
    """What is wrong with a key of a file, and what was meant: a close one, or the options of another command."""
    file = Path(error.token.source)
    first, *rest = (error.token.keyword or "").strip("[]").split("][")
    arguments = {argument.name: argument for argument in error.argument_collection}
    if rest and _option(first) in arguments:
        known = [argument.field_info.name for argument in arguments[_option(first)].children]
        return f"{file}: [{first}] {unknown_name('.'.join(rest), known)}" if known else f"{file}: {first} is no table"
    message = f"{file}: {'.'.join((first, *rest))} is not an option of `visagist {' '.join(error.command_chain or ())}`"
    if owner := _owner(app, commands, file):
        return f"{message}; the file holds options of `visagist {owner}`"
    close = get_close_matches(first, [argument.field_info.name for argument in arguments.values()], n=1)
    return f"{message}; did you mean {close[0]}?" if close else message


def _owner(app: App, commands: Sequence[str], file: Path) -> str | None:
    """The command that has all options of a file, and the fewest others; None where no command has them all."""
    keys = {_option(key) for key in read_toml(file)}
    known = {command: {option.name for option in app[command].assemble_argument_collection()} for command in commands}
    owners = [command for command in commands if keys <= known[command]]
    return min(owners, key=lambda command: len(known[command]), default=None)


def _is_table(argument: Argument) -> bool:
    """Whether an argument is given by names of its own."""
    hints = (argument.hint, *get_args(argument.hint))  # with the members of a union
    return bool(argument.children) or any(get_origin(hint) is dict for hint in hints)


def _option(field: str) -> str:
    return "--" + field.replace("_", "-")
