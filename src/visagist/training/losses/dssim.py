"""Structural dissimilarity at several scales."""

from torch import Tensor

from visagist.training.losses.registry import FacePrediction, loss
from visagist.training.losses.ssim import multiscale_dssim


@loss(default=1.0, help="Structural dissimilarity (DSSIM) at several scales. The main loss: leave it on.")
def dssim(faces: FacePrediction) -> Tensor:
    """`multiscale_dssim`, `(B,)`."""
    return multiscale_dssim(faces.rgb, faces.truth, faces.weights)
