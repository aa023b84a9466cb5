"""Comparison of figures with the aims of their metrics."""

import math
from dataclasses import dataclass
from typing import Literal

from visagist.evaluation.metric import Figure, Metric

State = Literal["met", "probably met", "probably missed", "missed", "not measured", "not judged", "no aim"]


@dataclass(frozen=True)
class Standing:
    """A figure compared with the aim of its metric."""

    metric: Metric
    figure: Figure
    state: State  # "probably": the confidence interval includes the aim
    factor: float = math.nan  # ratio of value and aim: 1 at the aim, above 1 if it is missed; NaN without aim or value

    @property
    def is_missed(self) -> bool:
        """The value misses the aim, certainly or probably."""
        return self.state in ("missed", "probably missed")


def standing(metric: Metric, figure: Figure, *, is_mask_known: bool = True) -> Standing:
    """Whether `figure` meets the aim of `metric`, and by which factor.

    >>> pose = Metric("pose", "Pose", "degrees", "lower", "", "", "", len, aim=1.5)
    >>> found = standing(pose, Figure(3.0, 1.4, 3.4, 5.0, 75))
    >>> found.state, found.factor
    ('probably missed', 2.0)
    """
    if metric.needs_mask and not is_mask_known:
        return Standing(metric, figure, "not judged")
    if metric.aim is None or metric.better == "neither":
        return Standing(metric, figure, "no aim")
    if math.isnan(figure.value):
        return Standing(metric, figure, "not measured")
    factor = _factor(metric, figure.value)
    is_met = factor <= 1
    ends = [end for end in (figure.low, figure.high) if not math.isnan(end)]
    is_sure = all((_factor(metric, end) <= 1) == is_met for end in ends)
    states: tuple[State, State] = ("met", "probably met") if is_met else ("missed", "probably missed")
    return Standing(metric, figure, states[0 if is_sure else 1], factor)


def is_better(metric: Metric, one: float, other: float) -> bool:
    """Whether `one` is better than `other`; False if either is NaN or neither direction is better."""
    if metric.better == "higher":
        return one > other
    if metric.better == "lower":
        return one < other
    return metric.better == "one" and _ratio_from_one(one) < _ratio_from_one(other)


def bounds(metric: Metric) -> tuple[float, ...]:
    """Limits of the aim: none, one, or two for a ratio whose ideal is 1."""
    if metric.aim is None or metric.better == "neither":
        return ()
    if metric.better != "one":
        return (metric.aim,)
    reach = _ratio_from_one(metric.aim)
    return (1 / reach, reach)


def aim_text(metric: Metric) -> str:
    """The aim as text: `at least 0.9`, `at most 1.5`, `0.87 to 1.15`; empty without an aim."""
    ends = bounds(metric)
    if len(ends) == 2:
        return f"{ends[0]:.2f} to {ends[1]:.2f}"
    side = "least" if metric.better == "higher" else "most"
    return "".join(f"at {side} {end:.6g}" for end in ends).replace("-", "−")


def _factor(metric: Metric, value: float) -> float:
    """1 at the aim, below 1 beyond it, inf if no positive factor relates value and aim."""
    aim = metric.aim
    assert aim is not None
    if metric.better == "one":
        return _ratio_from_one(value) / _ratio_from_one(aim)
    is_higher = metric.better == "higher"
    far, near = (aim, value) if is_higher else (value, aim)
    if near > 0 and far >= 0:
        return far / near
    return 1.0 if (value >= aim if is_higher else value <= aim) else math.inf


def _ratio_from_one(value: float) -> float:
    """Distance of a ratio from 1: the ratio or its inverse, whichever is greater."""
    if math.isnan(value):
        return math.nan
    return max(value, 1 / value) if value > 0 else math.inf
