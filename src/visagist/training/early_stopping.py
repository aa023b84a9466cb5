"""Whether going on is worth it: the trend of held-out faces, and what it promises.

- `outlook`: from the held-out figures so far to an `Outlook`
- `Outlook`: whether this is a plateau, what was gained last, what more iterations may be expected to bring

Held-out quality grows about with the logarithm of the iterations, until it grows no more, and noise hides when that
is. So the trend is a line over log-iterations through the last half of the training, fitted to means of neighbouring
looks, whose noise is nearly independent. A missing trend alone is no reason to stop: with much noise any gain is
missed. It is a plateau where even the upper confidence limit of the slope promises less than anybody would wait for.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visagist.core.errors import ConfigError

LEAST_GAIN = 0.001  # SSIM: less is not seen
MEANS = 8  # that a line is fitted to
MIN_LOOKS = 2 * MEANS
CONFIDENCE = 3.707  # Student's t of 6 degrees of freedom at 0.995: a training is looked at many times, stopped once


@dataclass(frozen=True)
class Outlook:
    """What held-out figures say about going on.

    Attributes:
        iteration: of the last look.
        window: iterations that the looks span from which this is told; 0 with too few looks.
        is_plateau: whether even half as many iterations again would, at the upper limit, gain less than anybody waits
            for.
        gain_last: what the window gained by its trend; of several people, the one who gained most.
        slope: gain of a growth of all iterations by e, not below 0; the largest, of several people.
    """

    iteration: int
    window: int
    is_plateau: bool
    gain_last: float
    slope: float

    def expected_gain(self, iterations: int) -> float:
        """What so many iterations more bring if the trend goes on; a saturating curve brings less."""
        return self.slope * math.log1p(iterations / max(1, self.iteration))

    def as_text(self, iterations_an_hour: float | None) -> str:
        """A line for people; without a speed it does not say what an hour would bring.

        >>> Outlook(24000, 12000, True, 0.0002, 0.0003).as_text(3600)
        'no gain in the last 12000 iterations, expected gain of an hour more: 0.0000 SSIM'
        >>> Outlook(24000, 12000, False, 0.0042, 0.006).as_text(3600)
        'gained 0.0042 SSIM in the last 12000 iterations, expected gain of an hour more: 0.0008 SSIM'
        """
        if not self.window:
            return "too early to tell what going on would bring"
        last = "no gain" if self.is_plateau else f"gained {self.gain_last:.4f} SSIM"
        if iterations_an_hour is None:
            return f"{last} in the last {self.window} iterations"
        more = self.expected_gain(round(iterations_an_hour))
        return f"{last} in the last {self.window} iterations, expected gain of an hour more: {more:.4f} SSIM"


def outlook(iterations: Sequence[int], values: NDArray[np.float64], least_gain: float = LEAST_GAIN) -> Outlook:
    """What the held-out figures so far say about going on.

    The learning rate must not have been decaying: a curve flattens with its rate, whatever the training could still
    gain. Give looks from full (or schedule-free) rate only.

    Args:
        iterations: `(N,)` of each look, growing, from 1.
        values: `(N, P)` figure of each of P people, more is better, SSIM by default.
        least_gain: smaller gains are none.

    Raises:
        ConfigError: the two do not fit together, or iterations do not grow.

    >>> looks = list(range(500, 20_001, 500))
    >>> outlook(looks, np.full((40, 1), 0.97)).is_plateau
    True
    >>> outlook(looks, 0.9 + 0.01 * np.log(looks)[:, None]).is_plateau
    False
    """
    at = np.asarray(iterations, np.float64)
    if values.ndim != 2 or len(values) != len(at):
        raise ConfigError(f"{len(at)} looks and figures of shape {values.shape} do not fit together")
    if len(at) and (at[0] < 1 or (np.diff(at) <= 0).any()):
        raise ConfigError("the iterations of looks must grow, from 1 or more")
    last = int(at[-1]) if len(at) else 0
    if len(at) < MIN_LOOKS:
        return Outlook(last, 0, False, 0.0, 0.0)
    begin = min(int(np.searchsorted(at, last / 2)), len(at) - MIN_LOOKS)
    x = np.array([part.mean() for part in np.array_split(np.log(at[begin:]), MEANS)])  # (MEANS,)
    y = np.array([part.mean(0) for part in np.array_split(values[begin:], MEANS)])  # (MEANS, P)
    x, y = x - x.mean(), y - y.mean(0)
    slopes = x @ y / (x @ x)  # (P,)
    errors = np.sqrt(((y - x[:, None] * slopes) ** 2).sum(0) / (MEANS - 2) / (x @ x))
    slope, limit = float(slopes.max()), float((slopes + CONFIDENCE * errors).max())
    return Outlook(
        iteration=last,
        window=round(at[-1] - at[begin]),
        is_plateau=limit * math.log(1.5) < least_gain,
        gain_last=slope * math.log(last / at[begin]),
        slope=max(0.0, slope),
    )
