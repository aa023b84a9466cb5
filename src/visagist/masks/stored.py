"""Masks as text of a few kilobytes, which crops carry in their records."""

import base64
import binascii
import io

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from visagist.core.types import Coverage
from visagist.faces import compose, crop_matrix, invert
from visagist.masks.segmentation import CLASSES, INPUT_SIDE, segment
from visagist.media import Frame

COVERAGE: Coverage = "whole"  # of stored masks; nothing is known beyond it
SIDE = 128  # px of stored masks
STEP = 17  # of the 256 values of a byte: sixteen remain
MAX_TEXT = 40_000  # characters

Classes = NDArray[np.float32]  # (S, S, 4), see `CLASSES`


def face_classes(frame: Frame, alignment: NDArray[np.floating]) -> Classes:
    """Classes of the square `COVERAGE` around a face, given its `(2, 3)` matrix from frame px to face space."""
    matrix = crop_matrix(alignment, COVERAGE, INPUT_SIDE)
    return segment(frame.warp(matrix, (INPUT_SIDE, INPUT_SIDE)))


def pack(classes: Classes) -> str:
    """The probabilities of face, hair and occluders as base64 of a PNG of `SIDE` px; the background is what remains."""
    small = cv2.resize(classes[..., :3], (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    coarse = np.rint(np.clip(small, 0, 1) * (255 / STEP)).astype(np.uint8) * STEP
    file = io.BytesIO()
    Image.fromarray(coarse).save(file, "PNG", compress_level=6)
    return base64.b64encode(file.getvalue()).decode()


def unpack(text: str) -> Classes:
    """The classes of `pack`, `(SIDE, SIDE, 4)`.

    Raises:
        ValueError: it is not such a text.
    """
    try:
        with Image.open(io.BytesIO(base64.b64decode(text, validate=True)), formats=["PNG"]) as picture:
            if picture.size != (SIDE, SIDE) or picture.mode != "RGB":
                raise ValueError(f"a mask of {picture.width}x{picture.height} px, {picture.mode}")
            known = np.asarray(picture, np.float32) / 255
    except (OSError, SyntaxError, binascii.Error, Image.DecompressionBombError) as error:
        raise ValueError(f"the mask cannot be read ({type(error).__name__})") from error
    rest = np.clip(1 - known.sum(-1, keepdims=True), 0, 1)
    return np.concatenate([known, rest], -1).astype(np.float32)


def visible_face(
    classes: Classes, alignment: NDArray[np.floating], matrix: NDArray[np.floating], side: int
) -> NDArray[np.float32]:
    """The probability of seeing the face, in another crop.

    Args:
        classes: stored ones.
        alignment: `(2, 3)` px of a picture to face space.
        matrix: `(2, 3)` px of that picture to px of the crop.
        side: of the crop, px.

    Returns:
        `(side, side)` in [0, 1], 0 beyond the stored square.
    """
    place = compose(np.asarray(matrix), invert(crop_matrix(alignment, COVERAGE, len(classes))))
    face = np.ascontiguousarray(classes[..., CLASSES.index("face")])
    return np.asarray(cv2.warpAffine(face, place, (side, side), flags=cv2.INTER_LINEAR), np.float32)
