"""What a metric is, and what comes of it.

- `Metric`: a measure with all that its reader must know
- `Figure`: its value over a case, with uncertainty
- `evaluate_metric`, `figure_of`: from one to the other

A new metric is one file with a `METRICS` tuple, listed in `metrics.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from visagist.evaluation.evaluation_data import Case

RESAMPLES = 400
BLOCK = 1.0  # s; neighbouring frames are alike, so whole stretches are drawn
REACH = 1.0  # s before and after, from which a curve of combined frames takes each value
FEWEST = 12  # frames that such a value is made of
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Metric:
    """A measure of a case."""

    name: str  # its key in JSON
    title: str
    unit: str  # "" for a ratio or a cosine
    better: Literal["higher", "lower", "one", "neither"]  # "one": 1 is right, above and below are wrong
    formula: str
    source: str  # where it comes from
    fooled_by: str
    measure: Callable[[Case], NDArray[np.float64]]  # (N,) or (N, K) a frame; NaN where there is nothing to measure
    combine: Callable[[NDArray[np.float64]], float] | None = None  # of (M, K) to a value; None: the median of (M,)
    aim: float | None = None  # what visagist's own renders should reach
    needs_mask: bool = False  # whether it is no judgement where the outline of the face stands in for the mask


@dataclass(frozen=True)
class Figure:
    """The value of a metric over a case; NaN where nothing could be measured."""

    value: float  # the median, or what the metric combines to
    low: float  # ends of the 95 % confidence interval of `value`
    high: float
    p95: float  # 95th percentile towards the worse side of the frames; NaN for combined metrics
    count: int  # frames measured


def evaluate_metric(metric: Metric, case: Case) -> tuple[Figure, NDArray[np.float64]]:
    """The figure of a metric, and its curve `(N,)` over the frames.

    The curve of a metric that combines frames is what it gives for a second before and after each frame.

    Frames that the render left as they are do not count, in any column; where it changed none, all do.
    """
    values = np.array(metric.measure(case))
    if case.is_swapped.any():
        values[~case.is_swapped] = np.nan
    curve = values if metric.combine is None else _moving(values, case.times, metric.combine)
    return figure_of(values, case.times, metric.combine, metric.better), curve


def _moving(
    values: NDArray[np.float64], times: NDArray[np.float64], combine: Callable[[NDArray[np.float64]], float]
) -> NDArray[np.float64]:
    """`combine` of the frames at most a second away from each; NaN where fewer than `FEWEST` of them were measured."""
    is_known = np.isfinite(values) if values.ndim == 1 else np.isfinite(values).any(1)
    known, at = values[is_known], times[is_known]
    starts, ends = np.searchsorted(at, times - REACH), np.searchsorted(at, times + REACH, side="right")
    found = [combine(known[a:b]) if b - a >= FEWEST else np.nan for a, b in zip(starts, ends, strict=True)]
    return np.where(is_known, found, np.nan)


def figure_of(
    values: NDArray[np.float64],
    times: NDArray[np.float64],
    combine: Callable[[NDArray[np.float64]], float] | None,
    better: str,
) -> Figure:
    """The figure of values over frames.

    Args:
        values: `(N,)`, or `(N, K)` where `combine` is given; NaN where nothing was measured.
        times: `(N,)` s.
        combine: see `Metric`.
        better: see `Metric`.
    """
    is_known = np.isfinite(values) if values.ndim == 1 else np.isfinite(values).any(1)
    known = values[is_known]
    if len(known) < 2:
        return Figure(
            float(known[0]) if values.ndim == 1 and len(known) else np.nan, np.nan, np.nan, np.nan, len(known)
        )
    low, high = bootstrap(known, times[is_known], combine)
    value = combine(known) if combine else float(np.median(known))
    return Figure(value, low, high, np.nan if combine else _p95(known, better), len(known))


def bootstrap(
    values: NDArray[np.float64], times: NDArray[np.float64], combine: Callable[[NDArray[np.float64]], float] | None
) -> tuple[float, float]:
    """The 95 % confidence interval of `combine(values)`, or of the median, by a moving-block bootstrap.

    Künsch 1989, "The jackknife and the bootstrap for general stationary observations": blocks of about a second are
    drawn with replacement, because neighbouring frames are alike. The draws are the same at every call.

    Args:
        values: `(M,)` or `(M, K)`, in order of time.
        times: `(M,)` s.
        combine: of drawn values to one; None: the median of (M,).
    """
    count = len(values)
    step = float(np.median(np.diff(times)))
    block = int(np.clip(round(BLOCK / step) if step > 0 else 1, 1, max(1, count // 4)))
    generator = np.random.default_rng(0)
    starts = generator.integers(0, count - block + 1, (RESAMPLES, -(-count // block)))
    draws = (starts[:, :, None] + np.arange(block)).reshape(RESAMPLES, -1)[:, :count]  # (RESAMPLES, M)
    found = np.array([combine(values[draw]) for draw in draws]) if combine else np.median(values[draws], 1)
    found = found[np.isfinite(found)]
    if len(found) == 0:
        return np.nan, np.nan
    low, high = np.quantile(found, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _p95(values: NDArray[np.float64], better: str) -> float:
    """The value that 95 % of the frames are not worse than."""
    if better == "one":
        return float(values[np.argsort(np.abs(values - 1), kind="stable")[int(0.95 * (len(values) - 1))]])
    return float(np.quantile(values, 0.05 if better == "higher" else 0.95))
