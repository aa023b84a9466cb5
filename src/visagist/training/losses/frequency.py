"""Focal frequency loss: the frequencies that a network draws worst count most.

- `focal_frequency`: Jiang, Dai, Wu and Loy 2021, "Focal Frequency Loss for Image Reconstruction and Synthesis"
"""

import torch
from torch import Tensor

from visagist.training.distributed import whole


def focal_frequency(x: Tensor, y: Tensor, window: Tensor, alpha: float = 1.0) -> Tensor:
    """Mean squared distance of two pictures' spectra, each frequency weighed by how far off it is.

    Networks learn low frequencies first and leave fine ones for last; here the weight of a frequency is its own
    distance to the power `alpha`, by the greatest one of that channel of that face, and takes no gradient. Spectra are
    orthonormal (`norm="ortho"`), so that the size of the picture does not matter.

    Args:
        x: `(B, C, H, W)` in [0, 1].
        y: the same shape.
        window: `(B, 1, H, W)` in [0, 1]; ones for the loss as published. It multiplies the difference, and its
            mean divides the loss, as in `batch_mean`, which says what more windows than faces are.
        alpha: how much the worst stand out; 0 makes it the mean squared difference of the pixels.

    Returns:
        A scalar >= 0.

    >>> x, y = torch.rand(2, 1, 3, 16, 16)
    >>> ones = torch.ones(1, 1, 16, 16)
    >>> torch.allclose(focal_frequency(x, y, ones, alpha=0.0), ((x - y) ** 2).mean())  # Parseval
    True
    """
    spectrum = torch.fft.rfft2((x - y) * window[: len(x)], norm="ortho")  # (B, C, H, W/2 + 1): the spectrum is linear
    distance = spectrum.real**2 + spectrum.imag**2
    with torch.no_grad():
        weight = distance.sqrt() ** alpha
        weight = weight / weight.amax((-2, -1), keepdim=True).clamp_min(1e-12)
        weight[..., 1 : (x.shape[-1] + 1) // 2] *= 2  # columns that stand for their mirror image too
    return (weight * distance).sum() / (whole(window.sum()) * x.shape[1]).clamp_min(1e-6)
