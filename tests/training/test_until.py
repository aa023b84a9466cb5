"""When a training ends: plateaus, memory that is not there, and the learning rate that it begins with."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from visagist.core.device import choose
from visagist.core.errors import ConfigError
from visagist.core.events import Event, Note, silent
from visagist.training import Crops, TrainOptions, train_crops
from visagist.training.augment import Draws, random_draws
from visagist.training.budget import find_rate, known_record
from visagist.training.data.crops import Side
from visagist.training.run import RunRecord
from visagist.training.signals import logged_looks
from visagist.training.trainer import Trainer

Make = Callable[..., TrainOptions]
LATE = {"decay": "late", "warm_up": 0}


def notes(said: list[Event]) -> list[str]:
    return [event.message for event in said if isinstance(event, Note)]


@pytest.fixture
def flat(monkeypatch: pytest.MonkeyPatch) -> None:
    """Held-out figures that gain nothing."""
    monkeypatch.setattr("visagist.training.train.judge", lambda *_: {"ssim_source": 0.9, "ssim_target": 0.95})


@pytest.mark.usefixtures("flat")
def test_a_plateau_ends_a_training_by_its_last_fifth_however_often_it_is_interrupted(
    source: Crops, target: Crops, options: Make, tmp_path: Path
) -> None:
    asked = options(iterations=200, until="plateau", schedule=LATE, preview_every=1, save_every=50)
    said: list[Event] = []
    whole = train_crops(source, target, tmp_path / "whole", asked, said.append)
    assert whole.iterations == 20  # 16 looks tell, and a fifth of the training comes after them
    assert any(note.startswith("no gain in the last 15 iterations, expected gain of an hour") for note in notes(said))
    assert any("plateau: the last fifth begins, and ends at iteration 20, not 200" in note for note in notes(said))
    record = RunRecord.read(tmp_path / "whole")
    assert (record.plateau, record.iterations, record.options.iterations) == (16, 20, 200)

    def stop(event: Event) -> None:
        if getattr(event, "done", None) in (10, 16, 18):  # 16: the look that tells comes first, at no known speed
            raise KeyboardInterrupt

    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            train_crops(source, target, tmp_path / "cut", asked, stop)
    cut = train_crops(source, target, tmp_path / "cut", asked, silent)
    assert (cut.iterations, cut.weights_sha256) == (20, whole.weights_sha256)
    assert train_crops(source, target, tmp_path / "cut", asked, silent).resumed_at == 20
    more = options(iterations=24, until="end", schedule=LATE, preview_every=1, save_every=50)
    assert train_crops(source, target, tmp_path / "cut", more, silent).iterations == 24


@pytest.mark.usefixtures("flat")
def test_after_a_plateau_the_warp_fades_from_what_it_was(
    source: Crops, target: Crops, options: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warps: list[float] = []

    def draws(*given: Any) -> Draws:
        warps.append(given[4])
        return random_draws(*given)

    monkeypatch.setattr("visagist.training.trainer.random_draws", draws)
    asked = options(iterations=200, until="plateau", schedule=LATE, preview_every=1, save_every=50)
    train_crops(source, target, tmp_path, asked, silent)
    assert warps == [*[1.0] * 16, 1.0, 0.5, 0.0, 0.0]


@pytest.mark.usefixtures("flat")
def test_what_the_warm_up_gains_tells_nothing(source: Crops, target: Crops, options: Make, tmp_path: Path) -> None:
    """A long warm-up with many looks ended a training before it had begun to learn."""
    schedule = {"decay": "late", "warm_up": 30}
    asked = options(iterations=200, until="plateau", schedule=schedule, preview_every=1, save_every=50)
    assert train_crops(source, target, tmp_path, asked, silent).iterations == 58
    assert RunRecord.read(tmp_path).plateau == 46  # 16 looks after it


def test_a_warm_up_that_leaves_no_full_rate_is_refused(
    source: Crops, target: Crops, options: Make, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"--schedule\.warm-up 10 leaves 12 iterations .* from 0 to 9 here"):
        train_crops(source, target, tmp_path, options(iterations=12, schedule={"warm_up": 10}), silent)
    assert not (tmp_path / "run.toml").exists()


def test_trying_learning_rates_does_not_come_to_the_end_of_a_training(
    source: Crops, target: Crops, options: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("visagist.training.budget.TRIED", 24)
    compute = choose("cpu")
    sides = {"source": Side(source, 0.2, compute.device), "target": Side(target, 0.2, compute.device)}
    plain, with_gan = (
        find_rate(sides, options(losses={"gan": gan, "gan_dims": 4, "finish": 0.25}), compute, None).losses
        for gan in (0.0, 10.0)
    )
    assert with_gan.tolist() == plain.tolist()


@pytest.mark.usefixtures("flat")
def test_without_being_asked_a_plateau_is_only_told(
    source: Crops, target: Crops, options: Make, tmp_path: Path
) -> None:
    said: list[Event] = []
    often = {"preview_every": 1, "save_every": 50, "schedule": {"warm_up": 0}}
    train_crops(source, target, tmp_path, options(iterations=30, **often), said.append)
    told = [note for note in notes(said) if note.startswith("no gain")]
    assert len(told) == 3  # from 16 looks on, until the warp fades at iteration 18: faces gain by that alone
    assert all("with a learning rate that falls" in note for note in told)


def test_a_plateau_of_a_falling_rate_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"give --schedule\.decay late \(or none\), not cosine"):
        TrainOptions.parse({"until": "plateau"}, "test")


def test_looks_of_a_log_are_those_that_were_not_gone_back_on(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"

    def line(iteration: int, value: float, step: str = "held out") -> str:
        return json.dumps({"event": "metric", "step": step, "iteration": iteration, "values": {"ssim_source": value}})

    lines = [line(5, 0.1), line(10, 0.2), line(10, 0.9, "train"), line(5, 0.3), line(15, 0.4)]
    log.write_text("\n".join(lines) + '\n{"event": "met')
    assert logged_looks(log, 10) == {5: {"ssim_source": 0.3}, 10: {"ssim_source": 0.2}}
    assert logged_looks(tmp_path / "none", 10) == {}


def test_running_out_of_memory_says_what_fits_and_keeps_the_checkpoint(
    source: Crops, target: Crops, options: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    straight = train_crops(source, target, tmp_path / "straight", options(iterations=6), silent)
    learn = Trainer.learn

    def fail(self: Trainer, iteration: int, seen: torch.Tensor, truth: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if iteration == 5:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes")
        return learn(self, iteration, seen, truth)

    monkeypatch.setattr(Trainer, "learn", fail)
    with pytest.raises(ConfigError, match=r"cpu ran out of memory; the last checkpoint is kept.*takes about .* GiB"):
        train_crops(source, target, tmp_path / "run", options(iterations=6), silent)
    monkeypatch.undo()
    after = train_crops(source, target, tmp_path / "run", options(iterations=6), silent)
    assert (after.resumed_at, after.weights_sha256) == (4, straight.weights_sha256)


def test_a_learning_rate_is_found_once(source: Crops, target: Crops, options: Make, tmp_path: Path) -> None:
    said: list[Event] = []
    asked = options(find_rate=True, iterations=4)
    train_crops(source, target, tmp_path, asked, said.append)
    found = RunRecord.read(tmp_path).options.learning_rate
    assert found is not None
    assert 1e-6 < found < 0.1
    assert any(f"{found:.2g} suits this training" in note for note in notes(said))
    assert known_record(tmp_path, asked) is not None
    again: list[Event] = []
    train_crops(source, target, tmp_path, asked.model_copy(update={"iterations": 6}), again.append)
    assert not any("suits" in note for note in notes(again))
    assert RunRecord.read(tmp_path).options.learning_rate == found
