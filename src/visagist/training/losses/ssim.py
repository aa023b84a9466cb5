"""Structural similarity (Wang et al. 2004), as a loss and as a measure of validation faces."""

import torch
from torch import Tensor
from torch.nn import functional as F

from visagist.training.losses.pixels import face_mean

SIGMA = 1.5  # px, of the window of Wang et al.
RADIUS = 5  # px, where that window ends
THIRD, FOURTH = 256, 512  # px: the sides from which a third and a fourth size of the picture are looked at


def ssim_map(x: Tensor, y: Tensor) -> Tensor:
    """Structural similarity of two pictures around each pixel whose whole window lies inside.

    Args:
        x: `(B, C, H, W)` in [0, 1], H and W > 10.
        y: the same shape.

    Returns:
        `(B, C, H - 10, W - 10)` in [-1, 1]; 1 where the windows are equal.

    >>> x = torch.rand(1, 3, 16, 16)
    >>> ssim_map(x, x).shape, round(ssim_map(x, x).min().item(), 4)
    (torch.Size([1, 3, 6, 6]), 1.0)
    """
    # What depends on x goes apart from the window means of y, which need no way back: less than half the backward work.
    mean_x, mean_squares, mean_xy = windowed(torch.cat([x, x * x + y * y, x * y], 1)).chunk(3, 1)
    mean_y = windowed(y)
    product, squares = mean_x * mean_y, mean_x**2 + mean_y**2
    c1, c2 = 0.01**2, 0.03**2
    return (2 * product + c1) * (2 * (mean_xy - product) + c2) / ((squares + c1) * (mean_squares - squares + c2))


def windowed(x: Tensor) -> Tensor:
    """Means of `(B, C, H, W)` in the Gaussian window around each pixel whose window lies inside, less 10 px a side."""
    channels = x.shape[1]
    offsets = torch.arange(-RADIUS, RADIUS + 1, device=x.device, dtype=x.dtype)
    window = torch.exp(-0.5 * (offsets / SIGMA) ** 2)
    window = (window / window.sum()).expand(channels, 1, -1)  # (C, 1, 11)
    x = F.conv2d(x.contiguous(memory_format=torch.channels_last), window[..., None], groups=channels)
    return F.conv2d(x, window[..., None, :], groups=channels)


def inner(weights: Tensor) -> Tensor:
    """The part of `(B, 1, H, W)` weights that `ssim_map` has values for."""
    return weights[..., RADIUS:-RADIUS, RADIUS:-RADIUS]


def scales(side: int) -> int:
    """How many scales, each half the one before, compare pictures of `side` px.

    The window of 11 px shows a twelfth of a 128 px face and a fiftieth of a 512 px one: larger pictures need more
    halvings until it shows where an eye is.

    >>> [scales(side) for side in (64, 128, 256, 448, 512, 640)]
    [2, 2, 3, 3, 4, 4]
    """
    return 2 + (side >= THIRD) + (side >= FOURTH)


def multiscale_dssim(x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """Structural dissimilarity, (1 - SSIM) / 2, summed over scales.

    Each scale counts half as much as the finer one. A sum rather than the product of Wang et al. 2003, "Multiscale
    structural similarity": no scale can silence the others while faces are still unlike.

    Args:
        x: `(B, C, H, W)` in [0, 1], H and W at least 22.
        y: the same shape.
        weights: `(B, 1, H, W)` >= 0.

    Returns:
        `(B,)`, 0 for equal pictures, at most 1.

    >>> x = torch.rand(1, 3, 32, 32)
    >>> abs(round(multiscale_dssim(x, x, torch.ones(1, 1, 32, 32)).item(), 5))
    0.0
    """
    count = scales(min(x.shape[-2:]))
    total = 2 ** (count - 1) * face_mean(1 - ssim_map(x, y), inner(weights))
    for part in reversed(range(count - 1)):
        x, y, weights = (F.avg_pool2d(picture, 2) for picture in (x, y, weights))
        total = total + 2**part * face_mean(1 - ssim_map(x, y), inner(weights))
    return total / (2 * (2**count - 1))


def masked_ssim(x: Tensor, y: Tensor, hull: Tensor) -> float:
    """Mean over the faces of the SSIM map inside the hull (> 0.5)."""
    return face_mean(ssim_map(x, y), inner((hull > 0.5).float())).mean().item()


def masked_psnr(x: Tensor, y: Tensor, hull: Tensor) -> float:
    """Mean over the faces of the peak signal-to-noise ratio in dB inside the hull (> 0.5); at most 100.

    >>> round(masked_psnr(torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), 0.1), torch.ones(1, 1, 4, 4)), 2)
    20.0
    """
    error = face_mean((x - y) ** 2, (hull > 0.5).float())
    return (-10 * torch.log10(error.clamp_min(1e-10))).mean().item()
