"""Face space, alignments and crops.

Face space: x to the right, y down and z away from the viewer, with the origin midway between the mean face's pupils and
the distance between them as the unit. An alignment is the `(2, 3)` similarity from frame pixels to face space. Pixel
centres are at integers, so a crop of S pixels spans -0.5 to S - 0.5.
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
# base of the nose, cheekbones below the eyes, mid forehead. In the footage of `mean_mesh` they deviate by 0.012 to
# 0.021 interpupillary distances; lips, jaw and face outline by 0.03 to 0.05.
STABLE_POINTS = (
    *(33, 133, 263, 362, 226, 446, 35, 265),
    *(168, 6, 197, 195, 5, 4, 1, 2, 94),
    *(48, 278, 98, 327, 100, 329, 47, 277),
    *(9, 151),
)
OVAL_POINTS = (
    *(10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377),
    *(152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109),
)
FEATURE_OUTLINES = (
    (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246),  # right eye
    (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466),  # left eye
    (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185),  # outer lips
)
PUPILS = (468, 473)
FEATURE_MARGIN = 0.09  # margin around eyes and lips for their movement, interpupillary distances
BROW_HEIGHT = 0.4  # upper edge of the brows, as a fraction of the distance from nasal root to upper edge of the mesh
FOREHEAD_HEIGHT = 0.05  # extent of skin above the mesh, as a fraction of the same distance


class Square(NamedTuple):
    """A square in face space, centred at x = 0."""

    y: float  # of the centre
    side: float


# DeepFaceLab defines its framings by the width u of its 2D mean face. Aligned with ours by eyes, nose and mouth, u is
# 1.842 units and the centre is at y = 0.527. Sides are u(1 + 2 sqrt(2) p) for its paddings p of 0, 0.0675, 0.211, 0.4
# and 0.7; whole-face is 0.07 u higher and head 0.5 u.
COVERAGES: dict[Coverage, Square] = {
    "mouth": Square(1.20, 1.60),  # nose tip to below the chin
    "half": Square(0.527, 1.842),  # brows to lower lip
    "mid": Square(0.527, 2.194),  # mid forehead to the top of the chin
    "full": Square(0.527, 2.941),  # hairline to chin
    "whole": Square(0.398, 3.926),  # the face with its surroundings
    "head": Square(-0.394, 5.489),  # with hair and neck
}


@functools.cache
def mean_mesh() -> NDArray[np.float32]:
    """The mean frontal face `(478, 3)` in face space.

    >>> mean_mesh()[[468, 473], 0]  # the subject's right pupil, then the left
    array([-0.5,  0.5], dtype=float32)
    """
    # mean_face.csv: meshes of 564 frames of ten people (five of the GRID corpus, two filmed models, two signers, one
    # Pexels clip) with score above 5, yaw within 10 and pitch within 12 degrees; averaged per person and then across
    # people by generalised Procrustes analysis in 3D; zero pitch at their median; symmetrised with its mirror image,
    # with mirror pairs found by linear assignment.
    mesh = np.loadtxt(Path(__file__).with_name("mean_face.csv"), delimiter=",", dtype=np.float32)
    mesh.flags.writeable = False  # shared by all callers
    return mesh


def similarity(source: Array, target: Array) -> Array:
    """Least-squares similarity transform from `source` to `target` points, without reflection.

    Umeyama 1991, "Least-squares estimation of transformation parameters".

    Args:
        source: `(N, 2)` points in pixels, N >= 2, not all equal.
        target: `(N, 2)` points, any unit.

    Returns:
        `(2, 3)` matrix M such that `target ≈ source @ M[:, :2].T + M[:, 2]`.

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
        raise GeometryError(f"cannot align {len(source)} points that all coincide at {centre_s.round(1)}")
    u, s, vt = np.linalg.svd(centred_t.T @ centred_s)
    sign = np.array([1.0, np.sign(np.linalg.det(u @ vt))])  # exclude reflections
    scaled_rotation = (u * (s * sign).sum() / variance * sign) @ vt
    return np.column_stack([scaled_rotation, centre_t - scaled_rotation @ centre_s])


def align(landmarks: Array) -> NDArray[np.float64]:
    """The alignment `(2, 3)` of a face, from frame pixels to face space.

    Args:
        landmarks: `(478, 2 or 3)`, frame px.

    Raises:
        GeometryError: all landmarks coincide.
    """
    return similarity(
        landmarks[STABLE_POINTS, :2].astype(np.float64), mean_mesh()[STABLE_POINTS, :2].astype(np.float64)
    )


