"""Jitter: whether the judged face trembles against the target's.

Features of the source that lie elsewhere leave a residual that is large but changes slowly; its second difference is 0
for anything steady or drifting, and greatest for what alternates from frame to frame.
"""

import numpy as np
from numpy.typing import NDArray

from visagist.evaluation.evaluation_data import Case
from visagist.evaluation.metric import Metric
from visagist.evaluation.metrics import METRICS


def jitter(case: Case) -> NDArray[np.float64]:
    """Per cent of the distance between the target's outer eye corners, at the middle one of three frames, `(N,)`."""
    residuals = (case.judged.landmarks - case.target.landmarks)[:, :, :2].astype(np.float64)  # (N, 478, 2) frame px
    residuals *= 100 / case.eye_distances[:, None, None]
    values = np.full(len(residuals), np.nan)
    if len(values) < 3:
        return values
    second = residuals[2:] - 2 * residuals[1:-1] + residuals[:-2]  # (N - 2, 478, 2)
    is_known = case.follows[1:-1] & case.follows[2:] & np.isfinite(second).all((1, 2))
    values[1:-1][is_known] = np.median(np.linalg.norm(second[is_known], axis=2), axis=1)
    return values


JITTER = Metric(
    name="jitter",
    title="Jitter",
    unit="%",
    better="lower",
    formula="median over the 478 landmarks of |r(t+1) - 2 r(t) + r(t-1)|, r = (judged - target landmarks) / "
    "distance between the target's outer eye corners, over three frames in a row",
    source="our own; landmarks of MediaPipe's face mesh",
    fooled_by="the detector, which trembles by itself (see its noise beside it) and more on soft pictures; "
    "trembling that shows in brightness or texture only (see the flicker). A frozen face gets what the target's "
    "own movement jerks. The unswapped target has 0.",
    measure=jitter,
    has_noise_floor=True,
    order=80,
)
METRICS.register(JITTER, __name__)
