"""Weights of pixels, and means under them."""

from torch import Tensor


def face_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Mean of `(B, C, H, W)` values under `(B, 1, H, W)` weights, one per face."""
    return (values * weights).sum((1, 2, 3)) / (weights.sum((1, 2, 3)) * values.shape[1]).clamp_min(1e-6)


def pixel_weights(hull: Tensor, importance: Tensor, outside: float, eyes_mouth: float, masked: bool) -> Tensor:
    """Weight of each pixel, >= 0, from hull and importance, `(B, 1, H, W)` in [0, 1].

    Pixels outside the hull weigh `outside` if `masked`, otherwise as much as plain skin; pixels of importance 1, eyes
    and mouth, weigh `eyes_mouth` more.
    """
    if not masked:
        return 1 + hull * (eyes_mouth * importance)
    return outside + hull * (1 + eyes_mouth * importance)
