"""Differences of neighbouring pixels: blur costs, a shift of brightness does not."""

from torch import Tensor

from visagist.training.losses.pixels import face_mean
from visagist.training.losses.registry import FacePrediction, loss


@loss(default=1.0, help="Difference of the steps between neighbouring pixels (L1): sharper lids, lashes and teeth.")
def edges(faces: FacePrediction) -> Tensor:
    """Mean absolute difference of the steps, `(B,)`."""
    return edge_difference(faces.rgb, faces.truth, faces.weights)


def edge_difference(x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """Mean absolute difference of the steps between neighbours in `(B, C, H, W)` pictures, one per face.

    >>> import torch
    >>> x = torch.rand(1, 3, 8, 8) / 2
    >>> edge_difference(x, x + 0.3, torch.ones(1, 1, 8, 8)).abs().max().item() < 1e-6
    True
    """
    difference = x - y
    across = face_mean((difference[..., 1:] - difference[..., :-1]).abs(), weights[..., 1:])
    down = face_mean((difference[..., 1:, :] - difference[..., :-1, :]).abs(), weights[..., 1:, :])
    return (across + down) / 2
