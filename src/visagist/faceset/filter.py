"""Which faces are worth a crop.

- `choose`: faces that stay, and why the others do not
- `REASONS`: what may be wrong with a face
"""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from visagist.faces import Face

Reason = Literal["tiny", "occluded", "blurred", "duplicate"]
REASONS: tuple[Reason, ...] = get_args(Reason)
HIDDEN = 0.65  # of the score that the subject's clear faces reach; hands before the mouth lie below, laughs above
FRONTAL = 40.0  # degrees of yaw beyond which scores are low by themselves
LOOK_BACK = 12  # kept faces of the track that a face is compared with
POINTS = slice(0, 478, 6)


def choose(
    faces: Sequence[Face], *, min_size: float, min_score: float, min_sharpness: float, min_change: float
) -> tuple[list[Face], dict[Reason, int]]:
    """Leave out what would teach a network little.

    Args:
        faces: of one subject, in frame order.
        min_size: px, least width of a face; smaller ones are `tiny`.
        min_score: least score of the mesh; below it, or in a frontal view far below the subject's own usual score,
            something hides the face: `occluded`.
        min_sharpness: least sharpness, 0..1: `blurred`.
        min_change: mean distance in face space by which the landmarks must differ from each of the last kept faces of
            the same track, or else the face is a `duplicate`; 0 keeps all.

    Returns:
        the faces that stay, and how many were left out for each reason; the first that applies counts.
    """
    kept: list[Face] = []
    left_out = dict.fromkeys(REASONS, 0)
    recent: dict[int, list[NDArray[np.float64]]] = {}
    usual = float(np.quantile([face.score for face in faces], 0.75)) if faces else 0.0
    for face in faces:
        shape = _shape(face)
        before = recent.setdefault(face.track, [])
        if face.width < min_size:
            left_out["tiny"] += 1
        elif face.score < min_score or (face.score < HIDDEN * usual and abs(face.pose[0]) < FRONTAL):
            left_out["occluded"] += 1
        elif face.sharpness < min_sharpness:
            left_out["blurred"] += 1
        elif any(float(np.linalg.norm(shape - other, axis=1).mean()) < min_change for other in before):
            left_out["duplicate"] += 1
        else:
            kept.append(face)
            before.append(shape)
            del before[:-LOOK_BACK]
    return kept, left_out


def _shape(face: Face) -> NDArray[np.float64]:
    """What is seen of the expression and the pose: `(80, 2)` landmarks in face space, not smoothed."""
    return face.landmarks[POINTS, :2] @ face.alignment[:, :2].T + face.alignment[:, 2]
