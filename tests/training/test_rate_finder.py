"""The learning rate range test, on a quadratic with a known best rate and on a network."""

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from tests.training.conftest import small_options
from tests.training.trainers import FLOAT32, dataset
from visagist.training import rate_finder
from visagist.training.rate_finder import RateCurve, range_test, smooth

CURVATURE = 4.0  # gradient descent on it explodes above 2 / 4


def quadratic(noise: float) -> RateCurve:
    weight, rng = np.ones(50), np.random.default_rng(0)

    def step(rate: float) -> float:
        nonlocal weight
        loss = 0.5 * CURVATURE * float(weight @ weight) / len(weight)
        weight = weight - rate * CURVATURE * (weight + noise * rng.normal(size=len(weight)))
        return loss + noise * abs(float(rng.normal()))

    return range_test(step, 1e-5, 100.0, 120)


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.2])
def test_finds_the_rate_of_a_quadratic(noise: float) -> None:
    curve = quadratic(noise)
    assert curve.exploded
    assert curve.suggestion is not None
    assert 0.02 / CURVATURE < curve.suggestion < 1 / CURVATURE
    assert curve.rates[-1] < 100
    assert len(curve.rates) == len(curve.losses)


def test_stops_at_what_is_not_a_number() -> None:
    losses = iter([1.0] * 10 + [0.5] * 20 + [math.nan])
    curve = range_test(lambda rate: next(losses), 1e-5, 1.0, 100)
    assert curve.exploded
    assert len(curve.losses) == 30
    assert curve.suggestion == pytest.approx(0.3 * curve.rates[10], rel=0.5)


@pytest.mark.parametrize(("loss", "exploded"), [(lambda rate: 1.0 + rate, False), (lambda rate: math.nan, True)])
def test_suggests_nothing_where_nothing_fell(loss: object, exploded: bool) -> None:
    curve = range_test(loss, 1e-3, 1.0, 50)
    assert (curve.suggestion, curve.exploded) == (None, exploded)
    assert curve.as_text()


def test_rates_grow_exponentially() -> None:
    curve = range_test(lambda rate: 1 / (1 + rate), 1e-4, 1e-1, 31)
    np.testing.assert_allclose(curve.rates[10::10], [1e-3, 1e-2, 1e-1])


def test_smoothing_is_a_gaussian_of_scipy_away_from_the_ends() -> None:
    values = np.random.default_rng(0).normal(size=100)
    expected = gaussian_filter1d(values, 2.0, truncate=12.0)
    np.testing.assert_allclose(smooth(values, 2.0)[20:80], expected[20:80], atol=1e-9)


def test_a_network_is_tried_without_warm_up_and_finishing_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_finder, "ITERATIONS", 24)
    datasets = {name: dataset(i + 1, 32) for i, name in enumerate(("source", "target"))}
    plain, late = (
        rate_finder.find_rate(
            datasets, small_options(losses={"gan": gan, "gan_dims": 4}, schedule=schedule), FLOAT32, None
        )
        for gan, schedule in ((0.0, {}), (10.0, {"cool_down": 1.0, "warm_up": 0}))
    )
    assert late.losses.tolist() == plain.losses.tolist()
    assert plain.rates[0] == rate_finder.RATE_RANGE[0]
