"""Face landmarks from MediaPipe's face mesh.

Landmarks are `(478, 3)` float32: x and y in frame pixels, z in the same scale and smaller towards the viewer. The score
is the model's presence logit: above 0 for a face, above 5 for a clear one, about -15 in full profile.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visagist.faces.detection import Detection
from visagist.media import Frame
from visagist.zoo.sessions import session

CROP_SIDE = 256  # px, input of the mesh model
CROP_MARGIN = 1.5  # crop side / face box side, as in training of the model
CONFIDENT_SCORE = 5.0  # typical of partly hidden faces
CLEAR_SCORE = 12.0  # typical of clear faces
RIGHT_EYE, LEFT_EYE = 33, 263  # outer eye corners, from the subject's point of view


@dataclass(frozen=True, eq=False)
class Mesh:
    """Result of one pass of the face mesh."""

    landmarks: NDArray[np.float32]  # (478, 3) frame px
    score: float  # presence logit
    crop: NDArray[np.float32]  # (256, 256, 3) RGB in [0, 1], the model input with eyes roughly level

    @property
    def box(self) -> NDArray[np.float32]:
        """Bounding box of the landmarks, `(4,)` x0 y0 x1 y1, px."""
        return np.concatenate([self.landmarks[:, :2].min(0), self.landmarks[:, :2].max(0)])


def find_landmarks(frame: Frame, box: NDArray[np.float32], roll: float) -> Mesh:
    """Landmarks of the face in a rough box, refined by a second pass.

    Args:
        frame: the frame.
        box: `(4,)` x0 y0 x1 y1, px.
        roll: clockwise roll of the face in degrees, to within about 45.
    """
    centre = (box[:2] + box[2:]) / 2
    first = _mesh(frame, centre, CROP_MARGIN * float((box[2:] - box[:2]).max()), roll)
    return follow_landmarks(frame, first.landmarks)


def follow_landmarks(frame: Frame, before: NDArray[np.float32]) -> Mesh:
    """Landmarks of a face from those in the previous frame, `(478, 3)`, in one pass."""
    eyes = before[LEFT_EYE, :2] - before[RIGHT_EYE, :2]
    roll = float(np.degrees(np.arctan2(eyes[1], eyes[0])))
    turn = _rotation(-roll)
    upright = before[:, :2] @ turn.T
    low, high = upright.min(0), upright.max(0)
    return _mesh(frame, (low + high) / 2 @ turn, CROP_MARGIN * float((high - low).max()), roll)


def find_best_landmarks(frame: Frame, detection: Detection) -> Mesh:
    """Landmarks of a detected face at any roll.

    The roll is estimated from the detected eyes, which are unreliable beyond about 60 degrees. If the resulting score
    is low, the other quarter turns are tried too.

    Args:
        frame: the frame.
        detection: in px of `frame`.
    """
    eyes = detection.points[1] - detection.points[0]
    roll = float(np.degrees(np.arctan2(eyes[1], eyes[0])))
    best = find_landmarks(frame, detection.box, roll)
    if best.score < CLEAR_SCORE:
        tries = [find_landmarks(frame, detection.box, roll + turn) for turn in (90, 180, 270)]
        turned = max(tries, key=lambda mesh: mesh.score)
        best = turned if turned.score >= max(CONFIDENT_SCORE, best.score) else best
    return best


def _rotation(degrees: float) -> NDArray[np.float64]:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s], [s, c]])


def _mesh(frame: Frame, centre: NDArray[np.floating], side: float, roll: float) -> Mesh:
    """Run the mesh on a square of `side` px around `centre`, rotated by `roll` degrees."""
    scale = CROP_SIDE / max(side, 1.0)
    linear = _rotation(-roll) * scale
    matrix = np.column_stack([linear, (CROP_SIDE - 1) / 2 - linear @ centre])  # frame px to crop px
    crop = frame.warp(matrix, (CROP_SIDE, CROP_SIDE))
    points, presence = session("facemesh", threads=1).run(["Identity", "Identity_1"], {"input_12": crop[None]})
    mesh = np.asarray(points).reshape(478, 3)
    landmarks = np.empty((478, 3), np.float32)
    # the model measures from the crop's edge, with pixel centres at half-integers
    landmarks[:, :2] = (mesh[:, :2] - 0.5 - matrix[:, 2]) @ np.linalg.inv(linear).T
    landmarks[:, 2] = mesh[:, 2] / scale
    return Mesh(landmarks, float(np.asarray(presence).ravel()[0]), crop)
