"""Early stopping: the trend of the validation metrics, and what more training may be expected to bring.

Validation quality grows roughly with the logarithm of the iterations until it saturates, and noise hides when that is.
So a line over log-iterations is fitted to the last half of the training, through means of neighbouring validations,
whose noise is nearly independent. A missing trend alone is no reason to stop, since noise may hide a gain; it is a
plateau where even the upper confidence limit of the slope promises less than is worth waiting for.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visagist.training.schedule import Plan

MIN_GAIN = 0.001  # SSIM; less is not visible
FIT_POINTS = 8  # that a line is fitted to
MIN_VALIDATIONS = 2 * FIT_POINTS
CONFIDENCE = 3.707  # Student's t of 6 degrees of freedom at 0.995: checked many times, stopped once


@dataclass(frozen=True)
class Outlook:
    """The trend of the validation metrics; of several identities, the one that gains most counts."""

    iteration: int  # of the last validation
    window: int = 0  # iterations that the fitted validations span; 0 with too few of them
    is_plateau: bool = False  # half as many iterations again would gain less than `MIN_GAIN` at the upper limit
    gain_last: float = 0.0  # SSIM, over the window
    slope: float = 0.0  # SSIM, when all iterations grow by a factor of e; >= 0

    def expected_gain(self, iterations: int) -> float:
        """Gain of that many more iterations if the trend continues; a saturating curve gains less."""
        return self.slope * math.log1p(iterations / max(1, self.iteration))

    def as_text(self, iterations_per_hour: float | None) -> str:
        """One line; without a speed it does not say what an hour would bring.

        >>> Outlook(24000, 12000, True, 0.0002, 0.0003).as_text(3600)
        'no gain in the last 12000 iterations, expected gain of an hour more: 0.0000 SSIM'
        >>> Outlook(24000, 12000, False, 0.0042, 0.006).as_text(None)
        'gained 0.0042 SSIM in the last 12000 iterations'
        """
        last = "no gain" if self.is_plateau else f"gained {self.gain_last:.4f} SSIM"
        text = f"{last} in the last {self.window} iterations"
        if iterations_per_hour is None:
            return text
        return f"{text}, expected gain of an hour more: {self.expected_gain(round(iterations_per_hour)):.4f} SSIM"


def validation_trend(validations: Mapping[int, Mapping[str, float]], plan: Plan) -> Outlook:
    """The trend at full learning rate: in a cool-down a curve flattens whatever could still be gained."""
    seen = {at: metrics for at, metrics in validations.items() if plan.warm_up < at <= plan.cool_down_start}
    ssim = [[value for name, value in metrics.items() if name.startswith("ssim_")] for metrics in seen.values()]
    return outlook(list(seen), np.array(ssim))


def outlook(iterations: Sequence[int], values: NDArray[np.float64]) -> Outlook:
    """The trend of validation metrics.

    Args:
        iterations: `(N,)` of each validation, growing, from 1.
        values: `(N, P)` SSIM of each of P identities.

    >>> at = list(range(500, 20_001, 500))
    >>> outlook(at, np.full((40, 1), 0.97)).is_plateau, outlook(at, 0.9 + 0.01 * np.log(at)[:, None]).is_plateau
    (True, False)
    """
    last = iterations[-1] if iterations else 0
    if len(iterations) < MIN_VALIDATIONS:
        return Outlook(last)
    at = np.asarray(iterations, np.float64)
    begin = min(int(np.searchsorted(at, last / 2)), len(at) - MIN_VALIDATIONS)
    x = np.array([part.mean() for part in np.array_split(np.log(at[begin:]), FIT_POINTS)])  # (FIT_POINTS,)
    y = np.array([part.mean(0) for part in np.array_split(values[begin:], FIT_POINTS)])  # (FIT_POINTS, P)
    x, y = x - x.mean(), y - y.mean(0)
    slopes = x @ y / (x @ x)  # (P,)
    errors = np.sqrt(((y - x[:, None] * slopes) ** 2).sum(0) / (FIT_POINTS - 2) / (x @ x))
    slope, limit = float(slopes.max()), float((slopes + CONFIDENCE * errors).max())
    return Outlook(
        iteration=last,
        window=round(at[-1] - at[begin]),
        is_plateau=limit * math.log(1.5) < MIN_GAIN,
        gain_last=slope * math.log(last / at[begin]),
        slope=max(0.0, slope),
    )
