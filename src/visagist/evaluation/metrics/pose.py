"""Pose: whether the judged head is turned as the target's is, and lies where it lies."""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from visagist.evaluation.evaluation_data import Case
from visagist.evaluation.metric import Metric
from visagist.evaluation.metrics import METRICS
from visagist.faces.align import STABLE_POINTS

ANGLES = {"yaw": "turned to the side", "pitch": "raised or lowered", "roll": "tilted"}


def pose_difference(case: Case, axis: int) -> NDArray[np.float64]:
    """Absolute difference `(N,)` of yaw, pitch or roll in degrees, 0 to 180."""
    difference = case.judged.poses[:, axis].astype(np.float64) - case.target.poses[:, axis]
    return np.abs((difference + 180) % 360 - 180)


def stable_fit(case: Case) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """The least-squares similarity from judged to target points that hardly move with expression, in frame px.

    As complex numbers, a point being x + iy: `(a, b)`, both `(N,)`, with target ≈ a * judged + b.
    """
    judged, target = (
        as_complex(case.judged.landmarks[:, STABLE_POINTS, :]),
        as_complex(case.target.landmarks[:, STABLE_POINTS, :]),
    )
    middle_j, middle_t = judged.mean(1), target.mean(1)
    j, t = judged - middle_j[:, None], target - middle_t[:, None]  # (N, P)
    turn = (j.conj() * t).sum(1) * (1 / (np.abs(j) ** 2).sum(1))  # NumPy's complex division warns at NaN
    return turn, middle_t - turn * middle_j


def as_complex(landmarks: NDArray[np.float32]) -> NDArray[np.complex128]:
    """x + iy of landmarks `(..., 2 or 3)`."""
    return landmarks[..., 0].astype(np.float64) + 1j * landmarks[..., 1]


def placement(case: Case) -> NDArray[np.float64]:
    """How far `stable_fit` moves the judged face, `(N,)`, in per cent of the distance between the eyes."""
    judged = as_complex(case.judged.landmarks[:, STABLE_POINTS, :])
    turn, shift = stable_fit(case)
    moved = turn[:, None] * judged + shift[:, None] - judged  # (N, P)
    return 100 * np.abs(moved).mean(1) / case.eye_distances


_metric = partial(Metric, order=30, has_noise_floor=True, better="lower")
FAMILY = (
    *(
        _metric(
            name=f"pose_{name}",
            title=f"{name.capitalize()} (how the head is {meaning})",
            unit="°",
            formula=f"|{name} of the judged head - {name} of the target's|; from the rotation of the least-squares "
            "similarity in 3D (Umeyama 1991) between the mean face and the points that hardly move with expression",
            source="visagist, on MediaPipe's face mesh",
            fooled_by="the unswapped target has 0, so it means something only beside identity. A source with another "
            "depth of nose or brow reads as another angle.",
            measure=partial(pose_difference, axis=axis),
            aim=1.5,
        )
        for axis, (name, meaning) in enumerate(ANGLES.items())
    ),
    _metric(
        name="placement",
        title="Placement of the face",
        unit="%",
        formula="mean distance by which the least-squares similarity (shift, size, roll) from the judged face to the "
        "target's moves the points that hardly move with expression / distance between the target's outer eye corners",
        source="visagist, on MediaPipe's face mesh",
        fooled_by="the unswapped target has 0. Seen from the side the eyes stand closer together, and the same shift "
        "counts for more.",
        measure=placement,
    ),
)
METRICS.register(FAMILY, __name__)
