"""Alignments along a track without jitter and without lag.

- `smooth_alignments`: local regression on either side of each frame (zero phase)

What is smoothed are the four numbers of the way back (face space to frame pixels): where the face's origin lies, and
its two axes. They are linear in what moves on the screen. A parabola is fitted about each frame, so a face that moves
evenly or speeds up evenly comes out where it was. The fit may leave the measured alignment only by as much as those
jitter; beyond that the measurement is believed, so that uneven motion (a shake, footage with dropped frames) stays.
"""

import numpy as np
from numpy.typing import NDArray

from visagist.faces.align import invert

WIDTH = 0.075  # seconds, deviation of the Gaussian weights
REACH = 3.0  # deviations
NOISE = 0.006  # of the pupils' distance: how far measured alignments of clear faces jitter
UNSURE = 4.0  # how many times more those of hidden ones do


def smooth_alignments(
    times: NDArray[np.float64], alignments: NDArray[np.float64], scores: NDArray[np.floating]
) -> NDArray[np.float64]:
    """Smoothed alignments of one face in consecutive frames.

    Args:
        times: `(N,)` seconds, rising.
        alignments: `(N, 2, 3)` frame px to face space.
        scores: `(N,)` of the mesh; unsure frames count less.

    Returns:
        `(N, 2, 3)`; symmetric in time: the same reversed gives the same, reversed.
    """
    back = np.stack([invert(matrix) for matrix in alignments])  # (N, 2, 3) face space to frame px
    values = np.column_stack([back[:, :, 2], back[:, 0, 0], back[:, 1, 0]])  # (N, 4) origin x y, axis x y
    sure = 1 / (1 + np.exp(-(np.asarray(scores, np.float64) - 4) / 2))  # (N,) 0..1
    fitted = _local_parabola(times, values, sure + 0.02)
    unit = np.hypot(values[:, 2], values[:, 3])  # px of the pupils' distance
    gap = np.linalg.norm(values - fitted, axis=1) / unit
    allowed = NOISE * (1 + (UNSURE - 1) * (1 - sure))
    believed = np.clip((gap / allowed - 1) / 2, 0, 1)  # 0: the fit, 1 from three times the jitter on: the measurement
    smooth = fitted + believed[:, None] * (values - fitted)
    x, y, a, b = smooth.T
    result = np.stack([np.stack([a, -b, x], 1), np.stack([b, a, y], 1)], 1)  # (N, 2, 3)
    return np.stack([invert(matrix) for matrix in result])


def _local_parabola(
    times: NDArray[np.float64], values: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """At each time the value of the weighed least-squares parabola through the neighbours; `(N, 4)`."""
    result = values.copy()
    for i, now in enumerate(times):
        first, last = np.searchsorted(times, [now - REACH * WIDTH, now + REACH * WIDTH + 1e-9])
        t = (times[first:last] - now) / WIDTH
        # near the ends the neighbours lie on one side: a line there, since a parabola swings out
        degree = 2 if t[0] < -1 and t[-1] > 1 else 1
        if len(t) <= degree + 1:
            continue
        root = np.sqrt(np.exp(-0.5 * t**2) * weights[first:last])[:, None]
        basis = np.vander(t, degree + 1, increasing=True)
        solution, *_ = np.linalg.lstsq(basis * root, values[first:last] * root, rcond=None)
        result[i] = solution[0]
    return result
