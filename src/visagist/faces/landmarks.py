"""478 landmarks of a face, with a score, from MediaPipe's face mesh.

- `Mesh`: landmarks, score and the crop that the model looked at
- `find_landmarks`: from a rough box, in two passes (the second on the crop that the first one gives)
- `follow_landmarks`: from the frame before, in one pass
- `find_best_landmarks`: from a detection, at the roll that suits best

Landmarks are `(478, 3)` float32: x and y in frame pixels (centres at integers), z in the same scale, smaller is
nearer. The score is the model's presence logit: above 0 a face, above 5 a clear one, about -15 in full profile.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visagist.faces.detection import Detection
from visagist.media import Frame
from visagist.zoo.sessions import session

CROP = 256  # px, the mesh's input
MARGIN = 1.5  # crop side over face box side, as the mesh was trained
SURE = 5.0  # the score of most hidden faces
CLEAR = 12.0  # the score of most clear ones
RIGHT_EYE, LEFT_EYE = 33, 263  # outer corners, the person's own sides


@dataclass(frozen=True, eq=False)
class Mesh:
    """What one pass of the mesh says."""

    landmarks: NDArray[np.float32]  # (478, 3) frame px
    score: float  # presence logit
    crop: NDArray[np.float32]  # (256, 256, 3) RGB in [0, 1] that it looked at, eyes about level

    @property
    def box(self) -> NDArray[np.float32]:
        """`(4,)` x0 y0 x1 y1 around the landmarks, px."""
        return np.concatenate([self.landmarks[:, :2].min(0), self.landmarks[:, :2].max(0)])


def find_landmarks(frame: Frame, box: NDArray[np.float32], roll: float) -> Mesh:
    """Landmarks of the face in a rough box.

    Args:
        frame: where the face is.
        box: `(4,)` x0 y0 x1 y1, px.
        roll: degrees by which the face is turned clockwise in the picture, to within some 45.

    Returns:
        the mesh of the second pass.
    """
    centre = (box[:2] + box[2:]) / 2
    first = _mesh(frame, centre, MARGIN * float((box[2:] - box[:2]).max()), roll)
    return follow_landmarks(frame, first.landmarks)


def follow_landmarks(frame: Frame, before: NDArray[np.float32]) -> Mesh:
    """Landmarks of a face that was at `before` `(478, 3)` in the frame before."""
    eyes = before[LEFT_EYE, :2] - before[RIGHT_EYE, :2]
    roll = float(np.degrees(np.arctan2(eyes[1], eyes[0])))
    turn = _rotation(-roll)
    upright = before[:, :2] @ turn.T
    low, high = upright.min(0), upright.max(0)
    return _mesh(frame, (low + high) / 2 @ turn, MARGIN * float((high - low).max()), roll)


def find_best_landmarks(frame: Frame, detection: Detection) -> Mesh:
    """Landmarks of a detected face, whichever way it is rolled.

    The detector's eyes give the roll; they fail beyond some 60 degrees, so where the mesh sees no clear face the
    other quarter turns are tried; one wins if the mesh is sure there.

    Args:
        frame: where the face is.
        detection: in px of `frame`.
    """
    eyes = detection.points[1] - detection.points[0]
    roll = float(np.degrees(np.arctan2(eyes[1], eyes[0])))
    best = find_landmarks(frame, detection.box, roll)
    if best.score < CLEAR:
        tries = [find_landmarks(frame, detection.box, roll + turn) for turn in (90, 180, 270)]
        turned = max(tries, key=lambda mesh: mesh.score)
        best = turned if turned.score >= max(SURE, best.score) else best
    return best


def _rotation(degrees: float) -> NDArray[np.float64]:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s], [s, c]])


def _mesh(frame: Frame, centre: NDArray[np.floating], side: float, roll: float) -> Mesh:
    """One pass over the square of `side` px about `centre`, turned by `roll` degrees."""
    scale = CROP / max(side, 1.0)
    linear = _rotation(-roll) * scale
    matrix = np.column_stack([linear, (CROP - 1) / 2 - linear @ centre])  # frame px to crop px
    crop = frame.warp(matrix, (CROP, CROP))
    points, presence = session("facemesh", threads=1).run(["Identity", "Identity_1"], {"input_12": crop[None]})
    mesh = np.asarray(points).reshape(478, 3)
    landmarks = np.empty((478, 3), np.float32)
    # the mesh counts from the crop's edge, so a pixel's centre is at a half
    landmarks[:, :2] = (mesh[:, :2] - 0.5 - matrix[:, 2]) @ np.linalg.inv(linear).T
    landmarks[:, 2] = mesh[:, 2] / scale
    return Mesh(landmarks, float(np.asarray(presence).ravel()[0]), crop)
