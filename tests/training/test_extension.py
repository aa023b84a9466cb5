"""Changes of a run's length: extended once or twice, shortened, and killed meanwhile."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.training.conftest import contents, ending, killed_at_each_change, weights
from visagist.core.errors import RunError
from visagist.core.events import Event, Metric, Note, Progress
from visagist.models.bundle import read_record
from visagist.training import Crops, TrainOptions, train_crops
from visagist.training.checkpoint import read_state
from visagist.training.run import RunRecord
from visagist.training.training_run import TrainingRun

Make = Callable[..., TrainOptions]
People = dict[str, Crops]
Train = Callable[..., bytes]


@pytest.fixture(scope="module")
def train(crops: People, options: Make) -> Train:
    """Train a run to a length and return its weights; all lengths have the same warm-up."""

    def train(run: Path, iterations: int | None, stop: int | None = None, **changes: object) -> bytes:
        asked = options(iterations=iterations, **{"schedule": {"warm_up": 2}, **changes})
        if stop is None:
            assert train_crops(crops, run, asked).iterations == iterations or iterations is None
        else:
            with pytest.raises(KeyboardInterrupt):
                train_crops(crops, run, asked, on_event=ending(KeyboardInterrupt, stop))
        return weights(run)

    return train


@pytest.fixture(scope="module")
def finished(train: Train, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of 12 iterations with a cool-down from 8."""
    run = tmp_path_factory.mktemp("finished")
    train(run, 12)
    return run


@pytest.fixture
def extended(finished: Path, tmp_path: Path) -> Path:
    """A copy of that run."""
    return shutil.copytree(finished, tmp_path / "extended")


