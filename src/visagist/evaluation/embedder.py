"""dlib's face embedding (Davis King, CC0), which no training here ever sees.

A swapper trained with SFace in its loss is praised for it by SFace; dlib's network has other training pictures and
another loss. Its cosines lie close together: over 20 people (yaw below 45 degrees) single faces of one person have 0.93
to 1.00 (first percentile to greatest, median 0.98), of two people 0.75 to 0.92 (least to 99th percentile, median 0.85).
"""

import numpy as np
from numpy.typing import NDArray

from visagist.core.errors import GeometryError
from visagist.faces import mean_embedding
from visagist.faces.identity import LEFT_EYE, RIGHT_EYE
from visagist.media import Frame
from visagist.zoo.sessions import session

SIDE = 150  # px, the network's input
CENTRE = (0.5, 0.43)  # of the side, where the mean of both eyes and the mouth lies
DISTANCE = 0.45  # of the side, from eye to mouth
LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
# Between mean directions: greatest of two people 0.936 (95th percentile 0.919), least of one person's halves 0.975.
SAME_PERSON = 0.93


def chip_matrix(landmarks: NDArray[np.floating]) -> NDArray[np.float64]:
    """From frame px to px of the upright 150 px picture that the network looks at, `(2, 3)`.

    Raises:
        GeometryError: eyes and mouth lie in one place.
    """
    mesh = landmarks[:, :2].astype(np.float64)
    right, left, mouth = mesh[RIGHT_EYE, :].mean(0), mesh[LEFT_EYE, :].mean(0), mesh[LIPS, :].mean(0)
    across = left - right
    distance = float(np.linalg.norm(right - mouth) + np.linalg.norm(left - mouth)) / 2
    width = float(np.linalg.norm(across))
    if not (distance > 0 and width > 0):
        raise GeometryError(f"no face to embed: eyes at {right} and {left}, mouth at {mouth}")
    cosine, sine = across / width
    linear = DISTANCE * SIDE / distance * np.array([[cosine, sine], [-sine, cosine]])  # eyes level
    centre = np.array(CENTRE) * SIDE - 0.5  # pixel centres are at integers
    return np.column_stack([linear, centre - linear @ ((right + left + mouth) / 3)])


def embed_independent(frame: Frame, landmarks: NDArray[np.floating]) -> NDArray[np.float32]:
    """The embedding `(128,)`, unit length, of the face at `landmarks` `(478, 2 or 3)` px.

    One at a time: a batch is no faster (11 ms per face and thread).

    Raises:
        GeometryError: eyes and mouth lie in one place.
    """
    chip = frame.warp(chip_matrix(landmarks), (SIDE, SIDE))  # (150, 150, 3) RGB in [0, 1]
    tensor = np.ascontiguousarray(chip.transpose(2, 0, 1)[None] * np.float32(255))  # (1, 3, 150, 150)
    (found,) = session("dlib", threads=1).run(None, {"input": tensor})
    vector = np.asarray(found, np.float32).reshape(128)
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


def mean_direction(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """The mean direction `(128,)`, unit length, of `(N, 128)` without rows of NaN; NaN if there is no other.

    >>> mean_direction(np.array([[1.0, 0.0], [np.nan, np.nan], [0.0, 1.0]], np.float32))
    array([0.70710677, 0.70710677], dtype=float32)
    """
    known = embeddings[np.isfinite(embeddings).all(1)]
    if len(known) == 0:
        return np.full(embeddings.shape[1], np.nan, np.float32)
    return mean_embedding(known, np.ones(len(known), np.float32))


def is_same_person(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    """Whether two mean directions `(128,)` may be one person's; not if either is unknown.

    Of 190 pairs of different people two are taken for one.
    """
    return bool(one @ other >= SAME_PERSON)
