"""Progress events emitted by long-running jobs.

Public functions take `on_event`, a callback that receives them; the command line shows them as bars, lines or JSON.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Progress:
    """`done` of `total` units of `step`; `total` is None if unknown."""

    step: str
    done: int
    total: int | None
    unit: str = "frames"


@dataclass(frozen=True)
class Note:
    """An informational message."""

    step: str
    message: str


@dataclass(frozen=True)
class Warned:
    """A warning; the job continues."""

    step: str
    message: str


@dataclass(frozen=True)
class Metric:
    """Metrics of one iteration, by name."""

    step: str
    iteration: int
    values: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """A finished output file."""

    step: str
    path: Path


Event = Progress | Note | Warned | Metric | Result
EventCallback = Callable[[Event], None]


def silent(event: Event) -> None:
    """Ignore an event: the default callback."""


def as_json(event: Event) -> dict[str, Any]:
    """The event as JSON values; its kind is under `event`.

    >>> as_json(Progress("extract", 3, 75))
    {'event': 'progress', 'step': 'extract', 'done': 3, 'total': 75, 'unit': 'frames'}
    """
    values = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(event).items()}
    return {"event": type(event).__name__.lower(), **values}
