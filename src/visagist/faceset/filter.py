"""Filtering faces before cropping."""

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from visagist.faces import Face

Reason = Literal["tiny", "occluded", "blurred", "duplicate"]
REASONS: tuple[Reason, ...] = get_args(Reason)
MIN_RELATIVE_SCORE = 0.65  # of the subject's usual score; hands over the mouth score lower, laughter higher
MAX_FRONTAL_YAW = 40.0  # degrees; scores of larger yaw are low anyway
COMPARED_FACES = 12  # last kept faces of a track to compare with
COMPARED_LANDMARKS = slice(0, 478, 6)


def filter_faces(
    faces: Sequence[Face], *, min_size: float, min_score: float, min_sharpness: float, min_change: float
) -> tuple[list[Face], dict[Reason, int]]:
    """Drop faces of little value for training.

    Args:
        faces: faces of one subject, in frame order.
        min_size: minimum width of a face in px; smaller ones are `tiny`.
        min_score: minimum mesh score; lower ones are `occluded`, as are frontal views far below the subject's usual
            score.
        min_sharpness: minimum sharpness, 0..1; lower ones are `blurred`.
        min_change: minimum mean landmark distance in face space from each of the last kept faces of the same track;
            closer ones are `duplicate`. 0 keeps all.

    Returns:
        The remaining faces, and the number of dropped faces by the first reason that applies.
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
        elif face.score < min_score or (
            face.score < MIN_RELATIVE_SCORE * usual and abs(face.pose[0]) < MAX_FRONTAL_YAW
        ):
            left_out["occluded"] += 1
        elif face.sharpness < min_sharpness:
            left_out["blurred"] += 1
        elif any(float(np.linalg.norm(shape - other, axis=1).mean()) < min_change for other in before):
            left_out["duplicate"] += 1
        else:
            kept.append(face)
            before.append(shape)
            del before[:-COMPARED_FACES]
    return kept, left_out


def _shape(face: Face) -> NDArray[np.float64]:
    """`(80, 2)` landmarks in face space, which reflect expression and pose."""
    return face.landmarks[COMPARED_LANDMARKS, :2] @ face.alignment[:, :2].T + face.alignment[:, 2]
