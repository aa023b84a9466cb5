"""What a long job says while it works.

A job takes `events`, a callable, and calls it with one of these. The command line turns them into bars or plain
lines or JSON, a program into whatever it likes; `silent` drops them.

- `Progress`: so much of a step is done
- `Note`: something worth knowing
- `Warned`: something that the user should look at
- `Metric`: figures of a training iteration
- `Result`: a file that is finished
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Progress:
    """`done` of `total` units of `step`; `total` is None where nobody knows."""

    step: str
    done: int
    total: int | None
    unit: str = "frames"


@dataclass(frozen=True)
class Note:
    """Something worth knowing."""

    step: str
    message: str


@dataclass(frozen=True)
class Warned:
    """Something that the user should look at; the job goes on."""

    step: str
    message: str


@dataclass(frozen=True)
class Metric:
    """Figures by name at one iteration."""

    step: str
    iteration: int
    values: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """A finished file."""

    step: str
    path: Path


Event = Progress | Note | Warned | Metric | Result
Events = Callable[[Event], None]


def silent(event: Event) -> None:
    """Drop the event."""


def as_json(event: Event) -> dict[str, Any]:
    """The event as plain values, its kind under `event`.

    >>> as_json(Progress("extract", 3, 75))
    {'event': 'progress', 'step': 'extract', 'done': 3, 'total': 75, 'unit': 'frames'}
    """
    values = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(event).items()}
    return {"event": type(event).__name__.lower(), **values}
