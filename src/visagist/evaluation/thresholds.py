"""How figures stand to their aims, and how numbers are written.

- `standing`: met or missed, with how much doubt, and by what factor; `standing_in`: in an evaluation
- `is_better`: of two values of one metric
- `standings`, `furthest`, `wins`: over a whole evaluation
- `decimals`, `number`, `quantity`, `aim_text`, `missing`: numbers as people read them
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from visagist.evaluation.metric import Figure, Metric
from visagist.evaluation.result import Evaluation

State = Literal["met", "probably met", "probably missed", "missed", "not measured", "not judged", "no aim"]
DASH = "–"


@dataclass(frozen=True)
class Standing:
    """A figure against the aim of its metric."""

    metric: Metric
    figure: Figure
    state: State  # "probably": the confidence interval reaches across the aim
    factor: float  # between value and aim: 1 at the aim, above 1 short of it; NaN without aim or value

    @property
    def is_missed(self) -> bool:
        """The value falls short of the aim, with or without doubt."""
        return self.state in ("missed", "probably missed")


def standing(metric: Metric, figure: Figure) -> Standing:
    """Whether `figure` meets the aim of `metric`, and how far it is from it.

    >>> from visagist.evaluation.result import Figure
    >>> pose = Metric("pose", "Pose", "degrees", "lower", "", "", "", len, aim=1.5)
    >>> found = standing(pose, Figure(3.0, 1.4, 3.4, 5.0, 75))
    >>> found.state, found.factor
    ('probably missed', 2.0)
    """
    if metric.aim is None or metric.better == "neither":
        return Standing(metric, figure, "no aim", math.nan)
    if math.isnan(figure.value):
        return Standing(metric, figure, "not measured", math.nan)
    factor = _factor(metric, figure.value)
    is_met = factor <= 1
    ends = [end for end in (figure.low, figure.high) if not math.isnan(end)]
    is_sure = all((_factor(metric, end) <= 1) == is_met for end in ends)
    states: tuple[State, State] = ("met", "probably met") if is_met else ("missed", "probably missed")
    return Standing(metric, figure, states[0 if is_sure else 1], factor)


def standings(evaluation: Evaluation) -> list[Standing]:
    """Every metric of the render, in order."""
    figures = evaluation.columns[0].figures
    return [
        standing_in(evaluation, metric, figures[metric.name]) for metric in evaluation.metrics if metric.name in figures
    ]


def standing_in(evaluation: Evaluation, metric: Metric, figure: Figure) -> Standing:
    """`standing`, but no judgement of what needs the merge's own mask where that is not known."""
    found = standing(metric, figure)
    if metric.needs_mask and not evaluation.is_mask_known:
        return replace(found, state="not judged", factor=math.nan)
    return found


def furthest(found: Iterable[Standing]) -> Standing | None:
    """The missed aim with the greatest factor; None where none is missed."""
    return max((one for one in found if one.is_missed), key=lambda one: one.factor, default=None)


def is_better(metric: Metric, one: float, other: float) -> bool:
    """Whether `one` is the better value; never where either is NaN or the metric has no better side."""
    if metric.better == "higher":
        return one > other
    if metric.better == "lower":
        return one < other
    return metric.better == "one" and _beside_one(one) < _beside_one(other)


def wins(evaluation: Evaluation, name: str) -> tuple[Metric, ...]:
    """The metrics in which the column `name` has a better value than the render."""
    render = evaluation.columns[0].figures
    other = next(column.figures for column in evaluation.columns if column.name == name)
    return tuple(
        metric
        for metric in evaluation.metrics
        if metric.name in render
        and metric.name in other
        and is_better(metric, other[metric.name].value, render[metric.name].value)
    )


def bounds(metric: Metric) -> tuple[float, ...]:
    """The values at which the aim begins: none, one, or two for a ratio that should be 1."""
    if metric.aim is None or metric.better == "neither":
        return ()
    if metric.better != "one":
        return (metric.aim,)
    reach = _beside_one(metric.aim)
    return (1 / reach, reach)


def aim_text(metric: Metric) -> str:
    """The aim in words: `at least 0.9`, `at most 1.5`, `0.87 to 1.15`; empty without one."""
    ends = bounds(metric)
    if not ends:
        return ""
    if metric.better == "one":
        return f"{number(ends[0], 2)} to {number(ends[1], 2)}"
    return f"at {'least' if metric.better == 'higher' else 'most'} {_short(ends[0])}"


def missing(figure: Figure | None) -> str:
    """Why a value is not there.

    >>> missing(Figure(math.nan, math.nan, math.nan, math.nan, 0))
    'no frame could be measured'
    """
    if figure is None:
        return "not measured here"
    if figure.count == 0:
        return "no frame could be measured"
    if figure.count == 1:
        return "one frame only"
    return f"undefined over these {figure.count} frames"


def decimals(values: Sequence[float]) -> int:
    """Decimals that show three digits of the first value that has any.

    >>> decimals([math.nan, 0.0, 1.234]), decimals([41.2]), decimals([0.00123])
    (2, 1, 4)
    """
    size = next((abs(value) for value in values if math.isfinite(value) and value != 0), 1.0)
    return min(4, max(0, 2 - math.floor(math.log10(size))))


def number(value: float, places: int) -> str:
    """A number as it is printed: a dash for NaN, a true minus, an exact zero without decimals.

    >>> number(-0.5, 2), number(0.0, 2), number(math.nan, 2), number(math.inf, 2)
    ('−0.50', '0', '–', '∞')
    """
    if math.isnan(value):
        return DASH
    if value == 0:
        return "0"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:.{places}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", "−")


def quantity(value: float, unit: str) -> str:
    """A value with its unit, at three digits.

    >>> quantity(2.934, "°"), quantity(31.23, "dB"), quantity(0.5, "")
    ('2.93°', '31.2 dB', '0.500')
    """
    return number(value, decimals([value])) + (unit if unit == "°" else f" {unit}" if unit else "")


def _short(value: float) -> str:
    return f"{value:.6g}".replace("-", "−")


def _factor(metric: Metric, value: float) -> float:
    """By what the value is away from the aim: 1 at the aim, below 1 beyond it, inf where no factor leads there."""
    aim = metric.aim
    assert aim is not None
    if metric.better == "one":
        return _beside_one(value) / _beside_one(aim)
    if metric.better == "higher":
        is_met, far, near = value >= aim, aim, value
    else:
        is_met, far, near = value <= aim, value, aim
    if near > 0 and far >= 0:
        return far / near
    return 1.0 if is_met else math.inf


def _beside_one(value: float) -> float:
    """How far a ratio is from 1, alike on both sides: the ratio or its inverse, whichever is greater."""
    if math.isnan(value):
        return math.nan
    return max(value, 1 / value) if value > 0 else math.inf
