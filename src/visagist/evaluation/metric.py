"""Metrics and the figures they give over a case.

`Metric.measure` gives one value per frame; `evaluate_metric` makes a `Figure` of them: the median, or what
`Metric.combine` makes of all frames, with a confidence interval.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from visagist.evaluation.evaluation_data import Case

RESAMPLES = 400  # of the bootstrap
BLOCK_S = 1.0  # neighbouring frames are alike, so the bootstrap draws stretches of this length
CURVE_REACH_S = 1.0  # before and after a frame, for the curve of a metric that combines frames
MIN_CURVE_FRAMES = 12  # measured frames within that reach
CONFIDENCE = 0.95

Better = Literal["higher", "lower", "one", "neither"]
Combine = Callable[[NDArray[np.float64]], float]


@dataclass(frozen=True)
class Metric:
    """A measure of a case."""

    name: str  # key in the JSON
    title: str
    unit: str  # "" for a ratio or a cosine
    better: Better  # "one": 1 is right, above and below are wrong
    formula: str
    source: str  # where it comes from: a paper, a network
    fooled_by: str
    measure: Callable[[Case], NDArray[np.float64]]  # (N,) or (N, K), by frame; NaN where there is nothing to measure
    combine: Combine | None = None  # (M, K) or (M,) to a value; None: the median of (M,)
    aim: float | None = None  # what visagist's own renders should reach
    needs_mask: bool = False  # not judged where the outline of the face stands in for the merge's mask
    has_noise_floor: bool = False  # also measured on the jittered target, for what the detectors' noise accounts for
    order: int = 100  # of the report, rising; metrics of the same order keep their order in the file


@dataclass(frozen=True)
class Figure:
    """The value of a metric over a case; NaN where nothing could be measured."""

    value: float  # the median, or what the metric combines to
    low: float  # ends of the 95 % confidence interval of `value`
    high: float
    p95: float  # 95th percentile of the frames towards the worse side; NaN for combined metrics
    count: int  # measured frames


def evaluate_metric(metric: Metric, case: Case) -> tuple[Figure, NDArray[np.float64]]:
    """The figure of a metric and its curve `(N,)` over the frames.

    Only frames that the render changed count; all do if it changed none. The curve of a metric that combines frames
    is what it gives for a second before and after each frame.
    """
    values = np.array(metric.measure(case))
    if case.is_swapped.any():
        values[~case.is_swapped] = np.nan
    curve = values if metric.combine is None else _moving(values, case.times, metric.combine)
    return figure_of(values, case.times, metric.combine, metric.better), curve


def figure_of(
    values: NDArray[np.float64], times: NDArray[np.float64], combine: Combine | None, better: Better
) -> Figure:
    """The figure of values over frames.

    Args:
        values: `(N,)`, or `(N, K)` with `combine`; NaN where nothing was measured.
        times: `(N,)` s.
        combine: as in `Metric`.
        better: as in `Metric`.
    """
    is_known = _is_known(values)
    known = values[is_known]
    if len(known) < 2:
        value = float(known[0]) if values.ndim == 1 and len(known) else np.nan
        return Figure(value, np.nan, np.nan, np.nan, len(known))
    low, high = bootstrap(known, times[is_known], combine)
    value = combine(known) if combine else float(np.median(known))
    return Figure(value, low, high, np.nan if combine else _p95(known, better), len(known))


def bootstrap(values: NDArray[np.float64], times: NDArray[np.float64], combine: Combine | None) -> tuple[float, float]:
    """The 95 % confidence interval of `combine(values)`, or of the median, by a moving-block bootstrap.

    Künsch 1989, "The jackknife and the bootstrap for general stationary observations". The draws are the same at
    every call.

    Args:
        values: `(M,)` or `(M, K)`, in order of time.
        times: `(M,)` s.
        combine: as in `Metric`.
    """
    count = len(values)
    step = float(np.median(np.diff(times)))
    block = int(np.clip(round(BLOCK_S / step) if step > 0 else 1, 1, max(1, count // 4)))
    generator = np.random.default_rng(0)
    starts = generator.integers(0, count - block + 1, (RESAMPLES, -(-count // block)))
    draws = (starts[:, :, None] + np.arange(block)).reshape(RESAMPLES, -1)[:, :count]  # (RESAMPLES, M)
    found = np.array([combine(values[draw]) for draw in draws]) if combine else np.median(values[draws], 1)
    found = found[np.isfinite(found)]
    if len(found) == 0:
        return np.nan, np.nan
    low, high = np.quantile(found, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def badness(values: NDArray[np.float64], better: Better) -> NDArray[np.float64]:
    """Values `(N,)` on a scale where more is worse; all NaN if the metric has no better side."""
    if better == "neither":
        return np.full_like(values, np.nan)
    return {"higher": -values, "lower": values, "one": np.abs(values - 1)}[better]


def _is_known(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(values).reshape(len(values), -1).any(1))


def _moving(values: NDArray[np.float64], times: NDArray[np.float64], combine: Combine) -> NDArray[np.float64]:
    """`combine` of the frames around each."""
    is_known = _is_known(values)
    known, at = values[is_known], times[is_known]
    starts = np.searchsorted(at, times - CURVE_REACH_S)
    ends = np.searchsorted(at, times + CURVE_REACH_S, side="right")
    found = [combine(known[a:b]) if b - a >= MIN_CURVE_FRAMES else np.nan for a, b in zip(starts, ends, strict=True)]
    return np.where(is_known, found, np.nan)


def _p95(values: NDArray[np.float64], better: Better) -> float:
    """The value that 95 % of the frames are not worse than."""
    if better == "one":
        return float(values[np.argsort(badness(values, better), kind="stable")[int(0.95 * (len(values) - 1))]])
    return float(np.quantile(values, 0.05 if better == "higher" else 0.95))
