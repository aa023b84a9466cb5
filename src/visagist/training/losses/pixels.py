"""Weights of pixels, and means under them."""

from torch import Tensor


def face_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Mean of `(B, C, H, W)` values under `(B, 1, H, W)` weights, one per face."""
    return (values * weights).sum((1, 2, 3)) / (weights.sum((1, 2, 3)) * values.shape[1]).clamp_min(1e-6)


def pixel_weights(hull: Tensor, importance: Tensor, outside: float, eyes_mouth: float, masked: bool) -> Tensor:
    """Weight of each pixel, >= 0.

    Args:
        hull: `(B, 1, H, W)` in [0, 1].
        importance: `(B, 1, H, W)` in [0, 1]: 1 at eyes and mouth, 0 on plain skin.
        outside: weight outside the hull, if masked; plain skin has 1 more.
        eyes_mouth: additional weight of importance 1.
        masked: whether pixels outside the hull weigh less than skin.

    >>> import torch
    >>> pixel_weights(torch.tensor([0.0, 1.0, 1.0]), torch.tensor([0.0, 0.0, 1.0]), 0.25, 8.0, True).tolist()
    [0.25, 1.25, 9.25]
    """
    if not masked:
        return 1 + hull * (eyes_mouth * importance)
    return outside + hull * (1 + eyes_mouth * importance)
