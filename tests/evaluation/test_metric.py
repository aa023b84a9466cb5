"""Statistics over frames: medians, percentiles, and confidence intervals of correlated frames."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from visagist.evaluation.metric import bootstrap, figure_of

TIMES = np.arange(500) / 25


def test_the_95th_percentile_is_on_the_worse_side() -> None:
    values = np.arange(101.0)
    times = np.arange(101) / 25
    assert figure_of(values, times, None, "lower").p95 == 95
    assert figure_of(values, times, None, "higher").p95 == 5
    ratios = np.linspace(0.5, 1.5, 101)  # 95 % lie within 0.475 of 1
    assert abs(figure_of(ratios, times, None, "one").p95 - 1) == pytest.approx(0.475, abs=0.006)


def test_frames_that_were_not_measured_do_not_count() -> None:
    values = np.where(np.arange(500) % 2 == 0, 3.0, np.nan)
    found = figure_of(values, TIMES, None, "lower")
    assert (found.value, found.low, found.high, found.count) == (3.0, 3.0, 3.0, 250)
    alone = figure_of(np.array([np.nan, 7.0]), TIMES[:2], None, "lower")
    assert (alone.value, alone.count) == (7.0, 1)
    assert math.isnan(alone.low)
    assert figure_of(np.full(3, np.nan), TIMES[:3], None, "lower").count == 0


def test_the_interval_of_independent_frames_matches_theory() -> None:
    values = np.random.default_rng(1).normal(size=500)
    low, high = bootstrap(values, TIMES, lambda drawn: float(np.mean(drawn)))
    half = norm.ppf(0.975) / math.sqrt(500)
    assert (high - low) / 2 == pytest.approx(half, rel=0.2)
    assert low < values.mean() < high


def test_the_interval_of_correlated_frames_is_wider() -> None:
    values = np.random.default_rng(1).normal(size=20).repeat(25)  # 20 independent seconds
    low, high = bootstrap(values, TIMES, lambda drawn: float(np.mean(drawn)))
    assert (high - low) / 2 > 0.7 * norm.ppf(0.975) * values.std() / math.sqrt(20)


def test_the_same_values_give_the_same_interval() -> None:
    values = np.random.default_rng(2).normal(size=500)
    assert figure_of(values, TIMES, None, "lower") == figure_of(values.copy(), TIMES, None, "lower")


def test_vectorised_medians_match_single_ones() -> None:
    values = np.random.default_rng(3).normal(size=500)
    assert bootstrap(values, TIMES, None) == bootstrap(values, TIMES, lambda drawn: float(np.median(drawn)))
