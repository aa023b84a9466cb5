"""Early stopping by the trend of the validation metrics.

Validation quality grows roughly with the logarithm of the iterations until it saturates, and noise hides that point. So
a line over log-iterations is fitted to the last half of the training, through means of neighbouring validations, which
have nearly independent noise. Since noise may also hide a gain, a training has reached a plateau only when the upper
confidence limit of the slope promises a negligible gain.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visagist.training.schedule import Plan

MIN_GAIN = 0.001  # SSIM; smaller gains are not visible
FIT_POINTS = 8  # means of validations that the line is fitted to
MIN_VALIDATIONS = 2 * FIT_POINTS
CONFIDENCE = 3.707  # Student's t with 6 degrees of freedom at 0.995; strict, since it is tested after every validation


@dataclass(frozen=True)
class Outlook:
    """The trend of the validation metrics, for the identity that gains most."""

    iteration: int  # of the last validation
    window: int = 0  # iterations that the fitted validations span; 0 with too few of them
    is_plateau: bool = False  # 50 % more iterations would gain less than `MIN_GAIN` at the upper confidence limit
    gain_last: float = 0.0  # SSIM, over the window
    slope: float = 0.0  # SSIM per factor of e in iterations, >= 0

    def expected_gain(self, iterations: int) -> float:
        """SSIM gain of that many more iterations if the trend continues; an upper bound for saturating curves."""
        return self.slope * math.log1p(iterations / max(1, self.iteration))

    def as_text(self, iterations_per_hour: float | None) -> str:
        """The trend in one line, with the expected gain per hour if the speed is known.

        >>> Outlook(24000, 12000, True, 0.0002, 0.0003).as_text(3600)
        'no gain in the last 12000 iterations, expected gain from another hour: 0.0000 SSIM'
        >>> Outlook(24000, 12000, False, 0.0042, 0.006).as_text(None)
        'gained 0.0042 SSIM in the last 12000 iterations'
        """
        last = "no gain" if self.is_plateau else f"gained {self.gain_last:.4f} SSIM"
        text = f"{last} in the last {self.window} iterations"
        if iterations_per_hour is None:
            return text
        return f"{text}, expected gain from another hour: {self.expected_gain(round(iterations_per_hour)):.4f} SSIM"


def validation_trend(validations: Mapping[int, Mapping[str, float]], plan: Plan) -> Outlook:
    """The trend at full learning rate; curves always flatten in the cool-down."""
    seen = {at: metrics for at, metrics in validations.items() if plan.warm_up < at <= plan.cool_down_start}
    ssim = [[value for name, value in metrics.items() if name.startswith("ssim_")] for metrics in seen.values()]
    return outlook(list(seen), np.array(ssim))


def outlook(iterations: Sequence[int], values: NDArray[np.float64]) -> Outlook:
    """The trend of validation metrics.

    Args:
        iterations: `(N,)` iterations of the validations, ascending, from 1.
        values: `(N, P)` SSIM of P identities.

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
