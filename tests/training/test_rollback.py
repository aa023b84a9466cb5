"""Failing trainings: where they roll back to, and when they give up."""

import math
import shutil
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.training.conftest import contents, ending, killed_at_each_change
from visagist.core.errors import CollapseError
from visagist.core.events import Event, Metric, Progress, Warned
from visagist.models.bundle import TrainedNetwork, read_record
from visagist.training import Crops, TrainOptions, train_crops
from visagist.training.checkpoint import State, read_state, saved_iterations
from visagist.training.losses.adversary import Adversary
from visagist.training.trainer import Trainer

Make = Callable[..., TrainOptions]
People = dict[str, Crops]
Poison = Callable[..., None]


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> Poison:
    """Scale the ground truth of one iteration, by default to NaN, in the first `times` attempts."""
    batch = Trainer.batch

    def put(at: int, times: int = 1, factor: float = math.nan) -> None:
        def poisoned(self: Trainer, iteration: int) -> tuple[Tensor, Tensor]:
            seen, truth = batch(self, iteration)
            return seen, truth * factor if iteration == at and self.attempt < times else truth

        monkeypatch.setattr(Trainer, "batch", poisoned)

    return put


def warnings(events: list[Event]) -> list[str]:
    return [event.message for event in events if isinstance(event, Warned)]


def rollbacks_to(events: list[Event]) -> list[int]:
    return [int(message.partition("back to iteration ")[2].split()[0]) for message in warnings(events)]


def done(events: list[Event]) -> list[int]:
    return [event.done for event in events if isinstance(event, Progress)]


def validated(events: list[Event]) -> list[int]:
    return [event.iteration for event in events if isinstance(event, Metric) and event.step == "validation"]


def state(run: Path) -> State:
    found = read_state(run / "checkpoints")
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("at", "factor", "to"),
    [
        (2, math.nan, 0),  # before the first save
        (6, math.nan, 4),
        (6, math.inf, 4),
        (6, 1e4, 4),  # finite, and exploding
        (8, math.nan, 8),  # where the cool-down begins
    ],
)
def test_a_training_goes_back_to_the_last_checkpoint_with_half_the_rate(
    at: int, factor: float, to: int, crops: People, options: Make, tmp_path: Path, poison: Poison
) -> None:
    poison(at, factor=factor)
    events: list[Event] = []
    run = train_crops(crops, tmp_path, options(preview_every=4), on_event=events.append)
    assert rollbacks_to(events) == [to]
    assert done(events) == [*range(1, at + 1), *range(to + 1, 13)]
    assert validated(events) == [4, 8, 12]  # no validation is repeated
    assert run.rollbacks == state(tmp_path).attempt == 1
    assert state(tmp_path).rate == 0.5
    last = next(event for event in reversed(events) if isinstance(event, Metric) and event.step == "train")
    assert last.values["learning_rate"] == pytest.approx(0.0005 * (1 - math.sqrt(3 / 4)))
    tensors = TrainedNetwork.open(tmp_path, "cpu").network.state_dict().values()
    assert all(tensor.isfinite().all() for tensor in tensors)


