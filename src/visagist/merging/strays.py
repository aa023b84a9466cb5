"""Withdraw the mask where the prediction shows background at the rim of the face."""

import cv2
import numpy as np
from numpy.typing import NDArray

from visagist.merging.masks import Image, Mask

STRAY = (0.05, 0.15)  # by how much farther from skin, R'G'B' distance: still skin, no skin any more
STRAY_REACH = 0.06  # of the crop's side, deviation: where the face's colours at a place of the rim are taken from
STRAY_DEPTH = 0.12  # of the crop's side: how far inside the outline strays are looked for
STRAY_SOFT = 0.008  # of the crop's side, deviation
STRAY_GAIN = 2.0


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
