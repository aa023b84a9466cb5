"""Jitter: whether the evaluated face trembles relative to the target's.

The source's different proportions leave a residual that is large but changes slowly. Its second difference is 0 for a
steady or drifting face, and largest if the residual alternates between frames.
"""

import numpy as np
from numpy.typing import NDArray

from visagist.evaluation.evaluation_data import EvaluationData
from visagist.evaluation.metric import Metric
from visagist.evaluation.metrics import METRICS


def jitter(data: EvaluationData) -> NDArray[np.float64]:
    """Jitter `(N,)` in % of the distance of the target's outer eye corners, at the middle of three frames."""
    residuals = (data.evaluated.landmarks - data.target.landmarks)[:, :, :2].astype(np.float64)  # (N, 478, 2) frame px
    residuals *= 100 / data.eye_distances[:, None, None]
    values = np.full(len(residuals), np.nan)
    if len(values) < 3:
        return values
    second = residuals[2:] - 2 * residuals[1:-1] + residuals[:-2]  # (N - 2, 478, 2)
    is_known = data.follows[1:-1] & data.follows[2:] & np.isfinite(second).all((1, 2))
    values[1:-1][is_known] = np.median(np.linalg.norm(second[is_known], axis=2), axis=1)
    return values


JITTER = Metric(
    name="jitter",
    title="Jitter",
    unit="%",
    better="lower",
    formula="median over the 478 landmarks of |r(t+1) - 2 r(t) + r(t-1)|, r = (evaluated - target landmarks) / "
    "distance between the target's outer eye corners, over three consecutive frames",
    source="visagist, on MediaPipe's face mesh",
    fooled_by="the detector, which itself trembles (see the column of its noise), more so on soft pictures. It does "
    "not notice trembling of brightness or texture (see the flicker). For a frozen face, it measures the movement of "
    "the target. The unswapped target has 0.",
    measure=jitter,
    has_noise_floor=True,
    order=80,
)
METRICS.register(JITTER, __name__)
