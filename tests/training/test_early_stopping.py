"""Plateaus that must be found, and gains that must not be given up, under noise."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from visagist.core.errors import ConfigError
from visagist.training.early_stopping import CONFIDENCE, MEANS, Outlook, outlook

EVERY = 500
Array = NDArray[np.float64]


def looks(count: int) -> Array:
    return np.arange(1.0, count + 1) * EVERY


def saturating(count: int, limit: float, begin: float, halves: float) -> Array:
    """A curve whose distance from its limit halves every so many iterations, after a power law's fast start."""
    at = looks(count)
    return limit - begin * at**-0.5 - 0.02 * 0.5 ** (at / halves)


def noise(count: int, deviation: float, seed: int, memory: float = 0.0) -> Array:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=count)
    for i in range(1, count):
        values[i] = memory * values[i - 1] + np.sqrt(1 - memory**2) * values[i]
    return deviation * values


def stops_at(curve: Array, least_gain: float = 0.001) -> int | None:
    """First look at which a training would be stopped."""
    at = looks(len(curve))
    for count in range(2, len(curve) + 1):
        if outlook(at[:count].tolist(), curve[:count, None], least_gain).is_plateau:
            return count
    return None


@pytest.mark.parametrize("memory", [0.0, 0.5])
def test_a_plateau_is_found_through_noise(memory: float) -> None:
    curve = saturating(150, 0.97, 0.5, 3000)
    without = stops_at(curve)
    assert without is not None
    found = [stops_at(curve + noise(150, 0.0005, seed, memory)) for seed in range(8)]
    assert sum(stop is not None for stop in found) >= 7
    assert np.median([stop or 150 for stop in found]) >= without  # noise delays a stop, it does not hasten it


@pytest.mark.parametrize(("deviation", "memory"), [(0.0005, 0.0), (0.0005, 0.5), (0.002, 0.0), (0.001, 0.5)])
def test_slow_but_real_gains_are_not_given_up(deviation: float, memory: float) -> None:
    """0.004 for every doubling, 0.0023 for half as much again, for good: more than twice what is waited for."""
    slow = 0.9 + 0.004 * np.log2(looks(80))
    assert not any(stops_at(slow + noise(80, deviation, seed, memory)) for seed in range(8))


def test_one_person_who_still_gains_is_enough_to_go_on() -> None:
    at = looks(60)
    flat, rising = np.full(60, 0.97), 0.9 + 0.01 * np.log(at)
    assert outlook(at.tolist(), flat[:, None]).is_plateau
    both = outlook(at.tolist(), np.stack([flat, rising], 1))
    assert not both.is_plateau
    assert both.slope == pytest.approx(0.01)
    assert both.expected_gain(30_000) == pytest.approx(0.01 * np.log(2))
    assert both.gain_last == pytest.approx(rising[-1] - rising[29], rel=0.01)


def test_getting_worse_is_a_plateau() -> None:
    at = looks(60)
    found = outlook(at.tolist(), (0.97 - 0.01 * np.log(at))[:, None])
    assert found.is_plateau
    assert found.expected_gain(1000) == 0


def test_too_few_looks_are_none() -> None:
    for count in range(16):
        found = outlook(looks(count).tolist(), np.full((count, 2), 0.9))
        assert not found.is_plateau
    assert "too early" in outlook([500], np.full((1, 2), 0.9)).as_text(1000)
    assert outlook([], np.zeros((0, 2))).expected_gain(10) == 0


def test_least_gain_is_what_is_waited_for() -> None:
    at, curve = looks(60), 0.9 + 0.004 * np.log2(looks(60))
    assert not outlook(at.tolist(), curve[:, None], 0.001).is_plateau
    assert outlook(at.tolist(), curve[:, None], 0.01).is_plateau


def test_text_says_both_numbers() -> None:
    text = outlook(looks(40).tolist(), (0.9 + 0.01 * np.log(looks(40)))[:, None]).as_text(10_000)
    assert text == "gained 0.0069 SSIM in the last 10000 iterations, expected gain of an hour more: 0.0041 SSIM"


def test_iterations_that_do_not_grow_are_refused() -> None:
    with pytest.raises(ConfigError, match="must grow"):
        outlook([500, 500], np.zeros((2, 1)))
    with pytest.raises(ConfigError, match="do not fit"):
        outlook([500, 1000], np.zeros((3, 1)))


def test_slope_and_confidence_are_those_of_numpy_and_scipy() -> None:
    at = looks(2 * MEANS)
    values = 0.9 + 0.01 * np.log(at) + noise(len(at), 0.002, 0)
    x, y = (part.reshape(MEANS, 2).mean(1) for part in (np.log(at), values))
    (slope, _), covariance = np.polyfit(x, y, 1, cov=True)
    error = np.sqrt(covariance[0, 0])
    found = outlook(at.tolist(), values[:, None])
    assert found.slope == pytest.approx(slope)
    assert pytest.approx(stats.t.ppf(0.995, MEANS - 2), abs=1e-3) == CONFIDENCE
    promised = np.log(1.5) * (slope + CONFIDENCE * error)
    assert not outlook(at.tolist(), values[:, None], 0.999 * promised).is_plateau
    assert outlook(at.tolist(), values[:, None], 1.001 * promised).is_plateau


# Held-out SSIM (source, target) of a real run: `visagist demo`, 3600 iterations, rate down a cosine to 0.
DEMO = [
    (500, 0.92760, 0.94189),
    (1000, 0.94321, 0.96035),
    (1500, 0.95037, 0.96637),
    (2000, 0.95509, 0.96326),
    (2500, 0.95913, 0.96909),
    (3000, 0.96008, 0.97257),
    (3500, 0.96204, 0.97502),
    (3600, 0.96212, 0.97503),
]


def test_a_real_run_of_eight_minutes_is_no_plateau() -> None:
    at = [row[0] for row in DEMO]
    for count in range(2, len(DEMO) + 1):
        found: Outlook = outlook(at[:count], np.array([row[1:] for row in DEMO[:count]]))
        assert not found.is_plateau
