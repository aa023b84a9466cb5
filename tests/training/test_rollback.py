"""Trainings that go wrong: what the guard judges, where a run goes back to, and what is done there."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import Tensor

from visagist.core.device import choose
from visagist.core.events import Event, Metric, Progress, Warned, silent
from visagist.models.bundle import TrainedNetwork
from visagist.training import Crops, TrainOptions, rewind, train_crops
from visagist.training.checkpoint import checkpoint_iteration
from visagist.training.data.crops import Side
from visagist.training.losses import Adversary
from visagist.training.run import RunRecord
from visagist.training.stability import Guard
from visagist.training.train import Loop
from visagist.training.trainer import Trainer

Make = Callable[..., TrainOptions]
Poison = Callable[..., None]


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> Poison:
    """Batches that are not numbers at one iteration, in the first `times` attempts."""
    whole = Trainer.batch

    def put(at: int, times: int = 1) -> None:
        def batch(self: Trainer, iteration: int) -> tuple[Tensor, Tensor]:
            seen, truth = whole(self, iteration)
            return (seen * math.nan, truth) if iteration == at and self.attempt < times else (seen, truth)

        monkeypatch.setattr(Trainer, "batch", batch)

    return put


def warnings(said: list[Event]) -> list[str]:
    return [event.message for event in said if isinstance(event, Warned)]


def test_a_training_that_goes_wrong_before_its_first_checkpoint_begins_again_and_looks_at_nothing(
    source: Crops, target: Crops, options: Make, tmp_path: Path, poison: Poison
) -> None:
    poison(at=2)
    said: list[Event] = []
    asked = options(backup_every=4)
    summary = train_crops(source, target, tmp_path, asked, said.append)
    assert (summary.iterations, summary.rollbacks) == (12, 1)
    assert "back to iteration 0 with" in warnings(said)[0]
    assert [event.done for event in said if isinstance(event, Progress)] == [1, 2, *range(1, 13)]
    assert [event.iteration for event in said if isinstance(event, Metric) and event.step == "held out"] == [6, 12]
    assert sorted(path.name for path in (tmp_path / "backups").iterdir()) == ["00000004", "00000008", "00000012"]


def test_nothing_is_done_twice_where_a_training_goes_back_to(
    source: Crops, target: Crops, options: Make, tmp_path: Path, poison: Poison
) -> None:
    poison(at=7)
    said: list[Event] = []
    train_crops(source, target, tmp_path, options(save_every=6), said.append)
    assert "back to iteration 6 with" in warnings(said)[0]
    assert [event.iteration for event in said if isinstance(event, Metric) and event.step == "held out"] == [6, 12]


def test_a_discriminator_that_begins_to_act_is_no_collapse(
    source: Crops, target: Crops, options: Make, tmp_path: Path
) -> None:
    said: list[Event] = []
    losses = {"gan": 5.0, "gan_dims": 4, "finish": 0.25}
    asked = options(iterations=40, save_every=50, preview_every=50, losses=losses)

    def stop(event: Event) -> None:
        if isinstance(event, Progress) and event.done == 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_crops(source, target, tmp_path, asked, stop)
    latest = tmp_path / "checkpoint" / "latest.json"
    entry = json.loads(latest.read_text())
    entry["numbers"]["guard_seen"] = 200  # as if it had trained for longer: jumps count
    latest.write_text(json.dumps(entry))
    summary = train_crops(source, target, tmp_path, asked, said.append)
    assert (summary.rollbacks, warnings(said)) == (0, [])
    before, after = (event.values for event in said if isinstance(event, Metric) and event.step == "train")
    assert after["loss"] > 2 * before["loss"]  # five such losses were taken for a jump that stays
    assert "loss_gan_judge" not in before
    assert 0 < after["loss_gan_judge"] < 2


def test_a_discriminator_that_is_not_a_number_is_seen_before_it_is_saved(
    source: Crops, target: Crops, options: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn, calls = Adversary.learn, 0

    def fail_once(self: Adversary, parts: list[tuple[Tensor, Tensor]], *rest: object) -> Tensor:
        nonlocal calls
        calls += 1
        bad = [(real * math.nan, fake) for real, fake in parts]
        return learn(self, bad if calls == 4 else parts, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(Adversary, "learn", fail_once)
    said: list[Event] = []
    losses = {"gan": 0.01, "gan_dims": 4, "finish": 1.0}
    summary = train_crops(source, target, tmp_path, options(losses=losses), said.append)
    assert (summary.rollbacks, summary.iterations) == (1, 12)
    assert "iteration 4: the loss is not a number; back to iteration 0" in warnings(said)[0]


def test_from_a_checkpoint_that_fails_twice_a_training_goes_to_the_one_before(
    source: Crops, target: Crops, options: Make, tmp_path: Path, poison: Poison
) -> None:
    poison(at=7, times=2)
    said: list[Event] = []
    drawing: list[str] = []

    def say(event: Event) -> None:
        said.append(event)
        if isinstance(event, Warned):
            drawing.append(TrainedNetwork.open(tmp_path, "cpu").weights_sha256)
            assert rewind(tmp_path).backups == ((4, 6) if len(drawing) == 1 else ())  # of a future that will not be

    summary = train_crops(source, target, tmp_path, options(save_every=2, backup_every=6), say)
    assert (summary.iterations, summary.rollbacks) == (12, 2)
    assert ["back to iteration 6" in warnings(said)[0], "back to iteration 4" in warnings(said)[1]] == [True, True]
    assert drawing[0] != drawing[1]
    assert rewind(tmp_path).backups == (6, 10, 12)


def test_a_second_ctrl_c_while_a_training_goes_back_saves_nothing(
    source: Crops, target: Crops, options: Make, tmp_path: Path, poison: Poison, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It saved weights that are not numbers."""
    poison(at=6)
    whole = train_crops(source, target, tmp_path / "whole", options(), silent)

    def impatient(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "restore", impatient)
        train_crops(source, target, tmp_path / "cut", options(), silent)
    assert checkpoint_iteration(tmp_path / "cut" / "checkpoint") == 4
    cut = train_crops(source, target, tmp_path / "cut", options(), silent)
    assert (cut.rollbacks, cut.weights_sha256) == (1, whole.weights_sha256)