def test_other_random_numbers_are_drawn_after_a_rollback_and_with_another_seed(
    crops: People, options: Make, tmp_path: Path, poison: Poison, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(2)
    batch, seen = Trainer.batch, dict[tuple[int, int], Tensor]()

    def watch(self: Trainer, iteration: int) -> tuple[Tensor, Tensor]:
        found = batch(self, iteration)
        if iteration == 1:
            seen[self.options.seed, self.attempt] = found[0]
        return found

    monkeypatch.setattr(Trainer, "batch", watch)
    for seed in (0, 1):
        train_crops(crops, tmp_path / str(seed), options(iterations=4, seed=seed))
    assert len(seen) == 4
    for one, other in combinations(seen.values(), 2):
        assert not torch.equal(one, other)


def test_a_finishing_loss_that_begins_to_act_is_no_explosion(
    crops: People, options: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("visagist.training.setup.check_memory", lambda *_: "")  # slow for adversarial losses
    monkeypatch.setattr("visagist.training.stability.MIN_HISTORY", 10)
    events: list[Event] = []
    asked = options(
        iterations=40, save_every=50, preview_every=50, losses={"gan": 10.0, "gan_dims": 4}, schedule={"cool_down": 0.5}
    )
    run = train_crops(crops, tmp_path, asked, on_event=events.append)
    assert (run.rollbacks, warnings(events)) == (0, [])
    metrics = [event.values for event in events if isinstance(event, Metric) and event.step == "train"]
    assert metrics[2]["loss"] > 2 * metrics[1]["loss"]
    assert "loss_gan_discriminator" not in metrics[1]
    assert 0 < metrics[2]["loss_gan_discriminator"] < 2


def test_a_discriminator_that_is_not_finite_is_noticed_before_it_is_saved(
    crops: People, options: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("visagist.training.setup.check_memory", lambda *_: "")  # slow for adversarial losses
    backward, calls = Adversary.backward, 0

    def fail_once(self: Adversary, parts: list[tuple[Tensor, Tensor]], *rest: Any) -> Tensor:
        nonlocal calls
        calls += 1
        return backward(self, [(real * math.nan, fake) for real, fake in parts] if calls == 4 else parts, *rest)

    monkeypatch.setattr(Adversary, "backward", fail_once)
    events: list[Event] = []
    asked = options(iterations=6, losses={"gan": 0.01, "gan_dims": 4}, schedule={"cool_down": 1.0})
    run = train_crops(crops, tmp_path, asked, on_event=events.append)
    assert (run.rollbacks, rollbacks_to(events)) == (1, [0])
    assert "iteration 4" in warnings(events)[0]


def test_from_a_checkpoint_that_fails_twice_a_training_goes_to_the_one_before(
    crops: People, options: Make, tmp_path: Path, poison: Poison
) -> None:
    poison(7, times=2)
    events: list[Event] = []

    def look(event: Event) -> None:
        events.append(event)
        if isinstance(event, Warned):
            to = rollbacks_to(events)[-1]
            assert read_record(tmp_path).iteration == to
            assert saved_iterations(tmp_path / "checkpoints")[-1] == to  # later checkpoints are deleted

    run = train_crops(crops, tmp_path, options(save_every=2, backup_every=6), on_event=look)
    assert (run.iterations, run.rollbacks, rollbacks_to(events)) == (12, 2, [6, 4])


def test_a_training_that_keeps_going_wrong_is_given_up_with_its_weights_kept(
    crops: People, options: Make, tmp_path: Path, poison: Poison
) -> None:
    poison(6, times=9)
    events: list[Event] = []
    asked = options(save_every=2)
    with pytest.raises(
        CollapseError, match=r"failed 4 times, last at iteration 7: .*the weights of iteration 4 are kept"
    ):
        train_crops(crops, tmp_path, asked, on_event=events.append)
    assert rollbacks_to(events) == [6, 4, 6]
    assert read_record(tmp_path).iteration == state(tmp_path).latest == 4
    events.clear()
    with pytest.raises(CollapseError):  # a repeated call does not retry forever
        train_crops(crops, tmp_path, asked, on_event=events.append)
    assert (done(events), rollbacks_to(events)) == ([5, 6], [])


def test_killed_while_it_goes_back_a_training_ends_the_same(
    crops: People, options: Make, tmp_path: Path, poison: Poison
) -> None:
    begun, asked = tmp_path / "begun", options(iterations=6, save_every=2)
    with pytest.raises(KeyboardInterrupt):
        train_crops(crops, begun, asked, on_event=ending(KeyboardInterrupt, 5))
    poison(5, times=2)  # from the interrupted 5 back to 4, and then to 2

    def train(run: Path) -> None:
        train_crops(crops, run, asked)

    killed, whole = killed_at_each_change(begun, tmp_path, train)
    assert len(killed) >= 10
    for run in [*killed, whole]:
        train(run)
        assert (state(run).attempt, state(run).rate) == (2, 0.25)
        assert contents(whole).items() <= contents(run).items()


@pytest.mark.parametrize("stops", [(6,), (7,), (5, 6), (6, 9)])
def test_an_interruption_changes_nothing_about_where_a_training_goes_back_to(
    stops: tuple[int, ...], crops: People, options: Make, tmp_path: Path, poison: Poison
) -> None:
    poison(7, times=2)  # to 4, and then to 2
    asked = options(save_every=2, preview_every=5)
    whole = train_crops(crops, tmp_path / "whole", asked)
    for stop in stops:
        with pytest.raises(KeyboardInterrupt):
            train_crops(crops, tmp_path / "cut", asked, on_event=ending(KeyboardInterrupt, stop))
    cut = train_crops(crops, tmp_path / "cut", asked)
    assert (cut.rollbacks, cut.weights_sha256) == (whole.rollbacks, whole.weights_sha256)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_ctrl_c_while_a_training_goes_back_saves_nothing(
    crops: People, options: Make, tmp_path: Path, poison: Poison, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The weights are not finite at that moment."""
    poison(6)
    whole = train_crops(crops, tmp_path / "whole", options())

    def impatient(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Trainer, "restore", impatient)
        train_crops(crops, tmp_path / "cut", options())
    assert state(tmp_path / "cut").latest == 4
    cut = train_crops(crops, tmp_path / "cut", options())
    assert (cut.rollbacks, cut.weights_sha256) == (1, whole.weights_sha256)


COLLAPSING = 100  # from this iteration on, all predicted faces of the source are the same


@pytest.fixture(scope="module")
def well(crops: People, options: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that predicts different faces, interrupted before it collapses."""
    run = tmp_path_factory.mktemp("well")
    with pytest.raises(KeyboardInterrupt):
        train_crops(crops, run, collapsing(options), on_event=ending(KeyboardInterrupt, COLLAPSING - 1))
    return run


def collapsing(options: Make, **changes: object) -> TrainOptions:
    return options(
        **{
            "iterations": 1000,
            "learning_rate": 3e-3,
            "batch": 8,
            "schedule": {"warm_up": 5},
            "save_every": 10,
            "preview_every": 10,
            **changes,
        }
    )


@pytest.fixture
def collapse(monkeypatch: pytest.MonkeyPatch) -> None:
    step = Trainer.step

    def broken(self: Trainer, iteration: int) -> float:
        loss = step(self, iteration)
        if iteration >= COLLAPSING:
            for weights in (self.weights, self.average):
                weights["decoders.0.draw.weight"].data.zero_()
        return loss

    monkeypatch.setattr(Trainer, "step", broken)


@pytest.mark.usefixtures("collapse")
@pytest.mark.parametrize("stops", [(), (113, 125)])
def test_a_training_that_collapses_is_given_up_after_three_confirmations(
    stops: tuple[int, ...], crops: People, options: Make, well: Path, tmp_path: Path
) -> None:
    """Ctrl-C saves the collapsed state, but the last good checkpoint is kept."""
    run = shutil.copytree(well, tmp_path / "run")
    events: list[Event] = []

    def stop(event: Event) -> None:
        events.append(event)
        ending(KeyboardInterrupt, *stops)(event)

    for _ in stops:
        with pytest.raises(KeyboardInterrupt):
            train_crops(crops, run, collapsing(options), on_event=stop)
    with pytest.raises(CollapseError, match=r"collapsed after iteration 100, .*the weights of iteration 100 are kept"):
        train_crops(crops, run, collapsing(options), on_event=stop)
    assert validated(events) == [100, 110, 120, 130]
    assert len(warnings(events)) == 3
    assert all("predicted faces of source are all the same" in message for message in warnings(events))
    assert read_record(run).iteration == state(run).latest == saved_iterations(run / "checkpoints")[-1] == 100


@pytest.mark.usefixtures("collapse")
def test_a_collapse_before_a_rollback_is_no_confirmation(
    crops: People, options: Make, well: Path, tmp_path: Path, poison: Poison
) -> None:
    """As if the training had restarted there."""
    run = shutil.copytree(well, tmp_path / "run")
    poison(112)
    events: list[Event] = []
    with pytest.raises(CollapseError):
        train_crops(crops, run, collapsing(options), on_event=events.append)
    assert rollbacks_to([event for event in events if "back" in getattr(event, "message", "")]) == [100]
    assert validated(events) == [100, 110, 110, 120, 130]
