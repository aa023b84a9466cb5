"""The main command: dispatch, and what all commands share (`--config`, `--json`, exit codes)."""

import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from itertools import pairwise
from json import dumps
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

from cyclopts import App, ArgumentCollection, CycloptsError, Parameter, Token
from cyclopts.config import Dict

from visagist import __version__
from visagist.cli.command import SHARED, Command
from visagist.cli.console import console_events
from visagist.cli.usage import usage_message
from visagist.core.errors import VisagistError
from visagist.core.settings import read_toml
from visagist.core.text import printable

CRASHED, INTERRUPTED = 70, 130
HELP = ("--help", "-h")

EITHER = ("iterations", "minutes")  # either of them on the command line overrides both of a config file

app = App(
    name="visagist",
    version=__version__,
    help="Swap faces in footage that you have the right to change; every render is signed as synthetic.\n\n"
    "Start with `visagist doctor` and `visagist demo`; `visagist COMMAND --help` explains a command, with examples.",
    help_format="markdown",  # which joins the lines of a docstring
    help_flags=HELP,
    suppress_keyboard_interrupt=False,
)
# By import path, so that `verify` does not import torch; with a summary of each for `visagist --help`.
COMMANDS = {
    "swap": "Extract, train, merge and sign: the whole way from footage to a render.",
    "extract": "Find one subject's face in footage and save its aligned crops as a faceset.",
    "train": "Train a network on two facesets.",
    "pretrain": "Train a network on many people, as the start of other trainings.",
    "rewind": "Return a run to an earlier checkpoint.",
    "merge": "Put the face of a trained run into a target, and sign the render as synthetic.",
    "evaluate": "Measure a render against its target and its source.",
    "check": "Check the kept files of a workspace, run or faceset.",
    "verify": "Check who signed a file, what was done to it, and whether it is intact.",
    "demo": "Try a swap on the bundled footage.",
    "doctor": "Check this machine, and print a remedy for each problem.",
}
for command, summary in COMMANDS.items():
    app.command(f"visagist.cli.{command}:app", name=command, help=summary)
app.command("visagist.cli.consent:app", name="consent", help="Write, show or revoke consent records; trust signers.")
app.meta.suppress_keyboard_interrupt = False


@app.meta.default
def launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    config: Annotated[
        Path | None,
        Parameter(
            help="TOML file with values for any of the options; the command line takes precedence.", group=SHARED
        ),
    ] = None,
    json: Annotated[
        bool, Parameter(negative=(), show_default=False, help="Print events and result as JSON lines.", group=SHARED)
    ] = False,
) -> int | None:
    """Run one command; options on the command line take precedence over --config."""
    app.config = ()  # left by an earlier call in the same process
    if config is not None:
        values = read_toml(config)
        for one, other in (EITHER, EITHER[::-1]):
            if any(token.split("=")[0] == f"--{one}" for token in tokens):
                values.pop(other, None)
        if isinstance(settings := values.get("settings"), dict):  # cyclopts does not know their types and takes text
            lists = {name: ",".join(map(str, value)) for name, value in settings.items() if isinstance(value, list)}
            values["settings"] = {**settings, **lists}
        taken = Dict(values, use_commands_as_keys=False, source=str(config))
        app.config = (_rest_of_tables(values, config), taken)
    called, bound, ignored = app.parse_args(tokens, exit_on_error=False, print_error=False)
    if "events" in ignored:
        with console_events(json) as events:
            result = called(*bound.args, **bound.kwargs, events=events)
    else:
        result = called(*bound.args, **bound.kwargs)
    if result is None:  # after --help and --version
        return None
    if json:
        print(dumps({"event": "summary", **_plain(result)}, default=str))
    else:
        print(printable(result.as_text(), keep="\n\t"))  # names may contain anything
    return 0 if getattr(result, "ok", True) else 1  # of `verify` and `doctor`


def _rest_of_tables(values: dict[str, Any], file: Path) -> Callable[[App, tuple[str, ...], ArgumentCollection], None]:
    """Add the remaining entries of a file's table, which cyclopts drops if the command line sets one of them."""

    def fill(app: App, commands: tuple[str, ...], arguments: ArgumentCollection) -> None:
        for argument in arguments:
            name = argument.field_info.name
            if name not in values or argument.name != f"--{name}".replace("_", "-"):
                continue
            table, given = values[name], {token.keys[0] for token in argument.tokens if token.keys}
            if (given or argument.children) and not isinstance(table, dict):
                raise CycloptsError(msg=f"{file}: {name} must be a table, [{name}], not {table}")
            for key in table.keys() - given if given else ():
                argument.append(Token(keyword=f"[{key}]", value=str(table[key]), source=str(file), keys=(key,)))

    return fill


def _plain(result: Any) -> dict[str, Any]:
    """A result as JSON values."""
    return result.as_json() if hasattr(result, "as_json") else asdict(result)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    _interrupt_on_terminate()
    arguments = sys.argv[1:] if arguments is None else arguments
    as_json = "--json" in arguments
    try:
        if not set(HELP).isdisjoint(arguments):
            for command in set(COMMANDS).intersection(arguments):
                app[command].help = None  # shows its docstring instead of the summary
            words = " ".join(arguments).replace("--model=", "--model ").split()
            Command.model = next((model for option, model in pairwise(words) if option == "--model"), None)
        return app.meta(arguments, exit_on_error=False, print_error=False, result_action="return_value") or 0
    except BrokenPipeError:  # the reader of the output is gone; the same command continues an unfinished job
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the interpreter's final flush
        return 1
    except VisagistError as error:
        return _fail(str(error), 1, as_json)
    except CycloptsError as error:
        command = " ".join(["visagist", *(error.command_chain or ()), "--help"])
        return _fail(f"{usage_message(error)} (see `{command}`)", 2, as_json)
    except KeyboardInterrupt as error:  # with a message if not everything was saved
        saved = "interrupted; finished work is saved, and the same command continues"
        return _fail(str(error) or saved, INTERRUPTED, as_json)
    except OSError as error:
        return _fail(f"{error.filename or 'file'}: {error.strerror or error}", 1, as_json)
    except Exception as error:  # noqa: BLE001 - the last resort, and the only one in visagist
        return _fail(
            f"unexpected {type(error).__name__}; please report it with the details in {_log()}", CRASHED, as_json
        )


def _fail(message: str, code: int, as_json: bool) -> int:
    message = printable(" ".join(message.split()))
    if as_json:
        print(dumps({"event": "error", "message": message, "code": code}))
    print("visagist: " + message, file=sys.stderr)
    return code


def _log() -> str:
    """Write the traceback of the current exception to a new file, and return its path."""
    with tempfile.NamedTemporaryFile("w", prefix="visagist-", suffix=".log", delete=False, encoding="utf-8") as file:
        file.write(f"visagist {__version__}, Python {sys.version}\n{sys.argv}\n\n{traceback.format_exc()}")
    return file.name


def _interrupt_on_terminate() -> None:
    """Treat SIGTERM like Ctrl-C, so that the state is saved."""

    def stop(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with suppress(ValueError):  # not in the main thread of the embedding program
        signal.signal(signal.SIGTERM, stop)