@pytest.mark.parametrize("where", ["load_before", "save_numbers", "save_weights", "forget_future"])
def test_killed_while_it_goes_back_a_training_ends_the_same(
    where: str,
    source: Crops,
    target: Crops,
    options: Make,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    poison: Poison,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    poison(at=7, times=2)
    asked = options(save_every=2, backup_every=6, preview_every=12)
    unbroken = tmp_path_factory.getbasetemp() / "went_back_twice"  # a finished one is only looked at
    whole = train_crops(source, target, unbroken, asked, silent)
    go_back = Loop.roll_back
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):

        def roll_back(loop: Loop, reason: str) -> None:
            if loop.trainer.attempt == 1:  # the second time, when it goes to the checkpoint before
                patch.setattr(f"visagist.training.train.{where}", lambda *_: 1 / 0)
            go_back(loop, reason)

        patch.setattr(Loop, "roll_back", roll_back)
        train_crops(source, target, tmp_path / "cut", asked, silent)
    cut = train_crops(source, target, tmp_path / "cut", asked, silent)
    assert (cut.rollbacks, cut.weights_sha256) == (2, whole.weights_sha256)
    assert rewind(tmp_path / "cut").backups == rewind(unbroken).backups


def killed_at_second(said: list[Event]) -> Callable[[Event], None]:
    """EventCallback that are kept, and answer the second warning with a crash."""

    def say(event: Event) -> None:
        said.append(event)
        if len(warnings(said)) == 2 and isinstance(event, Warned):
            raise ZeroDivisionError

    return say


