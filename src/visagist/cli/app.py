"""The commands put together, and what they share: `--config`, `--json`, exit codes."""

import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import cyclopts
from cyclopts import App, Parameter

from visagist import __version__
from visagist.cli.console import console_events
from visagist.errors import VisagistError
from visagist.settings import read_toml

INTERRUPTED = 130

app = App(
    name="visagist",
    version=__version__,
    help="Swap faces in footage that you have the right to change; what comes out is signed as synthetic.",
    help_format="plaintext",
)
# By name, so that `verify` does not wait for torch.
for command in ("swap", "extract", "train", "merge", "verify", "demo", "doctor"):
    app.command(f"visagist.cli.{command}:{command}", name=command)
app.command("visagist.cli.consent:app", name="consent")


@app.meta.default
def launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    config: Annotated[Path | None, Parameter(help="TOML file with any of the options.")] = None,
    json: Annotated[bool, Parameter(negative=(), help="Print events as JSON lines.")] = False,
) -> int | None:
    """Run one command; options given on the command line win over those of --config."""
    if config is not None:
        read_toml(config)  # for a one-line error that names the file
        app.config = (cyclopts.config.Toml(config, must_exist=True, search_parents=False, use_commands_as_keys=False),)
    called, bound, ignored = app.parse_args(tokens, exit_on_error=False, print_error=False)
    extra: dict[str, Any] = {}
    if "events" not in ignored and "as_json" not in ignored:
        return called(*bound.args, **bound.kwargs)
    if "as_json" in ignored:
        extra["as_json"] = json
    if "events" not in ignored:
        return called(*bound.args, **bound.kwargs, **extra)
    with console_events(json) as events:
        result = called(*bound.args, **bound.kwargs, events=events, **extra)
    return result if isinstance(result, int) else None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    _interrupt_on_terminate()
    try:
        with suppress(BrokenPipeError):
            return app.meta(arguments, exit_on_error=False, print_error=False, result_action="return_value") or 0
    except VisagistError as error:
        return _fail(str(error), 1)
    except cyclopts.CycloptsError as error:
        return _fail(f"{error} (`visagist --help` lists the commands and options)", 2)
    except KeyboardInterrupt:
        return _fail("interrupted; what was done is saved, and the same command continues", INTERRUPTED)
    except OSError as error:
        return _fail(f"{error.filename or 'file'}: {error.strerror or error}", 1)
    return 0


def _fail(message: str, code: int) -> int:
    print("visagist: " + " ".join(message.split()), file=sys.stderr)
    return code


def _interrupt_on_terminate() -> None:
    """A polite kill ends a job like Ctrl-C does, with its state saved."""

    def stop(signum: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    with suppress(ValueError):  # not in the main thread of a program that embeds us
        signal.signal(signal.SIGTERM, stop)
