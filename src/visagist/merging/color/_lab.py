"""Colour statistics in CIE Lab, shared by `reinhard` and `mean`."""

import cv2
import numpy as np

from visagist.merging.color import Image, Mask

MIN_PIXELS = 16  # inside the mask


def match_lab(predicted: Image, original: Image, mask: Mask, ratio_limits: tuple[float, float]) -> Image:
    """Match the mean and standard deviation of `predicted` to those of `original` inside the mask.

    Args:
        predicted: `(H, W, 3)` float32 sRGB in [0, 1].
        original: `(H, W, 3)` float32 sRGB in [0, 1].
        mask: `(H, W)` float32 in [0, 1].
        ratio_limits: lower and upper limit of the factor by which deviations are scaled.

    Returns:
        `(H, W, 3)` float32 sRGB in [0, 1]; `predicted` itself if the mask covers fewer than 16 pixels.
    """
    inside = mask > 0.5
    if inside.sum() < MIN_PIXELS:
        return predicted
    lab_p = cv2.cvtColor(predicted, cv2.COLOR_RGB2Lab)  # L 0..100, a and b about -127..127
    lab_o = cv2.cvtColor(original, cv2.COLOR_RGB2Lab)
    values_p, values_o = lab_p[inside], lab_o[inside]  # (N, 3)
    mean_p, mean_o = values_p.mean(0), values_o.mean(0)
    ratio = np.clip(values_o.std(0) / np.maximum(values_p.std(0), 1e-3), *ratio_limits)
    matched = (lab_p - mean_p) * ratio + mean_o
    return np.clip(cv2.cvtColor(matched.astype(np.float32), cv2.COLOR_Lab2RGB), 0.0, 1.0)
