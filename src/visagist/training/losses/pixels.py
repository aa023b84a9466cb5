"""Pixel weights and weighted means."""

from torch import Tensor


def face_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean of `(B, C, H, W)` values for each face, `(B,)`; weights are `(B, 1, H, W)`."""
    return (values * weights).sum((1, 2, 3)) / (weights.sum((1, 2, 3)) * values.shape[1]).clamp_min(1e-6)


def pixel_weights(hull: Tensor, importance: Tensor, outside: float, eyes_mouth: float, masked: bool) -> Tensor:
    """Pixel weights >= 0 from hull and importance, all `(B, 1, H, W)`; hull and importance are in [0, 1].

    Plain skin has weight 1, eyes and mouth (importance 1) `eyes_mouth` more, and the outside of the hull `outside` if
    `masked`, otherwise 1.
    """
    if not masked:
        return 1 + hull * (eyes_mouth * importance)
    return outside + hull * (1 + eyes_mouth * importance)
