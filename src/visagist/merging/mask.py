"""Where the predicted face replaces the frame's own.

- `blend_mask`: landmark hull times predicted mask, eroded, feathered, and zero at the crop's border
- `without_strays`: less of it where the prediction shows background at the face's rim
Sizes are in per cent of the crop's side, so that one setting looks the same at every resolution.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.float32]
Image = NDArray[np.float32]

STRAY = (0.05, 0.15)  # by how much farther from skin, R'G'B' distance: still skin, no skin any more
STRAY_REACH = 0.06  # of the crop's side, deviation: where the face's colours at a place of the rim are taken from
STRAY_DEPTH = 0.12  # of the crop's side: how far inside the outline strays are looked for
STRAY_SOFT = 0.008  # of the crop's side, deviation
STRAY_GAIN = 2.0


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


def without_strays(mask: Mask, predicted: Image, original: Image, outline: Mask, eyes: float) -> Mask:
    """The mask without what does not belong to the face at its rim beside cheeks and jaw: background, hair, a collar.

    Both people's faces are laid upon each other by eyes and nose. Where the source's is narrower, the network paints
    what lies beside it, and its own mask, learnt from landmarks, does not tell. There the frame's own skin is better.
    So the mask is withdrawn where the prediction is stranger to the face further in than the frame's own picture is;
    only near the outline and below the eyes, because further in and higher up mouth and brows rightly differ.

    Args:
        mask: `(S, S)` float32 in [0, 1].
        predicted: `(S, S, 3)` float32 R'G'B' in [0, 1], matched in colour.
        original: the same of the frame.
        outline: `(S, S)` float32 in [0, 1], the whole face.
        eyes: px, the row below which it is done.

    Returns:
        `(S, S)` float32 in [0, 1], nowhere above `mask`.
    """
    side = len(mask)
    depth = cv2.distanceTransform((outline > 0.5).astype(np.uint8), cv2.DIST_L2, 3) / (STRAY_DEPTH * side)
    painted, shown = (
        np.asarray(cv2.GaussianBlur(picture, (0, 0), STRAY_SOFT * side), np.float32)
        for picture in (predicted, original)
    )
    low, high = STRAY
    inner = depth > 1
    usual = np.median(painted[inner], 0) if inner.any() else painted.mean((0, 1))
    skin = _spread(predicted, inner & (_distance(painted, usual) < high), side)  # neither brows, eyes nor lips
    face = _spread(predicted, inner, side)  # what is near, whatever it is: a beard goes on to the rim
    strange = np.minimum(_distance(painted, skin), _distance(painted, face)) - _distance(shown, skin)
    stray = np.clip((strange - low) / (high - low), 0, 1) * np.clip(2 - 2 * depth, 0, 1)
    stray *= np.clip((np.arange(side)[:, None] - eyes) / (STRAY_DEPTH * side), 0, 1)
    stray = cv2.GaussianBlur(stray.astype(np.float32), (0, 0), STRAY_SOFT * side)
    return (mask * (1 - np.clip(STRAY_GAIN * stray, 0, 1))).astype(np.float32)


def _spread(picture: Image, where: NDArray[np.bool_], side: int) -> Image:
    """At each pixel the mean colour of `where` nearby, `(S, S, 3)`."""
    weight = where.astype(np.float32)
    share = cv2.GaussianBlur(weight, (0, 0), STRAY_REACH * side) + np.float32(1e-6)
    return np.asarray(
        cv2.GaussianBlur(picture * weight[..., None], (0, 0), STRAY_REACH * side) / share[..., None], np.float32
    )


def _distance(one: Image, other: NDArray[np.floating]) -> NDArray[np.float32]:
    return np.sqrt(((one - other) ** 2).sum(-1)).astype(np.float32)


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
