"""Parallel jobs that report their progress as one."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from threading import Lock
from typing import TypeVar

from visagist.core.events import Event, EventCallback, Progress

MAX_JOBS = 4  # each holds about forty frames in memory
T = TypeVar("T")


class _Stopped(Exception):  # noqa: N818 - not an error: another job failed, or the user interrupted
    pass


class _Merged:
    """Receives the events of all jobs, one at a time, and adds up their progress."""

    def __init__(self, events: EventCallback, totals: Sequence[int | None]) -> None:
        self.events = events
        self.totals = list(totals)
        self.done = [0] * len(totals)
        self.lock = Lock()
        self.is_stopped = False

    def take(self, job: int, event: Event) -> None:
        with self.lock:
            if self.is_stopped:
                raise _Stopped
            if isinstance(event, Progress):
                self.done[job] = event.done
                if event.done == event.total:
                    self.totals[job] = event.total  # more accurate than the estimate from the file's header
                known = [total for total in self.totals if total is not None]
                total = sum(known) if len(known) == len(self.totals) else None
                event = Progress(event.step, sum(self.done), total, event.unit)
            self.events(event)


def run_together(
    jobs: Sequence[Callable[[EventCallback], T]], totals: Sequence[int | None], events: EventCallback
) -> list[T]:
    """Run jobs in parallel, one per core, up to `MAX_JOBS` at a time.

    If one fails, or the user interrupts, the others end at their next event.

    Args:
        jobs: each takes a callback and must call it often; all report progress of the same step.
        totals: units of each job, None if unknown.
        events: callback receiving the total progress, and all other events unchanged.

    Returns:
        The results, in the order of the jobs.

    Raises:
        The first exception of a job.
    """
    merged = _Merged(events, totals)
    with ThreadPoolExecutor(min(MAX_JOBS, os.cpu_count() or 1), "jobs") as pool:
        futures = [
            pool.submit(job, lambda event, number=number: merged.take(number, event)) for number, job in enumerate(jobs)
        ]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            merged.is_stopped = any(not future.done() for future in futures)
            for future in futures:
                future.cancel()
    errors = [future.exception() for future in futures if not future.cancelled()]
    for error in errors:
        if error is not None and not isinstance(error, _Stopped):
            raise error
    return [future.result() for future in futures]
