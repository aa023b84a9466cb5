"""Learning rate range test, on a throwaway network."""

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visagist.core.device import Compute
from visagist.training.budget import CONSTANT
from visagist.training.config import TrainOptions
from visagist.training.data import IdentityDataset
from visagist.training.trainer import Trainer
from visagist.training.warm_start import Start

RATE_RANGE, ITERATIONS = (1e-6, 0.1), 100
EXPLOSION_FACTOR = 4.0  # relative to the lowest loss; ends the test
SAFETY_FACTOR = 0.3  # of the rate at which the loss falls fastest, since the loss explodes soon after it


@dataclass(frozen=True)
class RateCurve:
    """Result of a range test."""

    rates: NDArray[np.float64]  # (N,), ascending
    losses: NDArray[np.float64]  # (N,), finite
    exploded: bool  # whether an explosion ended the test
    suggestion: float | None  # 0.3 of the rate at which the smoothed loss falls steepest; None if it never falls

    def as_text(self) -> str:
        """The result in one line."""
        end = "until the loss exploded" if self.exploded else "without an explosion"
        tried = f"learning rates tried from {self.rates[0]:.2g} to {self.rates[-1]:.2g}" if len(self.rates) else "none"
        return f"{tried}, {end}; " + (
            f"suggested: {self.suggestion:.2g}" if self.suggestion else "none lowered the loss"
        )


def find_rate(
    datasets: Mapping[str, IdentityDataset], options: TrainOptions, compute: Compute, start: Start | None
) -> RateCurve:
    """Run a range test on a network with these options."""
    trainer, iterations = Trainer(datasets, options, CONSTANT, compute, start), itertools.count()

    def step(rate: float) -> float:
        trainer.rate = rate
        return trainer.step(next(iterations)).item()

    return range_test(step, *RATE_RANGE, ITERATIONS)


def range_test(step: Callable[[float], float], low: float, high: float, iterations: int) -> RateCurve:
    """Train with an exponentially growing learning rate until the loss explodes.

    Smith 2017, "Cyclical Learning Rates for Training Neural Networks", with exponential growth. `step` performs one
    iteration at a given learning rate and returns the loss.
    """
    rates = np.geomspace(low, high, iterations)
    losses: list[float] = []
    exploded = False
    for rate in rates:
        loss = step(float(rate))
        exploded = not math.isfinite(loss) or loss > EXPLOSION_FACTOR * min([loss, *losses])
        if exploded:
            break
        losses.append(loss)
    rates, values = rates[: len(losses)], np.array(losses)
    return RateCurve(rates, values, exploded, steepest(rates, smooth(values, iterations / 40)))


def smooth(values: NDArray[np.float64], deviation: float) -> NDArray[np.float64]:
    """Gaussian smoothing, which has no lag, unlike a running mean."""
    places = np.arange(len(values))
    window = np.exp(-0.5 * ((places[:, None] - places) / deviation) ** 2)  # (N, N)
    return window @ values / window.sum(1)


def steepest(rates: NDArray[np.float64], smoothed: NDArray[np.float64]) -> float | None:
    """0.3 of the rate at which the curve over the log-rate falls fastest before its minimum; None if it never falls.

    >>> steepest(np.array([0.001, 0.01, 0.1, 1.0]), np.array([4.0, 3.9, 1.0, 8.0]))
    0.03
    """
    lowest = int(np.argmin(smoothed)) if len(smoothed) else 0
    if lowest == 0:
        return None
    slope = np.diff(smoothed[: lowest + 1]) / np.diff(np.log(rates[: lowest + 1]))
    return SAFETY_FACTOR * float(rates[int(np.argmin(slope)) + 1])
