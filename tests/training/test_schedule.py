"""Learning rate over a training, and the range test."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from scipy.ndimage import gaussian_filter1d

from visagist.core.device import choose
from visagist.core.errors import ConfigError
from visagist.training import Crops, TrainOptions
from visagist.training.data.crops import Side
from visagist.training.schedule import RateCurve, ScheduleOptions, learning_rate, range_test, smooth
from visagist.training.trainer import Trainer


def rates(iterations: int = 1000, **options: object) -> list[float]:
    chosen = ScheduleOptions.model_validate(options)
    return [learning_rate(i, iterations, chosen) for i in range(iterations)]


@pytest.mark.parametrize("iterations", [1, 7, 100, 1234])
def test_default_is_what_training_has_always_done(iterations: int) -> None:
    for i in range(iterations):
        warm_up = min(60, iterations // 10 + 1)
        before = 0.5 + 0.5 * math.cos(math.pi * (i - warm_up) / max(1, iterations - warm_up))
        assert learning_rate(i, iterations, ScheduleOptions()) == ((i + 1) / warm_up if i < warm_up else before)


@pytest.mark.parametrize("decay", ["cosine", "linear", "late", "none"])
@pytest.mark.parametrize("warm_up", [None, 0, 400])
def test_rate_rises_to_1_and_never_again(decay: str, warm_up: int | None) -> None:
    found = rates(decay=decay, warm_up=warm_up)
    top = max(0, (60 if warm_up is None else warm_up) - 1)
    assert found[top] == pytest.approx(1.0)
    assert found[: top + 1] == sorted(found[: top + 1])
    assert found[top:] == sorted(found[top:], reverse=True)
    assert 0 <= min(found) <= max(found) <= 1
    assert found[-1] == pytest.approx(1.0 if decay == "none" else 0.0, abs=0.01)


def test_late_falls_as_one_minus_a_root_from_where_a_longer_run_stays() -> None:
    found = rates(decay="late")
    assert found[900] == pytest.approx(1 - math.sqrt(0.5))
    assert found[:800] == rates(5000, decay="late")[:800]


def test_floor_is_where_decays_end() -> None:
    found = rates(decay="linear", floor=0.1)
    assert found[-1] == pytest.approx(0.1, abs=0.002)
    assert found[0] == rates(decay="linear")[0]  # warm-up is not lifted


@pytest.mark.parametrize(("field", "value"), [("warm_up", -1), ("decay", "exponential"), ("floor", 1), ("floor", -1)])
def test_nonsense_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValidationError):
        ScheduleOptions.model_validate({field: value})


def test_a_training_follows_its_schedule(source: Crops, target: Crops, options: Callable[..., TrainOptions]) -> None:
    compute = choose("cpu")
    sides = {"source": Side(source, 0.2, compute.device), "target": Side(target, 0.2, compute.device)}
    trainer = Trainer(sides, options(schedule={"decay": "linear", "warm_up": 0, "floor": 0.5}), 12, compute)
    trainer.step(6)
    assert trainer.optimizer.param_groups[0]["lr"] == pytest.approx(0.75 * trainer.rate)


def test_the_warp_ends_where_it_is_asked_to(source: Crops, target: Crops, options: Callable[..., TrainOptions]) -> None:
    compute = choose("cpu")
    sides = {"source": Side(source, 0.2, compute.device), "target": Side(target, 0.2, compute.device)}

    def seen(iteration: int, **changes: object) -> torch.Tensor:
        return Trainer(sides, options(**changes), 12, compute).batch(iteration)[0]

    none, early, late = {"augmentation": {"warp": 0.0}}, {"schedule": {"warp_end": 0.5}}, {"schedule": {"warp_end": 1}}
    assert torch.equal(seen(6, **early), seen(6, **none))
    assert not torch.equal(seen(5, **early), seen(5, **none))
    assert torch.equal(seen(8, **late), seen(8, **{"augmentation": {"warp": 0.014}, **late}))
    assert not torch.equal(seen(8, **late), seen(8))  # by default it fades there
    assert torch.equal(seen(11), seen(11, **none))


CURVATURE = 4.0  # gradient descent on it explodes above 2 / 4


def quadratic(noise: float = 0.0, begin: float = 1.0) -> RateCurve:
    weight, rng = np.full(50, begin), np.random.default_rng(0)

    def step(rate: float) -> float:
        nonlocal weight
        loss = 0.5 * CURVATURE * float(weight @ weight) / len(weight)
        weight = weight - rate * CURVATURE * (weight + noise * rng.normal(size=len(weight)))
        return loss + noise * abs(float(rng.normal()))

    return range_test(step, 1e-5, 100.0, 120)


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.2])
def test_range_test_finds_the_rate_of_a_quadratic(noise: float) -> None:
    curve = quadratic(noise)
    assert curve.exploded
    assert curve.suggestion is not None
    assert 0.02 / CURVATURE < curve.suggestion < 1 / CURVATURE
    assert curve.rates[-1] < 100
    assert len(curve.rates) == len(curve.losses)


def test_range_test_stops_at_what_is_not_a_number() -> None:
    losses = iter([1.0] * 10 + [0.5] * 20 + [float("nan")])
    curve = range_test(lambda rate: next(losses), 1e-5, 1.0, 100)
    assert curve.exploded
    assert len(curve.losses) == 30
    assert curve.suggestion == pytest.approx(0.3 * curve.rates[10], rel=0.5)
    assert "exploded" in curve.as_text()


def test_range_test_says_where_nothing_fell() -> None:
    curve = range_test(lambda rate: 1.0 + rate, 1e-3, 1.0, 50)
    assert curve.suggestion is None
    assert "no learning rate" in curve.as_text()


def test_range_test_that_starts_with_nan_suggests_nothing() -> None:
    assert range_test(lambda rate: math.nan, 1e-3, 1.0, 50).suggestion is None


def test_rates_grow_exponentially() -> None:
    curve = range_test(lambda rate: 1 / (1 + rate), 1e-4, 1e-1, 31)
    np.testing.assert_allclose(curve.rates[10::10], [1e-3, 1e-2, 1e-1])


@pytest.mark.parametrize(
    ("low", "high", "iterations"), [(0, 1, 100), (0.5, 1, 100), (1e-4, math.inf, 100), (1e-4, 1, 5)]
)
def test_ranges_that_show_nothing_are_refused(low: float, high: float, iterations: int) -> None:
    with pytest.raises(ConfigError):
        range_test(lambda rate: 1.0, low, high, iterations)


def test_smoothing_is_a_gaussian_of_scipy_away_from_the_ends() -> None:
    values = np.random.default_rng(0).normal(size=100)
    np.testing.assert_allclose(
        smooth(values, 2.0)[20:80], gaussian_filter1d(values, 2.0, truncate=12.0)[20:80], atol=1e-9
    )
