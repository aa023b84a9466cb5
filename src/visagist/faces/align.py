"""Face space: where a face lies, and the squares of it that crops show.

- `mean_mesh`: the mean frontal face, `(478, 3)`, in face space
- `similarity`: least-squares similarity between points
- `align`: the alignment of a face's landmarks
- `COVERAGES`, `crop_matrix`, `crop_side`: the squares, and the way from frame pixels into one of them
- `hull_mask`: the face's outline in a crop; `feature_mask`: its eyes and mouth
- `invert`, `transform`, `compose`: (2, 3) matrices and points

Face space: x to the right and y down in the picture, z away from the viewer; the origin lies midway between the mean
face's pupils and the unit is the distance between them. An alignment is the similarity (2, 3) that takes frame pixels
there. Pixel centres are at integers everywhere, so a crop of S pixels spans -0.5 to S - 0.5.

How `mean_face.csv` was made: the mesh of 564 frames of ten people (4 of the GRID corpus besides s1, s1, two filmed
models, two signers, one Pexels clip), score above 5, within 10 degrees of yaw and 12 of pitch; the mean of each
person after a similarity fit in 3D, then the mean of the people, to convergence (generalised Procrustes); pitch nought
where the people's median is; made symmetric by averaging with its mirror, mirror pairs found by linear assignment.
"""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from visagist.core.errors import GeometryError
from visagist.core.types import Coverage

Array = NDArray[Any]

# Points that hardly move with expression: outer and inner eye corners and the skin beside them, bridge, tip, wings and
# base of the nose, cheekbones below the eyes, mid forehead. In the footage above each wanders 0.012 to 0.021 of the
# pupils' distance, where lips, jaw and the face's rim wander 0.03 to 0.05.
STABLE = (
    *(33, 133, 263, 362, 226, 446, 35, 265),
    *(168, 6, 197, 195, 5, 4, 1, 2, 94),
    *(48, 278, 98, 327, 100, 329, 47, 277),
    *(9, 151),
)
OVAL = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
FEATURES = (
    (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),  # right eye
    (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466),  # left eye
    (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185),  # outer lips
)
PUPILS = (468, 473)
AROUND = 0.09  # how far around them lids and lips move, in pupils' distances
BROWS = 0.4  # height of the brows' upper rim, of the distance from the nose's root to the mesh's rim
FOREHEAD = 0.05  # how far above the mesh's own rim the skin goes on, of the distance from the nose's root to that rim


class Square(NamedTuple):
    """A square of face space; x of its centre is 0."""

    y: float  # of its centre
    side: float


# DeepFaceLab measures its framings in the width u of its 2D mean face, which is 1.842 of our units when eyes, nose and
# mouth are laid upon ours; its centre then lies at y = 0.527. Sides are u(1 + 2 sqrt(2) p) for its paddings p of
# 0, 0.0675, 0.211, 0.4 and 0.7; whole-face sits 0.07 u higher and head 0.5 u.
COVERAGES: dict[Coverage, Square] = {
    "mouth": Square(1.20, 1.60),  # nose tip to below the chin
    "half": Square(0.527, 1.842),  # brows to lower lip
    "mid": Square(0.527, 2.194),  # half way up the forehead to the chin's beginning
    "full": Square(0.527, 2.941),  # hairline to chin
    "whole": Square(0.398, 3.926),  # the face with its rim
    "head": Square(-0.394, 5.489),  # hair and neck too
}


@functools.cache
def mean_mesh() -> NDArray[np.float32]:
    """The mean frontal face `(478, 3)` in face space.

    >>> mean_mesh()[[468, 473], 0]  # the pupils: the person's right, then left
    array([-0.5,  0.5], dtype=float32)
    """
    mesh = np.loadtxt(Path(__file__).with_name("mean_face.csv"), delimiter=",", dtype=np.float32)
    mesh.flags.writeable = False  # one copy for all
    return mesh


def similarity(source: Array, target: Array) -> Array:
    """Least-squares similarity that takes `source` points to `target` points.

    Umeyama 1991, "Least-squares estimation of transformation parameters", without reflection.

    Args:
        source: `(N, 2)` points in pixels, N >= 2, not all equal.
        target: `(N, 2)` points, any unit.

    Returns:
        `(2, 3)` matrix M in `target` units: `target ≈ source @ M[:, :2].T + M[:, 2]`.

    Raises:
        GeometryError: fewer than two distinct points.

    >>> square = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    >>> similarity(square, 2 * square + 3).round(6)
    array([[2., 0., 3.],
           [0., 2., 3.]])
    """
    centre_s, centre_t = source.mean(0), target.mean(0)
    centred_s, centred_t = source - centre_s, target - centre_t  # (N, 2)
    variance = (centred_s**2).sum()
    if variance == 0:
        raise GeometryError(f"cannot align {len(source)} points that all lie at {centre_s.round(1)}")
    u, s, vt = np.linalg.svd(centred_t.T @ centred_s)
    sign = np.array([1.0, np.sign(np.linalg.det(u @ vt))])  # no mirror faces
    scaled_rotation = (u * (s * sign).sum() / variance * sign) @ vt
    return np.column_stack([scaled_rotation, centre_t - scaled_rotation @ centre_s])


