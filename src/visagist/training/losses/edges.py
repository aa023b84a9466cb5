"""Difference of image gradients, which penalises blur but not a shift in brightness."""

from torch import Tensor

from visagist.training.losses.pixels import face_mean
from visagist.training.losses.registry import FacePrediction, loss


@loss(default=1.0, help="Absolute difference of the image gradients (L1): sharper lids, lashes and teeth.")
def edges(faces: FacePrediction) -> Tensor:
    """`edge_difference`, `(B,)`."""
    return edge_difference(faces.rgb, faces.truth, faces.weights)


def edge_difference(x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """Mean absolute difference of the gradients of `(B, C, H, W)` images, `(B,)`."""
    difference = x - y
    across = face_mean((difference[..., 1:] - difference[..., :-1]).abs(), weights[..., 1:])
    down = face_mean((difference[..., 1:, :] - difference[..., :-1, :]).abs(), weights[..., 1:, :])
    return (across + down) / 2
