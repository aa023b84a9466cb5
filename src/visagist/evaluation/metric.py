"""The interface of metrics, and the statistics of their values over frames.

`Metric.measure` returns values per frame; `evaluate_metric` reduces them to a `Figure`: the median, or the result of
`Metric.combine`, with a confidence interval.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from visagist.evaluation.evaluation_data import EvaluationData

RESAMPLES = 400  # of the bootstrap
BLOCK_S = 1.0  # neighbouring frames are correlated, so the bootstrap draws blocks of this length
CURVE_REACH_S = 1.0  # before and after each frame: window for the curve of a metric that combines frames
MIN_CURVE_FRAMES = 12  # measured frames in that window
CONFIDENCE = 0.95

Better = Literal["higher", "lower", "one", "neither"]
Combine = Callable[[NDArray[np.float64]], float]


@dataclass(frozen=True)
class Metric:
    """A measure of a data."""

    name: str  # key in the JSON
    title: str
    unit: str  # "" for a ratio or a cosine
    better: Better  # "one": the ideal value is 1
    formula: str
    source: str  # paper or network
    fooled_by: str
    measure: Callable[
        [EvaluationData], NDArray[np.float64]
    ]  # (N,) or (N, K), by frame; NaN where there is nothing to measure
    combine: Combine | None = None  # from (M, K) or (M,) to one value; None: the median of (M,)
    aim: float | None = None  # what visagist's own renders should reach
    needs_mask: bool = False  # shown without a verdict if the mask of the merge is unknown
    has_noise_floor: bool = False  # also measured on the jittered target, to show the noise of the detectors
    order: int = 100  # position in the report, ascending; metrics with equal order keep the order of their file


@dataclass(frozen=True)
class Figure:
    """The value of a metric over all frames; NaN where nothing could be measured."""

    value: float  # the median, or the result of `Metric.combine`
    low: float  # ends of the 95 % confidence interval of `value`
    high: float
    p95: float  # value that 95 % of the frames reach or exceed in quality; NaN for combined metrics
    count: int  # measured frames


def evaluate_metric(metric: Metric, data: EvaluationData) -> tuple[Figure, NDArray[np.float64]]:
    """The figure of a metric, and its curve `(N,)` over the frames.

    Only frames that the render changed count, unless it changed none. The curve of a metric that combines frames is its
    value over the second before and after each frame.
    """
    values = np.array(metric.measure(data))
    if data.is_swapped.any():
        values[~data.is_swapped] = np.nan
    curve = values if metric.combine is None else _moving(values, data.times, metric.combine)
    return figure_of(values, data.times, metric.combine, metric.better), curve


def figure_of(
    values: NDArray[np.float64], times: NDArray[np.float64], combine: Combine | None, better: Better
) -> Figure:
    """Summarise values over frames.

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
    """95 % confidence interval of `combine(values)`, or of the median, by a moving-block bootstrap with a fixed seed.

    Künsch 1989, "The jackknife and the bootstrap for general stationary observations".

    Args:
        values: `(M,)` or `(M, K)`, ordered by time.
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
    """Values `(N,)` mapped so that larger is worse; all NaN if neither direction is better."""
    if better == "neither":
        return np.full_like(values, np.nan)
    return {"higher": -values, "lower": values, "one": np.abs(values - 1)}[better]


def _is_known(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(values).reshape(len(values), -1).any(1))


def _moving(values: NDArray[np.float64], times: NDArray[np.float64], combine: Combine) -> NDArray[np.float64]:
    """`combine` over a window around each frame."""
    is_known = _is_known(values)
    known, at = values[is_known], times[is_known]
    starts = np.searchsorted(at, times - CURVE_REACH_S)
    ends = np.searchsorted(at, times + CURVE_REACH_S, side="right")
    found = [combine(known[a:b]) if b - a >= MIN_CURVE_FRAMES else np.nan for a, b in zip(starts, ends, strict=True)]
    return np.where(is_known, found, np.nan)


def _p95(values: NDArray[np.float64], better: Better) -> float:
    """The value that 95 % of the frames are at least as good as."""
    if better == "one":
        return float(values[np.argsort(badness(values, better), kind="stable")[int(0.95 * (len(values) - 1))]])
    return float(np.quantile(values, 0.05 if better == "higher" else 0.95))
