"""Means over pixels, and what each pixel counts."""

from torch import Tensor


def face_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Mean of `(B, C, H, W)` values under `(B, 1, H, W)` weights, one per face.

    >>> import torch
    >>> face_mean(torch.tensor([[[[1.0, 5.0]]]]), torch.tensor([[[[3.0, 1.0]]]])).tolist()
    [2.0]
    """
    return (values * weights).sum((1, 2, 3)) / (weights.sum((1, 2, 3)) * values.shape[1]).clamp_min(1e-6)


def pixel_weights(hull: Tensor, importance: Tensor, outside: float, eyes_mouth: float, masked: bool) -> Tensor:
    """What each pixel counts.

    Args:
        hull: `(B, 1, H, W)` in [0, 1].
        importance: `(B, 1, H, W)` in [0, 1]: 1 at eyes and mouth, 0 on plain skin.
        outside: weight of a pixel outside the hull, where plain skin has 1 more.
        eyes_mouth: how much more than plain skin a pixel of importance 1 counts.
        masked: False if a pixel outside the hull counts as much as skin.

    Returns:
        `(B, 1, H, W)` float32, above 0 unless `outside` is 0.

    >>> import torch
    >>> pixel_weights(torch.tensor([0.0, 1.0, 1.0]), torch.tensor([0.0, 0.0, 1.0]), 0.25, 8.0, True).tolist()
    [0.25, 1.25, 9.25]
    """
    if not masked:
        return 1 + hull * (eyes_mouth * importance)
    return outside + hull * (1 + eyes_mouth * importance)
