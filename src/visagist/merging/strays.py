"""Removal of mask areas where the prediction shows background, hair or clothing at the edge of the face."""

import cv2
import numpy as np
from numpy.typing import NDArray

from visagist.merging.masks import Image, Mask

# Lengths are fractions of the crop's side; colour distances are in R'G'B' of [0, 1].
SKIN_DISTANCES = (0.05, 0.15)  # excess distance from skin colour at which the mask starts to fade, and at which it ends
COLOR_SIGMA = 0.06  # neighbourhood from which the skin colour near a pixel is estimated
MAX_DEPTH = 0.12  # search depth inside the outline
BLUR_SIGMA = 0.008  # blur of pictures and of the result
GAIN = 2.0


def without_strays(mask: Mask, predicted: Image, original: Image, outline: Mask, eyes: float) -> Mask:
    """Remove background, hair and clothing from the mask where they appear beside cheeks and jaw.

    Faces are aligned by eyes and nose, so if the source's face is narrower than the target's, the network predicts
    what lies beside it, and the learned mask does not exclude that. The frame's own skin is better there: the mask is
    lowered where the prediction differs from the skin colour nearby more than the frame does. This applies near the
    outline and below the eyes only; elsewhere, brows and mouth are expected to differ.

    Args:
        mask: `(S, S)` float32 in [0, 1].
        predicted: `(S, S, 3)` float32 R'G'B' in [0, 1], after the colour transfer.
        original: `(S, S, 3)`, the same region of the frame.
        outline: `(S, S)` float32 in [0, 1], hull of the whole face.
        eyes: px, row of the outer eye corners.

    Returns:
        `(S, S)` float32 in [0, 1], nowhere above `mask`.
    """
    side = len(mask)
    depth = cv2.distanceTransform((outline > 0.5).astype(np.uint8), cv2.DIST_L2, 3) / (MAX_DEPTH * side)
    painted, shown = (
        np.asarray(cv2.GaussianBlur(picture, (0, 0), BLUR_SIGMA * side), np.float32)
        for picture in (predicted, original)
    )
    low, high = SKIN_DISTANCES
    inner = depth > 1
    usual = np.median(painted[inner], 0) if inner.any() else painted.mean((0, 1))
    skin = _local_color(predicted, inner & (_distance(painted, usual) < high), side)  # without brows, eyes and lips
    face = _local_color(predicted, inner, side)  # of skin or beard, which may reach the edge
    excess = np.minimum(_distance(painted, skin), _distance(painted, face)) - _distance(shown, skin)
    stray = np.clip((excess - low) / (high - low), 0, 1) * np.clip(2 - 2 * depth, 0, 1)
    stray *= np.clip((np.arange(side)[:, None] - eyes) / (MAX_DEPTH * side), 0, 1)
    stray = cv2.GaussianBlur(stray.astype(np.float32), (0, 0), BLUR_SIGMA * side)
    return (mask * (1 - np.clip(GAIN * stray, 0, 1))).astype(np.float32)


def _local_color(picture: Image, where: NDArray[np.bool_], side: int) -> Image:
    """Mean colour of the nearby pixels in `where`, `(S, S, 3)`."""
    weight = where.astype(np.float32)
    share = cv2.GaussianBlur(weight, (0, 0), COLOR_SIGMA * side) + np.float32(1e-6)
    return np.asarray(
        cv2.GaussianBlur(picture * weight[..., None], (0, 0), COLOR_SIGMA * side) / share[..., None], np.float32
    )


def _distance(one: Image, other: NDArray[np.floating]) -> NDArray[np.float32]:
    return np.sqrt(((one - other) ** 2).sum(-1)).astype(np.float32)