@pytest.fixture(scope="module")
def long(train: Train, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Weights of a run planned with 24 iterations."""
    return train(tmp_path_factory.mktemp("long"), 24)


ADVERSARIAL = {"losses": {"gan": 0.1, "gan_dims": 4, "true_face": 0.01, "face_style": 1.0}}


@pytest.mark.parametrize(
    "changes",
    [
        {"schedule": {"warm_up": 2, "cool_down": 0.5, "floor": 0.1}},
        {"schedule": {"warm_up": 0, "cool_down": 0.0}},
        {"schedule": {"warm_up": 0, "cool_down": 1.0}},
        {"optimizer": {"name": "schedule-free"}, "schedule": {"warm_up": 2, "floor": 1.0}},
        {"schedule": {"warm_up": None}},  # the default, which once depended on the length
        ADVERSARIAL,
    ],
)
def test_an_extended_run_equals_one_that_was_planned_longer(
    changes: dict[str, object], train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("visagist.training.setup.check_memory", lambda *_: "")  # slow for adversarial losses
    assert train(tmp_path / "extended", 8, **changes) != train(tmp_path / "long", 12, **changes)
    assert train(tmp_path / "extended", 12, **changes) == weights(tmp_path / "long")


def test_until_an_extension_ends_the_finished_weights_are_those_of_the_run(
    crops: People, options: Make, extended: Path, train: Train, long: bytes
) -> None:
    finished, events = weights(extended), list[Event]()

    def watch(event: Event) -> None:
        events.append(event)
        assert weights(extended) == finished
        ending(KeyboardInterrupt, 18)(event)

    asked = options(iterations=24, schedule={"warm_up": 2})
    with pytest.raises(KeyboardInterrupt):
        train_crops(crops, extended, asked, on_event=watch)
    assert [event.done for event in events if isinstance(event, Progress)] == list(range(9, 19))
    (note,) = [event.message for event in events if isinstance(event, Note)]
    assert "from iteration 8 to 24, with a cool-down from 17" in note
    assert train(extended, 24, stop=20) == finished  # resuming does not replace them, either
    assert train(extended, 24) == long
    before = contents(extended)
    assert train(extended, 24) == long
    assert contents(extended) == before


def test_a_run_is_extended_twice(extended: Path, train: Train, tmp_path: Path, long: bytes) -> None:
    longest = train(tmp_path / "longest", 30)
    assert train(extended, 24) == long
    assert train(extended, 30, stop=25) == long
    assert train(extended, 30) == longest


def test_an_extension_is_extended_before_it_has_ended(
    extended: Path, train: Train, tmp_path: Path, long: bytes
) -> None:
    finished = train(extended, 24, stop=20)
    assert train(extended, 30, stop=21) == finished
    assert train(extended, 30) == train(tmp_path / "longest", 30)


@pytest.mark.parametrize("stop", [5, 8, 10])
def test_an_unfinished_run_is_extended(stop: int, train: Train, tmp_path: Path, long: bytes) -> None:
    """Before, at the start of and during its cool-down."""
    train(tmp_path, 12, stop=stop)
    train(tmp_path, 24, stop=min(stop, 8) + 1)
    assert read_record(tmp_path).iteration == min(stop, 8) + 1  # it has no finished weights to keep
    assert train(tmp_path, 24) == long


@pytest.mark.parametrize("stop", [5, 7, 19])
def test_an_unfinished_run_is_shortened(stop: int, train: Train, tmp_path: Path) -> None:
    """Before and during its cool-down; like a run planned so, if the new cool-down has not started."""
    length = {5: 9, 7: 9, 19: 22}[stop]
    train(tmp_path / "run", 24, stop=stop)
    train(tmp_path / "run", length)
    start = RunRecord.read(tmp_path / "run").plan.cool_down_start
    assert start == {5: 6, 7: 7, 19: 17}[stop]
    if stop == 5:
        assert weights(tmp_path / "run") == train(tmp_path / "planned", 9)


@pytest.mark.parametrize("length", [11, 23])
def test_fewer_iterations_than_are_done_are_refused(
    length: int, crops: People, options: Make, extended: Path, train: Train
) -> None:
    done = 12 if length == 11 else 24
    train(extended, done)
    before = contents(extended)
    with pytest.raises(RunError, match=f"{done} iterations are done, more than --iterations {length}"):
        train_crops(crops, extended, options(iterations=length, schedule={"warm_up": 2}))
    assert contents(extended) == before


def test_without_a_length_a_run_keeps_the_one_it_has(extended: Path, train: Train, long: bytes) -> None:
    finished = train(extended, None)
    assert train(extended, 24, stop=18) == finished
    assert train(extended, None) == long


@pytest.mark.parametrize("stop", [10, None])
def test_an_extension_can_be_undone(
    stop: int | None, crops: People, options: Make, train: Train, finished: Path, tmp_path: Path
) -> None:
    """For a run in its cool-down and a finished one, killed at any change before the next save."""

    def ask(run: Path) -> None:
        with pytest.raises(ZeroDivisionError):
            asked = options(iterations=10**6, schedule={"warm_up": 2})
            train_crops(crops, run, asked, on_event=ending(ZeroDivisionError, 9))

    train(tmp_path / "begun", 12, stop)
    killed, crashed = killed_at_each_change(tmp_path / "begun", tmp_path, ask)
    assert len(killed) >= 3  # record; state; deletion of the latest checkpoint
    for run in [*killed, crashed]:
        assert train(run, 12) == weights(finished)
        assert RunRecord.read(run).plan == RunRecord.read(finished).plan


def test_how_often_a_run_is_saved_and_validated_may_change_on_the_way(
    crops: People, options: Make, extended: Path, long: bytes
) -> None:
    events: list[Event] = []
    asked = options(iterations=24, schedule={"warm_up": 2}, save_every=5, preview_every=7, device="auto")
    train_crops(crops, extended, asked, on_event=events.append)
    validated = [event.iteration for event in events if isinstance(event, Metric) and event.step == "validation"]
    assert validated == [14, 21, 24]
    assert weights(extended) == long


def test_killed_before_any_write_an_extension_ends_like_a_longer_run(
    crops: People, options: Make, finished: Path, train: Train, tmp_path: Path
) -> None:
    """The weights are always those of a finished or of an extended run."""
    longer = train(tmp_path / "longer", 15)

    def extend(run: Path) -> None:
        def watch(event: Event) -> None:
            if isinstance(event, Progress) and event.done < 15:
                assert weights(run) in (weights(finished), longer)

        train_crops(crops, run, options(iterations=15, schedule={"warm_up": 2}, save_every=100), on_event=watch)

    killed, _ = killed_at_each_change(finished, tmp_path, extend)
    assert len(killed) >= 8  # record; state; deletion of 12; tensors and state of 10 and 15; weights of 15
    for run in killed:
        assert weights(run) in (weights(finished), longer)
        extend(run)
        assert weights(run) == longer
        assert read_state(run / "checkpoints") == read_state(tmp_path / "longer" / "checkpoints")


def test_a_run_without_the_checkpoint_of_its_cool_down_cannot_be_extended(
    crops: People, options: Make, extended: Path
) -> None:
    (extended / "checkpoints" / "00000008.safetensors").unlink()
    before = contents(extended)
    with pytest.raises(RunError, match=f"checkpoint of iteration 8.* is missing; .*--start {extended}"):
        train_crops(crops, extended, options(iterations=24, schedule={"warm_up": 2}))
    assert contents(extended) == before  # it is still a finished run


def test_a_cool_down_that_begins_while_the_loss_jumps_is_extended_from_before(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is saved during a jump."""
    due = TrainingRun.is_save_due
    monkeypatch.setattr(TrainingRun, "is_save_due", lambda self: self.iteration != 8 and due(self))
    train(tmp_path / "run", 12, save_every=3)
    assert train(tmp_path / "run", 24) == train(tmp_path / "long", 24)


def test_minutes_are_a_total_of_the_run(crops: People, options: Make, tmp_path: Path) -> None:
    def train(**length: float) -> int:
        return train_crops(crops, tmp_path, options(**length)).iterations

    first = train(minutes=0.02)
    assert train(minutes=0.02) == first
    more = train(minutes=0.04)
    assert more > first
    with pytest.raises(RunError, match=r"more than --minutes 0\.01"):
        train(minutes=0.01)
    assert train(iterations=more + 2) == more + 2
    with pytest.raises(RunError, match=r"more than --minutes 0\.0001"):  # timed, since the run has iterations
        train(minutes=0.0001)


def test_a_length_without_room_for_a_cool_down_is_refused_with_the_least(
    crops: People, options: Make, train: Train, tmp_path: Path
) -> None:
    """Regression: a stopped and shortened extension replaced finished weights by ones without a cool-down."""
    train(tmp_path, 8)
    with pytest.raises(KeyboardInterrupt):
        asked = options(iterations=40, schedule={"warm_up": 2})
        train_crops(crops, tmp_path, asked, on_event=ending(KeyboardInterrupt, 20))
    before = contents(tmp_path)
    with pytest.raises(RunError, match="at least 28"):
        train_crops(crops, tmp_path, options(iterations=20, schedule={"warm_up": 2}))
    assert contents(tmp_path) == before
