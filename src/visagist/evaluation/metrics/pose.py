"""Pose: rotation and position of the evaluated head compared with the target's."""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from visagist.evaluation.evaluation_data import EvaluationData
from visagist.evaluation.metric import Metric
from visagist.evaluation.metrics import METRICS
from visagist.faces.align import STABLE_POINTS

ANGLES = {"yaw": "turned to the side", "pitch": "raised or lowered", "roll": "tilted"}


def pose_difference(data: EvaluationData, axis: int) -> NDArray[np.float64]:
    """Absolute difference `(N,)` of yaw, pitch or roll in degrees, 0 to 180."""
    difference = data.evaluated.poses[:, axis].astype(np.float64) - data.target.poses[:, axis]
    return np.abs((difference + 180) % 360 - 180)


def stable_fit(data: EvaluationData) -> tuple[NDArray[np.complex128], NDArray[np.complex128]]:
    """Least-squares similarity from evaluated to target points that hardly move with expression, in frame px.

    Returned as complex numbers `(a, b)`, both `(N,)`, with target ≈ a * evaluated + b for points x + iy.
    """
    evaluated, target = (
        as_complex(data.evaluated.landmarks[:, STABLE_POINTS, :]),
        as_complex(data.target.landmarks[:, STABLE_POINTS, :]),
    )
    middle_j, middle_t = evaluated.mean(1), target.mean(1)
    j, t = evaluated - middle_j[:, None], target - middle_t[:, None]  # (N, P)
    turn = (j.conj() * t).sum(1) * (1 / (np.abs(j) ** 2).sum(1))  # NumPy's complex division warns at NaN
    return turn, middle_t - turn * middle_j


def as_complex(landmarks: NDArray[np.float32]) -> NDArray[np.complex128]:
    """x + iy of landmarks `(..., 2 or 3)`."""
    return landmarks[..., 0].astype(np.float64) + 1j * landmarks[..., 1]


def placement(data: EvaluationData) -> NDArray[np.float64]:
    """Distance `(N,)` by which `stable_fit` moves the evaluated face, in % of the distance of the outer eye corners."""
    evaluated = as_complex(data.evaluated.landmarks[:, STABLE_POINTS, :])
    turn, shift = stable_fit(data)
    moved = turn[:, None] * evaluated + shift[:, None] - evaluated  # (N, P)
    return 100 * np.abs(moved).mean(1) / data.eye_distances


_metric = partial(Metric, order=30, has_noise_floor=True, better="lower")
FAMILY = (
    *(
        _metric(
            name=f"pose_{name}",
            title=f"{name.capitalize()} (how the head is {meaning})",
            unit="°",
            formula=f"|{name} of the evaluated head - {name} of the target's|; from the rotation of the least-squares "
            "similarity in 3D (Umeyama 1991) between the mean face and the points that hardly move with expression",
            source="visagist, on MediaPipe's face mesh",
            fooled_by="the unswapped target, which has 0: read it beside identity. A source whose nose or brow has a "
            "different depth appears turned.",
            measure=partial(pose_difference, axis=axis),
            aim=1.5,
        )
        for axis, (name, meaning) in enumerate(ANGLES.items())
    ),
    _metric(
        name="placement",
        title="Placement of the face",
        unit="%",
        formula="mean distance by which the least-squares similarity (shift, size, roll) from the evaluated face to "
        "the target's moves the points that hardly move with expression / distance between the target's outer eye "
        "corners",
        source="visagist, on MediaPipe's face mesh",
        fooled_by="the unswapped target, which has 0. In profile, the eyes are closer together, so the same shift "
        "counts for more.",
        measure=placement,
    ),
)
METRICS.register(FAMILY, __name__)