def align(landmarks: Array) -> NDArray[np.float64]:
    """The alignment `(2, 3)` of a face: frame pixels to face space.

    Args:
        landmarks: `(478, 2 or 3)`, frame px.

    Raises:
        GeometryError: the landmarks all lie in one place.
    """
    return similarity(landmarks[STABLE, :2].astype(np.float64), mean_mesh()[STABLE, :2].astype(np.float64))


def crop_matrix(alignment: Array, coverage: Coverage, size: int, margin: float = 1.0) -> NDArray[np.float64]:
    """The way from frame pixels to the pixels of a crop.

    Args:
        alignment: `(2, 3)` frame px to face space.
        coverage: which square.
        size: side of the crop in px.
        margin: how many times the square's side the crop shows, about the same centre.

    Returns:
        `(2, 3)` frame px to crop px, for a warp into `(size, size)`.

    >>> crop_matrix(np.eye(2, 3), "full", 100) @ [0.0, 0.527, 1.0]  # the square's centre is the crop's
    array([49.5, 49.5])
    """
    square = COVERAGES[coverage]
    scale = size / (square.side * margin)
    offset = np.array([0.0, -square.y]) * scale + (size - 1) / 2
    return np.column_stack([scale * alignment[:, :2], scale * alignment[:, 2] + offset])


def crop_side(alignment: Array, coverage: Coverage) -> float:
    """Side in frame px of the square that a crop shows: the size at which a crop neither gains nor loses.

    >>> round(crop_side(0.5 * np.eye(2, 3), "full"), 3)
    5.882
    """
    return COVERAGES[coverage].side / float(np.sqrt(abs(np.linalg.det(alignment[:, :2]))))


def hull_mask(landmarks: Array, size: int, forehead: float = 1.0) -> NDArray[np.uint8]:
    """The face's outline in a crop: the mesh's rim, drawn up over the forehead to about the hairline.

    Args:
        landmarks: `(478, 2 or 3)` in crop px.
        size: side of the crop in px.
        forehead: how much of it belongs to the face: 1 to about the hairline, 0 hardly more than the brows.

    Returns:
        `(size, size)` 255 within, 0 without, the rim anti-aliased.
    """
    rim = landmarks[OVAL, :2].astype(np.float64)  # (36, 2)
    root = landmarks[168, :2].astype(np.float64)
    up = landmarks[10, :2] - root
    height = np.clip((rim - root) @ up / max(float(up @ up), 1e-9), 0, None)  # 1 at the mesh's upper rim
    lift = forehead * (1 + FOREHEAD - BROWS) + BROWS - 1  # of the mesh's own height there
    raised = rim + lift * (height**2)[:, None] * up
    fixed_point = cv2.convexHull(np.round(raised * 16).astype(np.int32))
    mask = np.zeros((size, size), np.uint8)
    return cv2.fillConvexPoly(mask, fixed_point, 255, lineType=cv2.LINE_AA, shift=4).astype(np.uint8)


def feature_mask(landmarks: Array, size: int) -> NDArray[np.uint8]:
    """The eyes and the mouth in a crop, with the skin around them that moves along.

    Args:
        landmarks: `(478, 2 or 3)` in crop px.
        size: side of the crop in px.

    Returns:
        `(size, size)` 255 within, 0 far from it, with a soft edge.
    """
    mask = np.zeros((size, size), np.uint8)
    for outline in FEATURES:
        points = np.round(landmarks[list(outline), :2] * 16).astype(np.int32)
        cv2.fillConvexPoly(mask, cv2.convexHull(points), 255, lineType=cv2.LINE_AA, shift=4)
    radius = AROUND * float(np.linalg.norm(landmarks[PUPILS[0], :2] - landmarks[PUPILS[1], :2]))
    side = 2 * max(1, round(radius)) + 1
    mask = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
    return cv2.GaussianBlur(mask, (0, 0), max(0.5, radius / 2)).astype(np.uint8)


def transform(matrix: Array, points: Array) -> Array:
    """Points `(..., 2)` taken through `(2, 3)`.

    >>> transform(np.array([[2.0, 0, 1], [0, 2, 0]]), np.array([[1.0, 1.0]]))
    array([[3., 2.]])
    """
    return points @ matrix[:, :2].T + matrix[:, 2]


def compose(second: Array, first: Array) -> Array:
    """The matrix `(2, 3)` that does `first`, then `second`.

    >>> compose(np.array([[1.0, 0, 5], [0, 1, 0]]), np.array([[2.0, 0, 0], [0, 2, 0]]))
    array([[2., 0., 5.],
           [0., 2., 0.]])
    """
    return np.column_stack([second[:, :2] @ first[:, :2], second[:, :2] @ first[:, 2] + second[:, 2]])


def invert(matrix: Array) -> Array:
    """The way back of `(2, 3)`.

    >>> compose(invert(np.array([[2.0, 0, 4], [0, 2, 6]])), np.array([[2.0, 0, 4], [0, 2, 6]]))
    array([[1., 0., 0.],
           [0., 1., 0.]])
    """
    linear = np.linalg.inv(matrix[:, :2])
    return np.column_stack([linear, -linear @ matrix[:, 2]])


def transform_landmarks(matrix: Array, landmarks: Array) -> NDArray[np.float32]:
    """Landmarks `(478, 3)` taken through a similarity `(2, 3)`; z is scaled alike."""
    scale = np.sqrt(abs(np.linalg.det(matrix[:, :2])))
    return np.column_stack([transform(matrix, landmarks[:, :2]), landmarks[:, 2] * scale]).astype(np.float32)
