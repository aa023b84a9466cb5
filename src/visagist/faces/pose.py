"""Head pose and facial expression from landmarks.

Angles are in degrees, relative to the mean frontal face. Positive yaw points the nose to the right of the picture,
positive pitch up, and positive roll tilts the head clockwise. Yaw about the head's vertical axis is applied first, then
pitch, then roll in the image plane.
"""

import numpy as np
from numpy.typing import NDArray

from visagist.core.errors import GeometryError
from visagist.faces.align import STABLE_POINTS, mean_mesh
from visagist.zoo.sessions import session

POSE_POINTS = (*STABLE_POINTS, 127, 356, 234, 454, 10)  # with points near ears and hairline for depth

BLENDSHAPE_POINTS = (
    *(0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67, 70, 78),
    *(80, 81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146, 148, 149, 150, 152),
    *(153, 154, 155, 157, 158, 159, 160, 161, 162, 163, 168, 172, 173, 176, 178, 181, 185, 191, 195, 197, 234, 246),
    *(249, 251, 263, 267, 269, 270, 276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312),
    *(314, 317, 318, 321, 323, 324, 332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380, 381),
    *(382, 384, 385, 386, 387, 388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454, 466, 468, 469, 470, 471, 472),
    *(473, 474, 475, 476, 477),
)
BLENDSHAPE_NAMES = (
    "_neutral", "browDownLeft", "browDownRight", "browInnerUp", "browOuterUpLeft", "browOuterUpRight", "cheekPuff",
    "cheekSquintLeft", "cheekSquintRight", "eyeBlinkLeft", "eyeBlinkRight", "eyeLookDownLeft", "eyeLookDownRight",
    "eyeLookInLeft", "eyeLookInRight", "eyeLookOutLeft", "eyeLookOutRight", "eyeLookUpLeft", "eyeLookUpRight",
    "eyeSquintLeft", "eyeSquintRight", "eyeWideLeft", "eyeWideRight", "jawForward", "jawLeft", "jawOpen", "jawRight",
    "mouthClose", "mouthDimpleLeft", "mouthDimpleRight", "mouthFrownLeft", "mouthFrownRight", "mouthFunnel",
    "mouthLeft", "mouthLowerDownLeft", "mouthLowerDownRight", "mouthPressLeft", "mouthPressRight", "mouthPucker",
    "mouthRight", "mouthRollLower", "mouthRollUpper", "mouthShrugLower", "mouthShrugUpper", "mouthSmileLeft",
    "mouthSmileRight", "mouthStretchLeft", "mouthStretchRight", "mouthUpperUpLeft", "mouthUpperUpRight",
    "noseSneerLeft", "noseSneerRight",
)  # fmt: skip


def head_rotation(yaw: float, pitch: float, roll: float) -> NDArray[np.float64]:
    """Rotation matrix `(3, 3)` from the mean face (x right, y down, z away) to a pose in degrees.

    >>> nose = np.array([0, 0, -1.0])  # towards the viewer
    >>> (head_rotation(90, 0, 0) @ nose).round(6) + 0.0  # yaw: to the right
    array([1., 0., 0.])
    >>> (head_rotation(0, 90, 0) @ nose).round(6) + 0.0  # pitch: up
    array([ 0., -1.,  0.])
    """
    y, p, r = -np.radians(yaw), -np.radians(pitch), np.radians(roll)
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), -np.sin(p)], [0, np.sin(p), np.cos(p)]])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    return about_z @ about_x @ about_y


def head_pose(landmarks: NDArray[np.floating]) -> NDArray[np.float32]:
    """Yaw, pitch and roll `(3,)` in degrees of landmarks `(478, 3)`.

    From a least-squares 3D similarity (Umeyama 1991) between the mean face and points that hardly move with expression.

    Raises:
        GeometryError: all landmarks coincide.
    """
    source = mean_mesh()[POSE_POINTS, :].astype(np.float64)
    target = landmarks[POSE_POINTS, :].astype(np.float64)
    source, target = source - source.mean(0), target - target.mean(0)
    if not (target**2).sum() > 0:
        raise GeometryError(f"cannot compute the pose of {len(landmarks)} landmarks that all coincide")
    u, _, vt = np.linalg.svd(target.T @ source)
    r = u * np.array([1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt
    pitch = np.arcsin(np.clip(r[2, 1], -1, 1))
    angles = [-np.arctan2(-r[2, 0], r[2, 2]), -pitch, np.arctan2(-r[0, 1], r[1, 1])]
    return np.degrees(angles).astype(np.float32)


def blendshapes(landmarks: NDArray[np.floating], roll: float) -> NDArray[np.float32]:
    """The 52 ARKit coefficients (see `BLENDSHAPE_NAMES`), 0..1, from landmarks `(478, 3)` and roll in degrees."""
    turn = head_rotation(0, 0, -roll)[:2, :2]  # the model expects upright heads
    points = (landmarks[BLENDSHAPE_POINTS, :2] @ turn.T).astype(np.float32)
    (found,) = session("blendshapes", threads=1).run(None, {"serving_default_input_points:0": points[None]})
    return np.asarray(found, np.float32).reshape(52)
