"""What surrounds the loop of a training: signals, and the log.

- `interrupts`: Ctrl-C and SIGTERM, answered between two iterations
- `logged`: events that also go to the run's log; `logged_validations`: the held-out figures in it
"""

import json
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from visagist.core.errors import OutputError
from visagist.core.events import Event, EventCallback, Note, Progress, as_json

STEP = "train"
VALIDATION = "validation"  # the step of events with metrics of validation faces
STOPPING = "stopping after this iteration; Ctrl-C once more stops at once, without what came since the last checkpoint"
AT_ONCE = "stopped at once; the same command continues from the last checkpoint"


@contextmanager
def interrupts(events: EventCallback) -> Iterator[tuple[threading.Event, EventCallback]]:
    """An event that Ctrl-C and SIGTERM set, so that they are answered between two iterations; and `events`, as before.

    What they ask for is said at once, for an iteration may take long. A second Ctrl-C does not wait. A second SIGTERM
    does: `timeout` sends two and schedulers may, none in impatience.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked, events  # signals reach the main thread only
        return
    is_saying = False

    def say(event: Event) -> None:
        nonlocal is_saying
        is_saying = True
        try:
            events(event)
        finally:
            is_saying = False

    def ask(number: int, frame: object) -> None:
        is_first = not asked.is_set()
        asked.set()
        if number == signal.SIGINT and not is_first:
            raise KeyboardInterrupt(AT_ONCE)
        # A stream refuses to be written to in the middle of a write; where one may be, an iteration has just ended.
        if is_first and not is_saying:
            events(Note(STEP, STOPPING))

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked, say
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def logged(events: EventCallback, path: Path) -> Iterator[EventCallback]:
    """`events` that also go, progress excepted, to a JSON-lines file that only ever grows.

    Raises:
        OutputError: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror})") from error

    def write(line: str) -> None:
        try:
            file.write(line)
            file.flush()
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror})") from error

    def say(event: Event) -> None:
        if not isinstance(event, Progress):
            write(json.dumps(as_json(event)) + "\n")
        events(event)

    with file:
        file.seek(0)
        if (before := file.read()) and not before.endswith("\n"):
            write("\n")  # a line that a crash cut short must not spoil the next one
        yield say


def logged_validations(path: Path, until: int) -> dict[int, dict[str, float]]:
    """The figures of held-out faces in a log, by iteration.

    What a run has done twice, after a crash, a roll-back or a rewind, counts as it was done last.

    Args:
        path: of the log; one that is not there has none.
        until: iterations that are done; what was seen after them has been gone back on.
    """
    validations: dict[int, dict[str, float]] = {}
    if not path.exists():
        return validations
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            event = json.loads(line)
        except ValueError:  # cut short by a crash
            continue
        if event.get("event") != "metric":
            continue
        while validations and next(reversed(validations)) >= event["iteration"]:
            validations.popitem()  # the training went back before it
        if event["step"] == VALIDATION:
            validations[event["iteration"]] = event["values"]
    return {at: metrics for at, metrics in validations.items() if at <= until}
