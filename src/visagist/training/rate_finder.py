"""A learning rate found by a range test, on a network that is thrown away."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visagist.core.errors import ConfigError

EXPLODED = 4.0  # times the lowest loss: the test ends
MIN_STEPS = 20
SAFE = 0.3  # of the rate at which the loss falls fastest, which is near where it explodes


@dataclass(frozen=True)
class RateCurve:
    """The outcome of a range test.

    Attributes:
        rates: `(N,)` float64 learning rates, rising.
        losses: `(N,)` float64, the loss with each, finite.
        exploded: whether the test ended because the loss exploded.
        suggestion: 0.3 of the rate at which the smoothed loss falls steepest; None if it never falls.
    """

    rates: NDArray[np.float64]
    losses: NDArray[np.float64]
    exploded: bool
    suggestion: float | None

    def as_text(self) -> str:
        """One line."""
        end = "until the loss exploded" if self.exploded else "without an explosion"
        tried = f"learning rates tried from {self.rates[0]:.2g} to {self.rates[-1]:.2g}" if len(self.rates) else "none"
        return f"{tried}, {end}; " + (f"{self.suggestion:.2g} suits" if self.suggestion else "none lowered the loss")


def range_test(step: Callable[[float], float], low: float, high: float, iterations: int) -> RateCurve:
    """Train with a rate that grows exponentially until the loss explodes; the weights are of no use afterwards.

    Smith 2017, "Cyclical Learning Rates for Training Neural Networks", with exponential growth.

    Args:
        step: does one iteration with a learning rate and returns its loss.
        low: first rate, > 0.
        high: last rate, at least 10 times `low`.
        iterations: from low to high, 20 or more; 100 are fair.

    Raises:
        ConfigError: the range or the number of iterations is too small.
    """
    if not (low > 0 and 10 * low <= high < math.inf):
        raise ConfigError(f"cannot try learning rates from {low:g} to {high:g}; give 0 < low <= high / 10")
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
    """Gaussian smoothing, which does not lag as a running mean would."""
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
