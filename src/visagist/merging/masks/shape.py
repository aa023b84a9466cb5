"""Operations on masks. Sizes are percentages of the side, and thus independent of the resolution."""

import cv2
import numpy as np

from visagist.merging.masks import Mask


def grow(mask: Mask, percent: float) -> Mask:
    """Grow a mask, or shrink it if `percent` is negative.

    Args:
        mask: `(S, S)` float32 in [0, 1]; everything beyond its border counts as 0.
        percent: of S.
    """
    side = len(mask)
    radius = round(2 * abs(percent * side / 100))  # in half pixels: at 128 px, whole ones are too coarse
    if radius == 0:
        return mask
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    operation = cv2.MORPH_DILATE if percent > 0 else cv2.MORPH_ERODE
    doubled = cv2.resize(mask, (2 * side, 2 * side), interpolation=cv2.INTER_LINEAR)
    result = cv2.morphologyEx(doubled, operation, disc, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return cv2.resize(result, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32)


def sharpen(learned: Mask) -> Mask:
    """Steepen the blurred edge of a mask predicted by a network, without moving it."""
    return np.clip((learned - 0.25) * 2.0, 0.0, 1.0).astype(np.float32)


def feather(mask: Mask, percent: float) -> Mask:
    """Soften the edge of a mask towards the inside, and fade it out before the border of the crop.

    Args:
        mask: `(S, S)` float32 in [0, 1].
        percent: visible width of the soft edge in % of S, 0 or more.

    Returns:
        `(S, S)` float32 in [0, 1], exactly 0 at the border.

    >>> mask = np.zeros((64, 64), np.float32)
    >>> mask[16:48, 16:48] = 1
    >>> soft = feather(mask, 6.0)
    >>> float(soft[32, 32].round(3)), float(soft[32, 13]), float(soft[:, 0].max())
    (1.0, 0.0, 0.0)
    """
    side = len(mask)
    mask = grow(mask, -percent / 2).copy()
    # A mask cut off by the crop must fade out too, or the crop's border shows as a straight line.
    margin = max(1, round(percent / 2 * side / 100))
    mask[:margin], mask[-margin:], mask[:, :margin], mask[:, -margin:] = 0, 0, 0, 0
    sigma = percent * side / 100 / 4  # +-2 sigma of the ramp are visible
    if sigma > 0.3:
        radius = max(1, min(margin, round(2.5 * sigma)))
        soft = cv2.GaussianBlur(mask, (2 * radius + 1, 2 * radius + 1), sigma)
        mask = np.clip(soft, 0, 1).astype(np.float32)  # rounding exceeds 1
    mask[0], mask[-1], mask[:, 0], mask[:, -1] = 0, 0, 0, 0
    return mask
