"""Smoothing alignments along a track without lag.

The inverse alignments (face space to frame pixels) are smoothed by local quadratic regression, which is zero-phase and
preserves uniform and uniformly accelerated motion. Where a measurement deviates from the fit by more than typical
jitter, it is kept, to preserve abrupt motion such as camera shake or dropped frames.
"""

import numpy as np
from numpy.typing import NDArray

from visagist.faces.align import invert

KERNEL_SIGMA_S = 0.075  # standard deviation of the Gaussian weights
KERNEL_RADIUS = 3.0  # in sigmas
JITTER = 0.006  # of alignments of clear faces, interpupillary distances
HIDDEN_JITTER_FACTOR = 4.0  # jitter of hidden faces relative to clear ones


def smooth_alignments(
    times: NDArray[np.float64], alignments: NDArray[np.float64], scores: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Smooth the alignments of one face in consecutive frames, symmetrically in time.

    Args:
        times: `(N,)` seconds, increasing.
        alignments: `(N, 2, 3)` frame px to face space.
        scores: `(N,)` mesh scores; frames with low scores have less weight.

    Returns:
        `(N, 2, 3)` frame px to face space.
    """
    back = np.stack([invert(matrix) for matrix in alignments])  # (N, 2, 3) face space to frame px
    values = np.column_stack([back[:, :, 2], back[:, 0, 0], back[:, 1, 0]])  # (N, 4) origin x y, axis x y
    sure = 1 / (1 + np.exp(-(np.asarray(scores, np.float64) - 4) / 2))  # (N,) 0..1
    fitted = _local_parabola(times, values, sure + 0.02)
    unit = np.hypot(values[:, 2], values[:, 3])  # interpupillary distance in px
    gap = np.linalg.norm(values - fitted, axis=1) / unit
    allowed = JITTER * (1 + (HIDDEN_JITTER_FACTOR - 1) * (1 - sure))
    believed = np.clip((gap / allowed - 1) / 2, 0, 1)  # 0: use the fit; 1, from 3 times the jitter: use the measurement
    smooth = fitted + believed[:, None] * (values - fitted)
    x, y, a, b = smooth.T
    result = np.stack([np.stack([a, -b, x], 1), np.stack([b, a, y], 1)], 1)  # (N, 2, 3)
    return np.stack([invert(matrix) for matrix in result])


def _local_parabola(
    times: NDArray[np.float64], values: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Weighted local quadratic regression `(N, 4)` at each time."""
    result = values.copy()
    for i, now in enumerate(times):
        first, last = np.searchsorted(
            times, [now - KERNEL_RADIUS * KERNEL_SIGMA_S, now + KERNEL_RADIUS * KERNEL_SIGMA_S + 1e-9]
        )
        t = (times[first:last] - now) / KERNEL_SIGMA_S
        # fit a line near the ends, where a parabola with one-sided neighbours overshoots
        degree = 2 if t[0] < -1 and t[-1] > 1 else 1
        if len(t) <= degree + 1:
            continue
        root = np.sqrt(np.exp(-0.5 * t**2) * weights[first:last])[:, None]
        basis = np.vander(t, degree + 1, increasing=True)
        solution, *_ = np.linalg.lstsq(basis * root, values[first:last] * root, rcond=None)
        result[i] = solution[0]
    return result
