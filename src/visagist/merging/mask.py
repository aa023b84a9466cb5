"""Where the predicted face replaces the frame's own.

- `blend_mask`: landmark hull times predicted mask, eroded, feathered, and zero at the crop's border
Sizes are in per cent of the crop's side, so that one setting looks the same at every resolution.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.float32]


def blend_mask(hull: Mask, predicted: Mask, erode: float, feather: float) -> Mask:
    """The weight of the predicted face at each pixel of the crop.

    The hull is pulled in by `erode` (pushed out where negative) and multiplied by the predicted mask, which stays as it
    is: outside of it the network painted the source's background. The product is pulled in by half the feather, so that
    the soft edge lies inside, and softened by a Gaussian whose visible width is `feather`.

    Args:
        hull: `(S, S)` float32 in [0, 1], the landmark hull in the target's crop.
        predicted: `(S, S)` float32 in [0, 1], the network's own mask.
        erode: per cent of S.
        feather: per cent of S, 0 or more.

    Returns:
        `(S, S)` float32 in [0, 1], exactly 0 at the border of the crop.

    >>> hull = np.zeros((64, 64), np.float32); hull[16:48, 16:48] = 1
    >>> mask = blend_mask(hull, np.ones_like(hull), erode=0.0, feather=6.0)
    >>> float(mask[32, 32].round(3)), float(mask[32, 13]), float(mask[:, 0].max())
    (1.0, 0.0, 0.0)
    """
    side = hull.shape[0]
    # The networks' masks are blurred at the edge; keep the middle.
    sharp = np.clip((predicted - 0.25) * 2.0, 0.0, 1.0).astype(np.float32)
    mask = _grow(_grow(hull, -erode * side / 100) * sharp, -feather / 2 * side / 100)
    # A hull that is cut by the crop must fade out too, else the crop's edge shows as a straight line.
    margin = max(1, round(feather / 2 * side / 100))
    mask[:margin], mask[-margin:], mask[:, :margin], mask[:, -margin:] = 0, 0, 0, 0
    sigma = feather * side / 100 / 4  # +-2 sigma is what the eye sees of the ramp
    if sigma > 0.3:
        radius = max(1, min(margin, round(2.5 * sigma)))
        mask = np.clip(cv2.GaussianBlur(mask, (2 * radius + 1, 2 * radius + 1), sigma), 0, 1)  # it rounds above 1
    mask[0], mask[-1], mask[:, 0], mask[:, -1] = 0, 0, 0, 0
    return mask.astype(np.float32)


def _grow(mask: Mask, pixels: float) -> Mask:
    radius = round(2 * abs(pixels))  # half pixels: at 128 px a whole one is much
    if radius == 0:
        return mask
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    operation = cv2.MORPH_DILATE if pixels > 0 else cv2.MORPH_ERODE
    side = len(mask)
    doubled = cv2.resize(mask, (2 * side, 2 * side), interpolation=cv2.INTER_LINEAR)
    # Outside the crop counts as outside the face.
    grown = cv2.morphologyEx(doubled, operation, disc, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return cv2.resize(grown, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32)
