"""What is wrong with a call, in words that its user knows; exit code 2.

- `usage_message`: one line from what cyclopts or pydantic found
"""

from collections.abc import Sequence
from pathlib import Path

from cyclopts import App, CycloptsError, UnknownOptionError, ValidationError
from pydantic import ValidationError as SettingsError

from visagist.settings import first_fault, read_toml


def usage_message(error: CycloptsError, app: App, commands: Sequence[str]) -> str:
    """What is wrong with a call, without the validators' own words about themselves.

    Args:
        error: what was found.
        app: the whole command line.
        commands: those that take their options from a `--config` file.
    """
    cause = error.__cause__
    if isinstance(cause, SettingsError) and error.argument:
        field, reason = first_fault(cause, error.argument.hint)
        return f"--{field.replace('_', '-')}: {reason}" if field else reason
    if isinstance(error, ValidationError) and error.exception_message:
        return error.exception_message
    if isinstance(error, UnknownOptionError) and error.token.source != "cli":
        file = Path(error.token.source)
        key = (error.token.keyword or "").strip("[]").replace("][", ".")
        message = f"{file}: {key} is not an option of `visagist {' '.join(error.command_chain or ())}`"
        owner = _owner(app, commands, file)
        return f"{message}; the file holds options of `visagist {owner}`" if owner else message
    return str(error)


def _owner(app: App, commands: Sequence[str], file: Path) -> str | None:
    """The command that has all options of a file, and the fewest others; None where no command has them all."""
    keys = {"--" + key.replace("_", "-") for key in read_toml(file)}
    known = {command: {option.name for option in app[command].assemble_argument_collection()} for command in commands}
    owners = [command for command in commands if keys <= known[command]]
    return min(owners, key=lambda command: len(known[command]), default=None)
