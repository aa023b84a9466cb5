"""Trainings that go wrong: what the guard judges, where a run goes back to, and what is done there."""

import math
from collections.abc import Callable
from pathlib import Path

import pytest
from torch import Tensor

from visagist.events import Event, Metric, Progress, Warned
from visagist.training import Crops, TrainOptions, train_crops
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
