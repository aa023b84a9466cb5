"""Identity embeddings with SFace, and the quality of views."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from visagist.faces.align import similarity
from visagist.media import Frame
from visagist.zoo.sessions import session

# ArcFace's five points in 112 x 112: the subject's right eye, left eye, nose tip, right and left mouth corner
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
RIGHT_EYE = (33, 7, 163, 144, 145, 153, 154, 155, 133, 173, 157, 158, 159, 160, 161, 246)
LEFT_EYE = (263, 249, 390, 373, 374, 380, 381, 382, 362, 398, 384, 385, 386, 387, 388, 466)


def five_points(landmarks: NDArray[np.floating]) -> NDArray[np.float64]:
    """Alignment points `(5, 2)` for SFace, from landmarks `(478, 2 or 3)`.

    YuNet's own points are not used because they fail beyond 60 degrees of roll.
    """
    mesh = landmarks[:, :2].astype(np.float64)
    return np.stack(
        [mesh[RIGHT_EYE, :].mean(0), mesh[LEFT_EYE, :].mean(0), (mesh[1] + mesh[4]) / 2, mesh[61], mesh[291]]
    )


def embed(frame: Frame, landmarks: NDArray[np.floating], *, packaged: bool = False) -> NDArray[np.float32]:
    """Unit-length SFace embedding `(128,)` of the face with the given landmarks `(478, 2 or 3)`, frame px.

    The dot product of two embeddings is their similarity: above 0.6 the same person, below 0.35 different people.
    Consent relies on the `packaged` model, even where the user has replaced it.
    """
    matrix = similarity(five_points(landmarks), TEMPLATE)
    crop = frame.warp(matrix, (112, 112))  # (112, 112, 3)
    tensor = np.ascontiguousarray(crop.transpose(2, 0, 1)[None] * np.float32(255))
    (found,) = session("sface", threads=1, packaged=packaged).run(None, {"data": tensor})
    vector = np.asarray(found, np.float32).reshape(128)
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


def embedding_weight(pose: NDArray[np.floating], score: float, width: float, sharp: float) -> float:
    """Reliability of an embedding, in (0, 1].

    Args:
        pose: yaw, pitch, roll in degrees.
        score: mesh score.
        width: face width in px; SFace's similarity to a good view falls to 0.83 at 26 px and 0.59 at 17 px.
        sharp: result of `sharpness`.
    """
    frontal = max(0.0, float(np.cos(np.radians(pose[0])) * np.cos(np.radians(pose[1]))))
    sure = 1 / (1 + np.exp(-(score - 4) / 2))
    return float(np.clip(frontal**2 * sure * min(1.0, (width / 60) ** 2) * (0.2 + sharp), 1e-4, 1))


def mean_embedding(embeddings: NDArray[np.floating], weights: NDArray[np.floating]) -> NDArray[np.float32]:
    """Weighted mean `(128,)` of embeddings `(N, 128)`, normalised to unit length.

    >>> mean_embedding(np.array([[2.0, 0.0], [0.0, 2.0]]), np.array([1.0, 0.0]))
    array([1., 0.], dtype=float32)
    """
    total = (embeddings * weights[:, None]).sum(0)
    return (total / max(float(np.linalg.norm(total)), 1e-9)).astype(np.float32)


def sharpness(crop: NDArray[np.float32]) -> float:
    """Sharpness in [0, 1]: one minus the blur effect of Crete et al. 2007, "The blur effect".

    A box blur of 11 px reduces the differences between neighbouring pixels a lot in a sharp picture and little in a
    blurred one. The axis with the smaller loss counts, so that motion blur is detected.

    Args:
        crop: `(h, w, 3)` RGB in [0, 1], both sides above 11 px. Values are comparable between faces of the same size in
            the crop; enlarged small faces count as blurred.
    """
    luma = crop @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    worst = 0.0
    for axis in (0, 1):
        kernel = (1, 11) if axis else (11, 1)
        soft = cv2.blur(luma, (kernel[1], kernel[0]), borderType=cv2.BORDER_REFLECT)
        before = np.abs(_slope(luma, axis))
        lost = np.maximum(0, before - np.abs(_slope(soft, axis)))
        total = float(before[2:-1, 2:-1].sum())
        worst = max(worst, 1.0 if total == 0 else (total - float(lost[2:-1, 2:-1].sum())) / total)
    return 1 - worst


def _slope(luma: NDArray[Any], axis: int) -> NDArray[Any]:
    """Sobel derivative along an axis."""
    return cv2.Sobel(luma, cv2.CV_32F, axis, 1 - axis, ksize=3, borderType=cv2.BORDER_REFLECT)