def crop_matrix(alignment: Array, coverage: Coverage, size: int, margin: float = 1.0) -> NDArray[np.float64]:
    """The transform from frame pixels to crop pixels.

    Args:
        alignment: `(2, 3)` frame px to face space.
        coverage: how much of the head the crop shows.
        size: side of the crop in px.
        margin: factor by which to enlarge the coverage's square about its centre.

    Returns:
        `(2, 3)` frame px to crop px, for a warp to `(size, size)`.

    >>> crop_matrix(np.eye(2, 3), "full", 100) @ [0.0, 0.527, 1.0]  # the square's centre maps to the crop's
    array([49.5, 49.5])
    """
    square = COVERAGES[coverage]
    scale = size / (square.side * margin)
    offset = np.array([0.0, -square.y]) * scale + (size - 1) / 2
    return np.column_stack([scale * alignment[:, :2], scale * alignment[:, 2] + offset])


def crop_side(alignment: Array, coverage: Coverage) -> float:
    """Side in frame px of the square that a crop covers, which is the crop's native size.

    >>> round(crop_side(0.5 * np.eye(2, 3), "full"), 3)
    5.882
    """
    return COVERAGES[coverage].side / float(np.sqrt(abs(np.linalg.det(alignment[:, :2]))))


def hull_mask(landmarks: Array, size: int, forehead: float = 1.0) -> NDArray[np.uint8]:
    """Mask of the face in a crop: the outline of the mesh, extended over the forehead.

    Args:
        landmarks: `(478, 2 or 3)` in crop px.
        size: side of the crop in px.
        forehead: upper limit, from 0 (just above the brows) to 1 (about the hairline).

    Returns:
        `(size, size)`, 255 inside and 0 outside, anti-aliased.
    """
    rim = landmarks[OVAL_POINTS, :2].astype(np.float64)  # (36, 2)
    root = landmarks[168, :2].astype(np.float64)
    up = landmarks[10, :2] - root
    height = np.clip((rim - root) @ up / max(float(up @ up), 1e-9), 0, None)  # 1 at the upper edge of the mesh
    lift = forehead * (1 + FOREHEAD_HEIGHT - BROW_HEIGHT) + BROW_HEIGHT - 1  # relative to that height
    raised = rim + lift * (height**2)[:, None] * up
    fixed_point = cv2.convexHull(np.round(raised * 16).astype(np.int32))
    mask = np.zeros((size, size), np.uint8)
    return cv2.fillConvexPoly(mask, fixed_point, 255, lineType=cv2.LINE_AA, shift=4).astype(np.uint8)


def feature_mask(landmarks: Array, size: int) -> NDArray[np.uint8]:
    """Soft mask of the eyes and mouth in a crop, with the skin that moves with them.

    Args:
        landmarks: `(478, 2 or 3)` in crop px.
        size: side of the crop in px.

    Returns:
        `(size, size)` in 0 to 255.
    """
    mask = np.zeros((size, size), np.uint8)
    for outline in FEATURE_OUTLINES:
        points = np.round(landmarks[list(outline), :2] * 16).astype(np.int32)
        cv2.fillConvexPoly(mask, cv2.convexHull(points), 255, lineType=cv2.LINE_AA, shift=4)
    radius = FEATURE_MARGIN * float(np.linalg.norm(landmarks[PUPILS[0], :2] - landmarks[PUPILS[1], :2]))
    side = 2 * max(1, round(radius)) + 1
    mask = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))
    return cv2.GaussianBlur(mask, (0, 0), max(0.5, radius / 2)).astype(np.uint8)


def transform(matrix: Array, points: Array) -> Array:
    """Apply a `(2, 3)` matrix to points `(..., 2)`.

    >>> transform(np.array([[2.0, 0, 1], [0, 2, 0]]), np.array([[1.0, 1.0]]))
    array([[3., 2.]])
    """
    return points @ matrix[:, :2].T + matrix[:, 2]


def compose(second: Array, first: Array) -> Array:
    """The `(2, 3)` matrix that applies `first`, then `second`.

    >>> compose(np.array([[1.0, 0, 5], [0, 1, 0]]), np.array([[2.0, 0, 0], [0, 2, 0]]))
    array([[2., 0., 5.],
           [0., 2., 0.]])
    """
    return np.column_stack([second[:, :2] @ first[:, :2], second[:, :2] @ first[:, 2] + second[:, 2]])


def invert(matrix: Array) -> Array:
    """The inverse of a `(2, 3)` matrix.

    >>> compose(invert(np.array([[2.0, 0, 4], [0, 2, 6]])), np.array([[2.0, 0, 4], [0, 2, 6]]))
    array([[1., 0., 0.],
           [0., 1., 0.]])
    """
    linear = np.linalg.inv(matrix[:, :2])
    return np.column_stack([linear, -linear @ matrix[:, 2]])


def transform_landmarks(matrix: Array, landmarks: Array) -> NDArray[np.float32]:
    """Apply a similarity `(2, 3)` to landmarks `(478, 3)`, scaling z accordingly."""
    scale = np.sqrt(abs(np.linalg.det(matrix[:, :2])))
    return np.column_stack([transform(matrix, landmarks[:, :2]), landmarks[:, 2] * scale]).astype(np.float32)
