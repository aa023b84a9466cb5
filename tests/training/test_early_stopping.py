"""Plateaus and gains under noise, and trainings that stop on a plateau."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from tests.training.conftest import contents, ending, killed_at_each_change, weights
from visagist.core.events import Event, Note
from visagist.models.bundle import read_record
from visagist.training import Crops, TrainOptions, train_crops
from visagist.training.early_stopping import CONFIDENCE, FIT_POINTS, outlook
from visagist.training.run import RunRecord, logged_validations

Array = NDArray[np.float64]
Make = Callable[..., TrainOptions]
People = dict[str, Crops]


def validations(count: int) -> Array:
    """Iterations of validations."""
    return np.arange(1.0, count + 1) * 500


def saturating(count: int) -> Array:
    """A saturating curve: a fast power-law start, then half the distance to the limit every 3000 iterations."""
    at = validations(count)
    return 0.97 - 0.5 * at**-0.5 - 0.02 * 0.5 ** (at / 3000)


def noise(count: int, deviation: float, seed: int, memory: float = 0.0) -> Array:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=count)
    for i in range(1, count):
        values[i] = memory * values[i - 1] + np.sqrt(1 - memory**2) * values[i]
    return deviation * values


def stops_at(curve: Array) -> int | None:
    """Index of the first validation that would stop a training."""
    at = validations(len(curve))
    for count in range(2, len(curve) + 1):
        if outlook(at[:count].tolist(), curve[:count, None]).is_plateau:
            return count
    return None


@pytest.mark.parametrize("memory", [0.0, 0.5])
def test_a_plateau_is_found_through_noise(memory: float) -> None:
    curve = saturating(150)
    without = stops_at(curve)
    assert without is not None
    found = [stops_at(curve + noise(150, 0.0005, seed, memory)) for seed in range(8)]
    assert sum(stop is not None for stop in found) >= 7
    assert np.median([stop or 150 for stop in found]) >= without  # noise must only delay a stop


@pytest.mark.parametrize(("deviation", "memory"), [(0.0005, 0.0), (0.0005, 0.5), (0.002, 0.0), (0.001, 0.5)])
def test_slow_gains_are_no_plateau(deviation: float, memory: float) -> None:
    """0.004 per doubling is 0.0023 for 50 % more iterations, more than twice the minimum gain."""
    slow = 0.9 + 0.004 * np.log2(validations(80))
    assert not any(stops_at(slow + noise(80, deviation, seed, memory)) for seed in range(8))


def test_one_identity_that_still_gains_is_no_plateau() -> None:
    at = validations(60)
    flat, rising, falling = np.full(60, 0.97), 0.9 + 0.01 * np.log(at), 0.97 - 0.01 * np.log(at)
    assert outlook(at.tolist(), flat[:, None]).is_plateau
    assert outlook(at.tolist(), falling[:, None]).is_plateau
    assert outlook(at.tolist(), falling[:, None]).expected_gain(1000) == 0
    both = outlook(at.tolist(), np.stack([flat, rising], 1))
    assert not both.is_plateau
    assert both.slope == pytest.approx(0.01)
    assert both.expected_gain(30_000) == pytest.approx(0.01 * np.log(2))
    assert both.gain_last == pytest.approx(rising[-1] - rising[29], rel=0.01)


def test_too_few_validations_are_no_plateau() -> None:
    for count in range(16):
        assert not outlook(validations(count).tolist(), np.full((count, 2), 0.9)).is_plateau
    assert outlook([], np.zeros((0, 2))).expected_gain(10) == 0


def test_slope_and_confidence_are_those_of_numpy_and_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    at = validations(2 * FIT_POINTS)
    values = 0.9 + 0.01 * np.log(at) + noise(len(at), 0.002, 0)
    x, y = (part.reshape(FIT_POINTS, 2).mean(1) for part in (np.log(at), values))
    (slope, _), covariance = np.polyfit(x, y, 1, cov=True)
    error = np.sqrt(covariance[0, 0])
    found = outlook(at.tolist(), values[:, None])
    assert found.slope == pytest.approx(slope)
    assert pytest.approx(stats.t.ppf(0.995, FIT_POINTS - 2), abs=1e-3) == CONFIDENCE
    promised = np.log(1.5) * (slope + CONFIDENCE * error)
    for factor in (0.999, 1.001):
        monkeypatch.setattr("visagist.training.early_stopping.MIN_GAIN", factor * promised)
        assert outlook(at.tolist(), values[:, None]).is_plateau == (factor > 1)


def test_validations_of_a_log_are_those_of_the_latest_pass(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"

    def line(iteration: int, value: float, step: str = "validation") -> str:
        return json.dumps({"event": "metric", "step": step, "iteration": iteration, "values": {"ssim_source": value}})

    before = [line(10, 0.9, "train"), line(5, 0.1), line(10, 0.2), line(12, 0.3), line(20, 0.9, "train")]
    after = [line(5, 0.4), line(10, 0.9, "train"), line(10, 0.5), line(15, 0.6), line(20, 0.7)]
    log.write_text("\n".join(before + after) + '\n{"event": "met')
    assert logged_validations(tmp_path, 15) == {
        5: {"ssim_source": 0.4},
        10: {"ssim_source": 0.5},
        15: {"ssim_source": 0.6},
    }
    assert logged_validations(tmp_path / "none", 10) == {}


@pytest.fixture
def flat(monkeypatch: pytest.MonkeyPatch) -> None:
    """Validation metrics without any gain."""
    monkeypatch.setattr("visagist.training.train.validate", lambda *_: {"ssim_source": 0.9, "ssim_target": 0.95})


OFTEN = {"preview_every": 1, "save_every": 50}
UNTIL_PLATEAU = {"iterations": 200, "until": "plateau", "schedule": {"warm_up": 0}, **OFTEN}


@pytest.mark.usefixtures("flat")
def test_a_plateau_begins_the_cool_down(crops: People, options: Make, tmp_path: Path) -> None:
    """16 validations suffice; the cool-down takes the last 30 % of the training."""
    events: list[Event] = []
    run = train_crops(crops, tmp_path / "plateau", options(**UNTIL_PLATEAU), on_event=events.append)
    assert run.iterations == 23
    notes = [event.message for event in events if isinstance(event, Note)]
    assert any(note.startswith("no gain in the last 15 iterations, expected gain from another hour") for note in notes)
    record = RunRecord.read(tmp_path / "plateau")
    assert (record.plateau, record.plan.cool_down_start, record.plan.total) == (16, 16, 23)
    planned = options(iterations=23, schedule={"warm_up": 0}, **OFTEN)
    train_crops(crops, tmp_path / "planned", planned)
    assert weights(tmp_path / "plateau") == weights(tmp_path / "planned")  # with a cool-down from 16, too
    longer = options(**{**UNTIL_PLATEAU, "until": "end", "iterations": 30})
    assert train_crops(crops, tmp_path / "plateau", longer).iterations == 30
    train_crops(crops, tmp_path / "longer", longer)
    assert weights(tmp_path / "plateau") == weights(tmp_path / "longer")


@pytest.mark.usefixtures("flat")
def test_a_plateau_is_the_same_however_a_training_is_interrupted_or_killed(
    crops: People, options: Make, tmp_path: Path
) -> None:
    asked = options(**UNTIL_PLATEAU)

    def train(run: Path) -> None:
        train_crops(crops, run, asked)

    with pytest.raises(KeyboardInterrupt):
        train_crops(crops, tmp_path / "begun", asked, on_event=ending(KeyboardInterrupt, 10))
    killed, whole = killed_at_each_change(tmp_path / "begun", tmp_path, train)
    for run in killed:
        train(run)
        assert contents(whole).items() <= contents(run).items()
    # At 16 it is interrupted before the validation that finds the plateau.
    for stop in (16, 18):
        with pytest.raises(KeyboardInterrupt):
            train_crops(crops, tmp_path / "begun", asked, on_event=ending(KeyboardInterrupt, stop))
    train(tmp_path / "begun")
    assert weights(tmp_path / "begun") == weights(whole)


@pytest.mark.usefixtures("flat")
def test_without_a_cool_down_an_extension_ends_at_the_plateau(crops: People, options: Make, tmp_path: Path) -> None:
    schedule = {"warm_up": 0, "cool_down": 0.0}
    train_crops(crops, tmp_path / "run", options(iterations=12, schedule=schedule, **OFTEN))
    run = train_crops(crops, tmp_path / "run", options(**{**UNTIL_PLATEAU, "schedule": schedule}))
    assert (run.iterations, read_record(run).iteration) == (16, 16)
    planned = train_crops(crops, tmp_path / "planned", options(iterations=16, schedule=schedule, **OFTEN))
    assert run.weights_sha256 == planned.weights_sha256


@pytest.mark.usefixtures("flat")
def test_validations_of_the_warm_up_do_not_count(crops: People, options: Make, tmp_path: Path) -> None:
    asked = options(**{**UNTIL_PLATEAU, "schedule": {"warm_up": 10}})
    train_crops(crops, tmp_path, asked)
    assert RunRecord.read(tmp_path).plateau == 26


@pytest.mark.usefixtures("flat")
def test_without_until_plateau_it_is_only_reported(crops: People, options: Make, tmp_path: Path) -> None:
    events: list[Event] = []
    asked = options(iterations=25, schedule={"warm_up": 0}, **OFTEN)
    assert train_crops(crops, tmp_path, asked, on_event=events.append).iterations == 25
    notes = [event.message for event in events if isinstance(event, Note)]
    assert len([note for note in notes if note.startswith("no gain")]) == 1  # then the cool-down begins
