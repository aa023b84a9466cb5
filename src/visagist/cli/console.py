"""Display of events: progress bars on a terminal, plain lines in a pipe, JSON lines on request.

Results go to standard output and progress to standard error, so that `visagist demo | tail -1` prints a path.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from visagist.core.events import Event, EventCallback, Metric, Note, Result, Warned, as_json
from visagist.core.events import Progress as Advance
from visagist.core.text import printable

PLAIN_INTERVAL_S = 10.0  # between plain lines of the same step


@contextmanager
def console_events(as_json_lines: bool) -> Iterator[EventCallback]:
    """A callback that displays events for the duration of the block."""
    if as_json_lines:
        yield _json_line
    elif sys.stderr.isatty():
        with _Bars() as bars:
            yield bars
    else:
        yield _Lines()


def _json_line(event: Event) -> None:
    print(json.dumps(as_json(event)), flush=True)


def _figures(event: Metric) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in event.values.items())


def _sentence(event: Metric) -> str:
    return f"iteration {event.iteration}: {_figures(event)}"


class _Lines:
    """Plain lines: start and end of each step, and its progress and metrics every few seconds."""

    def __init__(self) -> None:
        self.said: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        if isinstance(event, Advance):
            last = self.said.get(event.step)
            finished = event.total is not None and event.done >= event.total
            if last is not None and time.monotonic() - last < PLAIN_INTERVAL_S and not finished:
                return
            self.said[event.step] = time.monotonic()
            total = "" if event.total is None else f" of {event.total}"
            self._say(f"{event.step}: {event.done}{total} {event.unit}")
        elif isinstance(event, Metric):
            last = self.said.get(f"{event.step} figures")
            if last is None or time.monotonic() - last >= PLAIN_INTERVAL_S:
                self.said[f"{event.step} figures"] = time.monotonic()
                self._say(f"{event.step}: {_sentence(event)}")
        elif isinstance(event, Result):
            self._say(f"{event.step}: wrote {event.path}")
        elif isinstance(event, Warned):
            self._say(f"{event.step}: warning: {event.message}")
        else:
            self._say(f"{event.step}: {event.message}")

    def _say(self, text: str) -> None:
        print(printable(text), file=sys.stderr, flush=True)


class _Bars:
    """One bar per step, with notes and warnings above the bars."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self.progress = Progress(
            TextColumn("{task.description:>10}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}", style="dim"),
            console=console,
        )
        self.tasks: dict[str, TaskID] = {}

    def __enter__(self) -> "_Bars":
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Advance):
            if event.step not in self.tasks:
                self.tasks[event.step] = self.progress.add_task(
                    event.step, total=event.total, unit=event.unit, figures=""
                )
            self.progress.update(self.tasks[event.step], completed=event.done, total=event.total)
        elif isinstance(event, Metric):
            if event.step in self.tasks:
                self.progress.update(self.tasks[event.step], figures=_figures(event))
            else:
                self._say(event.step, _sentence(event), "dim")
        elif isinstance(event, Result):
            self._say(event.step, f"wrote {event.path}", "green")
        elif isinstance(event, Warned):
            self._say(event.step, event.message, "yellow")
        elif isinstance(event, Note):
            self._say(event.step, event.message, "")

    def _say(self, step: str, text: str, style: str) -> None:
        self.progress.console.print(Text(f"{step:>10} {printable(text)}", style=style))
