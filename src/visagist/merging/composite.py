"""Compositing: frame + unwarp(mask) * (unwarp(face) - frame), added to the frame's own planes inside one rectangle.

Samples outside the rectangle are never converted; inside it, a sample changes only where the mask is above 0.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from visagist.media import Frame, Region

# Weights below this make no visible difference. Zeroing them leaves the samples around the face untouched.
MIN_WEIGHT = 1 / 512


def composite(
    frame: Frame, face: NDArray[np.float32], mask: NDArray[np.float32], matrix: NDArray[np.floating]
) -> tuple[Frame, NDArray[np.float32], Region | None]:
    """Add the difference between `face` and the frame, weighted by `mask`.

    Args:
        frame: frame of the target.
        face: `(S, S, 3)` float32 sRGB in [0, 1].
        mask: `(S, S)` float32 in [0, 1], 0 at its border.
        matrix: `(2, 3)`, frame px to crop px.

    Returns:
        The new frame; the mask as `(h, w)` float32 within the changed rectangle; and that rectangle. If the mask lies
        outside the frame, the rectangle is None and the frame is returned as it was.
    """
    region = _footprint(frame, mask, matrix)
    if region is None:
        return frame, np.zeros((0, 0), np.float32), None
    to_region = np.asarray(matrix, np.float64) @ np.array([[1, 0, region.x0], [0, 1, region.y0], [0, 0, 1]], np.float64)
    size = (region.x1 - region.x0, region.y1 - region.y0)
    inverse = cv2.WARP_INVERSE_MAP
    weight = cv2.warpAffine(mask, to_region, size, flags=cv2.INTER_LINEAR | inverse)
    weight = np.where(weight < MIN_WEIGHT, 0, weight).astype(np.float32)
    shown = cv2.warpAffine(face, to_region, size, flags=cv2.INTER_CUBIC | inverse, borderMode=cv2.BORDER_REPLICATE)
    delta = weight[..., None] * (np.clip(shown, 0, 1) - frame.rgb(region))
    return frame.add(region, delta), weight, region


def _footprint(frame: Frame, mask: NDArray[np.float32], matrix: NDArray[np.floating]) -> Region | None:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    x0, x1, y0, y1 = columns[0] - 1, columns[-1] + 1, rows[0] - 1, rows[-1] + 1
    corners = np.array([[[x0, y0], [x1, y0], [x0, y1], [x1, y1]]], np.float64)
    points = cv2.transform(corners, cv2.invertAffineTransform(np.asarray(matrix, np.float64)))[0]
    low = np.maximum(np.floor(points.min(0)).astype(int), 0)
    high = np.minimum(np.ceil(points.max(0)).astype(int) + 1, (frame.width, frame.height))
    return None if (low >= high).any() else Region(int(low[0]), int(low[1]), int(high[0]), int(high[1]))