def test_a_training_that_goes_back_past_an_extension_follows_its_plan_as_after_a_crash(
    source: Crops, target: Crops, options: Make, tmp_path: Path, poison: Poison
) -> None:
    """It had the guard of before, although the random warp was back, and a record of another future."""
    more = options(iterations=24)
    guards: list[Guard] = []
    for name in ("whole", "killed"):
        train_crops(source, target, tmp_path / name, options(), silent)
    poison(at=13, times=2)
    said: list[Event] = []
    with pytest.raises(ZeroDivisionError):
        train_crops(source, target, tmp_path / "killed", more, killed_at_second(said))
    assert ["back to iteration 12 " in warnings(said)[0], "back to iteration 8 " in warnings(said)[1]] == [True, True]
    for name in ("whole", "killed"):
        assert train_crops(source, target, tmp_path / name, more, silent).iterations == 24
        latest = json.loads((tmp_path / name / "checkpoint" / "latest.json").read_text())
        guards.append(Guard.of(latest["numbers"]))
        assert [(plan.iterations, plan.until) for plan in RunRecord.read(tmp_path / name).instalments] == [(12, 8)]
    assert guards[0] == guards[1]
    assert guards[0].seen == 16  # from iteration 8 on
    assert (
        TrainedNetwork.open(tmp_path / "whole", "cpu").weights_sha256
        == TrainedNetwork.open(tmp_path / "killed", "cpu").weights_sha256
    )


def test_a_plateau_that_is_gone_back_past_has_not_been_and_after_a_crash_neither(
    source: Crops, target: Crops, options: Make, tmp_path: Path, poison: Poison, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The training went on to the end of the plateau's plan; killed, by the plan of before."""
    poison(at=17, times=2)
    changes = {"until": "plateau", "schedule": {"decay": "late", "warm_up": 0}, "preview_every": 1, "save_every": 10}
    asked = options(iterations=40, **changes)
    for name in ("whole", "killed"):
        said: list[Event] = []
        gain = (0.0 if i < 17 else 0.01 * i for i in range(1000))  # flat until the first plateau
        monkeypatch.setattr("visagist.training.train.judge", lambda *_, gain=gain: {"ssim_source": 0.5 + next(gain)})
        if name == "killed":
            with pytest.raises(ZeroDivisionError):
                train_crops(source, target, tmp_path / name, asked, killed_at_second(said))
            assert "back to iteration 16 " in warnings(said)[0]
            assert "back to iteration 10 " in warnings(said)[1]
            assert RunRecord.read(tmp_path / name).plateau is None
        summary = train_crops(source, target, tmp_path / name, asked, silent)
        assert (summary.iterations, summary.rollbacks) == (40, 2)
        record = RunRecord.read(tmp_path / name)
        assert (record.iterations, record.instalments, record.plateau) == (40, (), None)
    assert (
        TrainedNetwork.open(tmp_path / "whole", "cpu").weights_sha256
        == TrainedNetwork.open(tmp_path / "killed", "cpu").weights_sha256
    )


@pytest.mark.parametrize(("overdue", "saved"), [(100, 0), (4, 8)])
def test_nothing_is_saved_while_faces_are_much_more_alike_than_they_were(
    overdue: int,
    saved: int,
    source: Crops,
    target: Crops,
    options: Make,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("visagist.training.train.OVERDUE", overdue)
    device = choose("cpu").device
    sides = {"source": Side(source, 0.2, device), "target": Side(target, 0.2, device)}
    before: list[int] = []

    def say(event: Event) -> None:
        if isinstance(event, Progress):
            before.append(checkpoint_iteration(tmp_path / "checkpoint"))

    guard = Guard(variations={"source": (0.8, 0.8, 20)})  # they were well told apart; of random weights they are alike
    Loop(Trainer(sides, options(), 12, choose("cpu")), tmp_path, options(), say, None, guard=guard).finish()
    assert before[-1] == saved
    assert checkpoint_iteration(tmp_path / "checkpoint") == 12  # the end is always kept


def test_a_run_that_was_cut_short_draws_with_what_it_saved_last(
    source: Crops, target: Crops, options: Make, tmp_path: Path
) -> None:
    def crash(event: Event) -> None:
        if isinstance(event, Progress) and event.done == 7:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train_crops(source, target, tmp_path / "crashed", options(), crash)

    def stop(event: Event) -> None:
        if isinstance(event, Progress) and event.done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_crops(source, target, tmp_path / "stopped", options(), stop)
    drawn = [TrainedNetwork.open(tmp_path / name, "cpu").weights_sha256 for name in ("crashed", "stopped")]
    assert drawn[0] == drawn[1]
    begun = options(start=tmp_path / "crashed", iterations=1)
    assert train_crops(source, target, tmp_path / "begun", begun, silent).iterations == 1
