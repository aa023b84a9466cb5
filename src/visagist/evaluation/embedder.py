"""dlib's face embedding (Davis King, CC0), an independent measure of identity because training never uses it.

Its cosines lie close together. Over 20 people (yaw below 45 degrees), pairs of faces of the same person have 0.93 to
1.00 (1st percentile to maximum, median 0.98), of different people 0.75 to 0.92 (minimum to 99th percentile, median
0.85).
"""

import numpy as np
from numpy.typing import NDArray

from visagist.core.errors import GeometryError
from visagist.faces import mean_embedding
from visagist.faces.identity import LEFT_EYE, RIGHT_EYE
from visagist.media import Frame
from visagist.zoo.sessions import session

SIDE = 150  # px, the network's input
CENTRE = (0.5, 0.43)  # of the side; position of the mean of both eyes and the mouth
DISTANCE = 0.45  # of the side, from eye to mouth
LIPS = (61, 146, 91, 181, 84, 17, 314, 405, 321, 375, 291, 409, 270, 269, 267, 0, 37, 39, 40, 185)
# Between mean directions: at most 0.936 for different people (95th percentile 0.919), at least 0.975 for the same one.
SAME_PERSON = 0.93


def chip_matrix(landmarks: NDArray[np.floating]) -> NDArray[np.float64]:
    """`(2, 3)` matrix from frame px to px of the network's upright 150 px input.

    Raises:
        GeometryError: eyes or eyes and mouth coincide.
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
    """Embedding `(128,)`, unit length, of the face at `landmarks` `(478, 2 or 3)` px; 11 ms per face and thread.

    Raises:
        GeometryError: eyes or eyes and mouth coincide.
    """
    chip = frame.warp(chip_matrix(landmarks), (SIDE, SIDE))  # (150, 150, 3) RGB in [0, 1]
    tensor = np.ascontiguousarray(chip.transpose(2, 0, 1)[None] * np.float32(255))  # (1, 3, 150, 150)
    (found,) = session("dlib", threads=1).run(None, {"input": tensor})
    vector = np.asarray(found, np.float32).reshape(128)
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


def mean_direction(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Mean direction `(128,)`, unit length, of embeddings `(N, 128)`, ignoring rows of NaN; NaN if no other is left.

    >>> mean_direction(np.array([[1.0, 0.0], [np.nan, np.nan], [0.0, 1.0]], np.float32))
    array([0.70710677, 0.70710677], dtype=float32)
    """
    known = embeddings[np.isfinite(embeddings).all(1)]
    if len(known) == 0:
        return np.full(embeddings.shape[1], np.nan, np.float32)
    return mean_embedding(known, np.ones(len(known), np.float32))


def is_same_person(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    """Whether two mean directions `(128,)` may belong to the same person; False if either is NaN.

    Wrong for 2 of 190 pairs of different people.
    """
    return bool(one @ other >= SAME_PERSON)
