"""Cropping aligned faces at head coverage and native size."""

import cv2
import numpy as np
from numpy.typing import NDArray

from visagist.faces import Face, crop_matrix, crop_side, invert, transform
from visagist.media import Frame, Region

MARGIN = 1.2  # crop side / head square, so that `whole` can be shifted and scaled by a quarter in training
MAX_SIDE = 2048  # px of a crop; gives `full` 914 px, where a 512 px network with its margin needs 640
MAX_CUBIC_SIDE = 512  # px; crops up to this size are warped bicubically to keep small faces sharp, others bilinearly


def crop_face(frame: Frame, face: Face, max_side: int = MAX_SIDE) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """Crop a face at head coverage and native size, scaled down to at most `max_side` px.

    Returns:
        `(S, S, 3)` uint8 RGB with S even, and the `(2, 3)` matrix from frame px to crop px.
    """
    side = 2 * min(max_side // 2, round(crop_side(face.alignment, "head") * MARGIN / 2))
    matrix = crop_matrix(face.alignment, "head", side, MARGIN)
    if side > MAX_CUBIC_SIDE:
        return cv2.convertScaleAbs(frame.warp(matrix, (side, side)), alpha=255).astype(np.uint8, copy=False), matrix
    corners = transform(invert(matrix), np.array([[0, 0], [side, 0], [0, side], [side, side]], np.float64))
    limits = np.array([frame.width, frame.height])
    x0, y0 = (int(v) for v in np.clip(np.floor(corners.min(0)) - 4, 0, limits - 2))
    x1, y1 = (int(v) for v in np.clip(np.ceil(corners.max(0)) + 4, [x0 + 1, y0 + 1], limits))
    part = cv2.convertScaleAbs(
        frame.rgb(Region(x0, y0, x1, y1)), alpha=255
    )  # cubic warps are five times as fast on uint8
    shifted = np.column_stack([matrix[:, :2], matrix[:, 2] + matrix[:, :2] @ [x0, y0]])
    crop = cv2.warpAffine(part, shifted, (side, side), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(crop, np.uint8), matrix
