"""How the learning rate and the random warp change over a training, and how a learning rate is found.

- `ScheduleOptions`: warm-up and decay, and where the warp ends
- `warmed_up`, `check_warm_up`: iterations until the full rate
- `learning_rate`, `warp_strength`: the part of the full rate and of the full warp, from the iteration alone
- `landing_warp`: the same of the warp where a plateau has cut a training short
- `range_test`: the learning rate with which a training falls fastest, tried before it begins; a `RateCurve`
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from visagist.core.errors import ConfigError
from visagist.core.settings import Settings

WARM_UP = 60  # iterations until the full learning rate
COOL_DOWN = 0.2  # part of the training in which `late` goes down
FADE = 0.3  # part of the training over which the warp fades
EXPLODED = 4.0  # times the lowest loss: the range test ends
MIN_STEPS = 20  # of a range test
SAFE = 0.3  # of the rate at which the loss falls fastest: that is near where it explodes

Decay = Literal["cosine", "linear", "late", "none"]


class ScheduleOptions(Settings):
    """How the learning rate and the random warp change over a training."""

    warm_up: int | None = Field(default=None, ge=0, le=100_000)
    """Iterations until the full learning rate, 0 to 100000, at most four fifths of the training; without it 60, or a
    tenth of a short training."""

    decay: Decay = "cosine"
    """What the learning rate does after that: `cosine` or `linear` down to 0 at the end; `late` (full, then down over
    the last fifth: where a training may be given more iterations); `none` (stays: for schedule-free, and where the end
    is open)."""

    floor: float = Field(default=0.0, ge=0, lt=1)
    """Part of the full rate at which a decay ends; 0 to below 1."""

    warp_end: float = Field(default=0.9, ge=FADE, le=1)
    """Part of the training at which the random warp has gone, 0.3 to 1; it fades over the 0.3 before that. Sooner for
    more time on what faces look like undistorted (sharper eyes and teeth), later where the swap looks too much like the
    target. --until plateau looks at what comes before the fading."""


def learning_rate(iteration: int, iterations: int, options: ScheduleOptions) -> float:
    """Part of the full learning rate: linear warm-up, then the decay.

    `late` goes down as 1 - sqrt, the best form of Hägele et al. 2024, "Scaling Laws and Compute-Optimal Training Beyond
    Fixed Training Durations".

    >>> [round(learning_rate(i, 1000, ScheduleOptions()), 2) for i in (0, 59, 530, 999)]
    [0.02, 1.0, 0.5, 0.0]
    >>> [round(learning_rate(i, 1000, ScheduleOptions(decay="late")), 2) for i in (59, 799, 850, 999)]
    [1.0, 1.0, 0.5, 0.0]
    """
    warm_up = warmed_up(iterations, options)
    if iteration < warm_up:
        return (iteration + 1) / warm_up
    done, length = iteration - warm_up, max(1, iterations - warm_up)
    match options.decay:
        case "cosine":
            part = 0.5 + 0.5 * math.cos(math.pi * done / length)
        case "linear":
            part = 1 - done / length
        case "late":
            part = 1 - math.sqrt(max(0.0, 1 - (1 - iteration / iterations) / COOL_DOWN))
        case "none":
            part = 1.0
    return options.floor + (1 - options.floor) * part


def warmed_up(iterations: int, options: ScheduleOptions) -> int:
    """Iterations until the full learning rate of a training of so many."""
    return min(WARM_UP, iterations // 10 + 1) if options.warm_up is None else options.warm_up


def check_warm_up(iterations: int, options: ScheduleOptions) -> None:
    """Refuse a warm-up that leaves a training no full learning rate.

    Raises:
        ConfigError: it reaches into the last fifth of so many iterations.

    >>> check_warm_up(1000, ScheduleOptions(warm_up=800))
    """
    most = math.floor((1 - COOL_DOWN) * iterations)
    if options.warm_up is not None and options.warm_up > most:
        raise ConfigError(
            f"--schedule.warm-up {options.warm_up} leaves {iterations} iterations no full learning rate; it can be "
            f"from 0 to {most} here"
        )


def warp_strength(iteration: int, iterations: int, options: ScheduleOptions) -> float:
    """Part of the full random warp: full for most of the training, then down, and none at the end.

    The warp teaches whose face it is; the last part without it teaches to put eyes where they are, sharply.

    >>> [round(warp_strength(i, 1000, ScheduleOptions()), 2) for i in (0, 600, 750, 900, 999)]
    [1.0, 1.0, 0.5, 0.0, 0.0]
    """
    return min(1.0, max(0.0, (options.warp_end - iteration / iterations) / FADE))


def landing_warp(iteration: int, iterations: int, begun: int, planned: int, options: ScheduleOptions) -> float:
    """Part of the full random warp where a plateau has cut a training short: from what it was to none at half of what
    is left, so that the other half is without it.

    Args:
        iteration: which one.
        iterations: in all, from the plateau on.
        begun: iteration of the plateau.
        planned: iterations in all by the plan before.
        options: of both plans.

    >>> [round(landing_warp(i, 10_000, 8000, 20_000, ScheduleOptions()), 2) for i in (8000, 8500, 9000, 9999)]
    [1.0, 0.5, 0.0, 0.0]
    """
    left = 1 - 2 * max(0, iteration - begun) / (iterations - begun)
    return warp_strength(min(iteration, begun), planned, options) * max(0.0, left)


@dataclass(frozen=True)
class RateCurve:
    """What a range test saw.

    Attributes:
        rates: `(N,)` float64 learning rates, growing.
        losses: `(N,)` float64, the loss with each, finite.
        exploded: whether it ended because the loss exploded, rather than at the highest rate.
        suggestion: 0.3 of the rate at which the smoothed loss falls steepest; None where it never falls.
    """

    rates: NDArray[np.float64]
    losses: NDArray[np.float64]
    exploded: bool
    suggestion: float | None

    def as_text(self) -> str:
        """A line for people."""
        end = "where it exploded" if self.exploded else "without exploding"
        if self.suggestion is None:
            return f"no learning rate that was tried lowered the loss ({end})"
        span = f"{self.rates[0]:.2g} to {self.rates[-1]:.2g}"
        return f"learning rates from {span} tried, {end}; {self.suggestion:.2g} suits this training"


def range_test(step: Callable[[float], float], low: float, high: float, iterations: int) -> RateCurve:
    """One training whose rate grows exponentially until the loss explodes; its weights are of no use afterwards.

    Smith 2017, "Cyclical Learning Rates for Training Neural Networks", with exponential growth.

    Args:
        step: does one iteration with a learning rate and returns its loss.
        low: first rate, > 0.
        high: last rate, if it comes to that; at least 10 times `low`.
        iterations: from low to high, 20 or more; 100 are fair.

    Raises:
        ConfigError: a range or number of iterations from which nothing could be told.
    """
    if not (low > 0 and 10 * low <= high < math.inf):
        raise ConfigError(f"learning rates from {low:g} to {high:g} cannot be tried: give 0 < low <= high / 10")
    if iterations < MIN_STEPS:
        raise ConfigError(f"a range test of {iterations} iterations shows nothing; give {MIN_STEPS} or more")
    rates = np.geomspace(low, high, iterations)
    losses: list[float] = []
    exploded = False
    for rate in rates:
        loss = step(float(rate))
        exploded = not math.isfinite(loss) or loss > EXPLODED * min([loss, *losses])
        if exploded:
            break
        losses.append(loss)
    rates, values = rates[: len(losses)], np.array(losses)
    return RateCurve(rates, values, exploded, steepest(rates, smooth(values, iterations / 40)))


def smooth(values: NDArray[np.float64], deviation: float) -> NDArray[np.float64]:
    """Gaussian smoothing that does not lag, as a running mean would; ends count as much as there is of them.

    >>> smooth(np.array([1.0, 1.0, 1.0]), 2.0).round(6).tolist()
    [1.0, 1.0, 1.0]
    """
    places = np.arange(len(values))
    window = np.exp(-0.5 * ((places[:, None] - places) / deviation) ** 2)  # (N, N)
    return window @ values / window.sum(1)


def steepest(rates: NDArray[np.float64], smoothed: NDArray[np.float64]) -> float | None:
    """0.3 of the rate at which a curve falls fastest over the logarithm of the rate, before its lowest point.

    >>> steepest(np.array([0.001, 0.01, 0.1, 1.0]), np.array([4.0, 3.9, 1.0, 8.0]))
    0.03
    """
    lowest = int(np.argmin(smoothed)) if len(smoothed) else 0
    if lowest == 0:
        return None
    slope = np.diff(smoothed[: lowest + 1]) / np.diff(np.log(rates[: lowest + 1]))
    return SAFE * float(rates[int(np.argmin(slope)) + 1])
