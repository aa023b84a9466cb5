"""Focal frequency loss: the worst predicted frequencies weigh most."""

import torch
from torch import Tensor

from visagist.training.losses.registry import FacePrediction, loss


@loss(
    maximum=1000.0,
    help="Difference of the spectra, worst frequencies first. Try 50 if skin stays smooth however long you train.",
)
def focal_frequency(faces: FacePrediction) -> Tensor:
    """`spectral_distance` of the faces, `(B,)`."""
    # Weights above 1, at eyes and mouth, would put sharp steps into the spectrum.
    return spectral_distance(faces.rgb, faces.truth, faces.weights.clamp_max(1))


def spectral_distance(x: Tensor, y: Tensor, window: Tensor, alpha: float = 1.0) -> Tensor:
    """Mean squared distance of two images' orthonormal spectra, each frequency weighted by its own distance.

    Jiang, Dai, Wu and Loy 2021, "Focal Frequency Loss for Image Reconstruction and Synthesis".

    Args:
        x: `(B, C, H, W)` in [0, 1].
        y: the same shape.
        window: `(B, 1, H, W)` in [0, 1], multiplies the difference; its mean divides the loss. Ones: as published.
        alpha: exponent of the weight; 0 gives the mean squared difference of the pixels.

    Returns:
        `(B,)`, >= 0.
    """
    spectrum = torch.fft.rfft2((x - y) * window, norm="ortho")  # (B, C, H, W/2 + 1): the spectrum is linear
    distance = spectrum.real**2 + spectrum.imag**2
    with torch.no_grad():
        weight = distance.sqrt() ** alpha
        weight = weight / weight.amax((-2, -1), keepdim=True).clamp_min(1e-12)
        weight[..., 1 : (x.shape[-1] + 1) // 2] *= 2  # columns that stand for their mirror image too
    return (weight * distance).sum((1, 2, 3)) / (window.sum((1, 2, 3)) * x.shape[1]).clamp_min(1e-6)
