"""Focal frequency loss, which is dominated by the worst frequencies."""

import torch
from torch import Tensor

from visagist.training.losses.registry import FacePrediction, loss


@loss(
    maximum=1000.0,
    help="Difference of the spectra, worst frequencies first. Try 50 if skin stays smooth in long trainings.",
)
def focal_frequency(faces: FacePrediction) -> Tensor:
    """Mean squared distance of orthonormal spectra, each frequency weighted by its own distance, `(B,)`.

    Jiang, Dai, Wu and Loy 2021, "Focal Frequency Loss for Image Reconstruction and Synthesis", with a window around the
    face; weights above 1, at eyes and mouth, would put sharp steps into the spectrum.
    """
    window = faces.weights.clamp_max(1)
    spectrum = torch.fft.rfft2(
        (faces.rgb - faces.truth) * window, norm="ortho"
    )  # (B, C, H, W/2 + 1): the spectrum is linear
    distance = spectrum.real**2 + spectrum.imag**2
    with torch.no_grad():
        weight = distance.sqrt()
        weight = weight / weight.amax((-2, -1), keepdim=True).clamp_min(1e-12)
        weight[..., 1 : (window.shape[-1] + 1) // 2] *= 2  # columns that also represent their mirror image
    return (weight * distance).sum((1, 2, 3)) / (window.sum((1, 2, 3)) * faces.rgb.shape[1]).clamp_min(1e-6)
