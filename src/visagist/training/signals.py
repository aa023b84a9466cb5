"""Ctrl-C and SIGTERM during a training, handled between two iterations."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from visagist.core.events import Event, EventCallback, Note
from visagist.training.run import STEP

STOPPING = "stopping after this iteration; Ctrl-C again stops at once and loses everything since the last checkpoint"
AT_ONCE = "stopped at once; the same command continues from the last checkpoint"


@contextmanager
def interrupts(events: EventCallback) -> Iterator[tuple[threading.Event, EventCallback]]:
    """An event that Ctrl-C and SIGTERM set, and the `events` callback to use in the block.

    The first signal is announced immediately, since an iteration may take long. A second Ctrl-C raises
    KeyboardInterrupt immediately; a second SIGTERM does not, because `timeout` sends two, and schedulers may.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop, events  # signals reach the main thread only
        return
    is_emitting = False

    def emit(event: Event) -> None:
        nonlocal is_emitting
        is_emitting = True
        try:
            events(event)
        finally:
            is_emitting = False

    def handle(number: int, frame: object) -> None:
        is_first = not stop.is_set()
        stop.set()
        if number == signal.SIGINT and not is_first:
            raise KeyboardInterrupt(AT_ONCE)
        # Writing to a stream is not reentrant; if events are being emitted, an iteration has just ended anyway.
        if is_first and not is_emitting:
            events(Note(STEP, STOPPING))

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop, emit
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
