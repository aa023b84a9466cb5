import threading
import time

import pytest

from visagist.core.events import Event, EventCallback, Note, Progress
from visagist.jobs.parallel import run_together


def job(name: str, steps: int):
    def work(events: EventCallback) -> str:
        for done in range(steps + 1):
            events(Progress("count", done, steps))
        return name

    return work


def test_results_are_in_order_and_progress_is_combined():
    seen: list[Event] = []
    assert run_together([job("a", 3), job("b", 5), job("c", 2)], [3, 5, 2], seen.append) == ["a", "b", "c"]
    progress = [event for event in seen if isinstance(event, Progress)]
    assert len(progress) == len(seen) == 13
    assert [event.done for event in progress] == sorted(event.done for event in progress)
    assert {event.total for event in progress} == {10}
    assert progress[-1].done == 10


def test_an_unknown_total_is_known_at_the_end():
    seen: list[Event] = []
    run_together([job("a", 3), job("b", 4)], [None, 4], seen.append)
    assert isinstance(seen[0], Progress)
    assert seen[0].total is None
    assert seen[-1] == Progress("count", 7, 7)


def test_a_failure_ends_the_others():
    began, emitted = threading.Event(), 0

    def fails(events: EventCallback) -> None:
        began.wait(10)
        raise ValueError("this clip is broken")

    def endless(events: EventCallback) -> None:
        nonlocal emitted
        while True:
            events(Note("count", "on"))
            emitted += 1
            began.set()
            time.sleep(0.001)

    def never(events: EventCallback) -> None:
        raise AssertionError("begun after the failure")

    with pytest.raises(ValueError, match="this clip is broken"):
        run_together([fails, endless, *[never] * 20], [None] * 22, lambda event: None)
    assert emitted > 0


def test_an_interrupt_in_the_callback_ends_all_jobs():
    def listener(event: Event) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_together([job("a", 1000), job("b", 1000)], [1000, 1000], listener)
