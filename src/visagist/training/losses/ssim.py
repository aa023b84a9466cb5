"""Structural similarity, as a loss and as a validation metric.

Wang et al. 2004, "Image Quality Assessment: From Error Visibility to Structural Similarity".
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from visagist.training.losses.pixels import face_mean

SIGMA, RADIUS = 1.5, 5  # px, of the Gaussian window


def ssim_map(x: Tensor, y: Tensor) -> Tensor:
    """Structural similarity of `(B, C, H, W)` images in [0, 1] for all windows that fit inside.

    Returns `(B, C, H - 10, W - 10)` in [-1, 1].
    """
    # The window means of y need no gradient; computing them separately halves the backward pass.
    mean_x, mean_squares, mean_xy = _window_means(torch.cat([x, x * x + y * y, x * y], 1)).chunk(3, 1)
    mean_y = _window_means(y)
    product, squares = mean_x * mean_y, mean_x**2 + mean_y**2
    c1, c2 = 0.01**2, 0.03**2
    return (2 * product + c1) * (2 * (mean_xy - product) + c2) / ((squares + c1) * (mean_squares - squares + c2))


def _window_means(x: Tensor) -> Tensor:
    """Means in the Gaussian window, `(B, C, H - 10, W - 10)`."""
    channels = x.shape[1]
    offsets = torch.arange(-RADIUS, RADIUS + 1, device=x.device, dtype=x.dtype)
    window = torch.exp(-0.5 * (offsets / SIGMA) ** 2)
    window = (window / window.sum()).expand(channels, 1, -1)  # (C, 1, 11)
    x = F.conv2d(x.contiguous(memory_format=torch.channels_last), window[..., None], groups=channels)
    return F.conv2d(x, window[..., None, :], groups=channels)


def _inner(weights: Tensor) -> Tensor:
    """Crop `(B, 1, H, W)` weights to the size of `ssim_map`."""
    return weights[..., RADIUS:-RADIUS, RADIUS:-RADIUS]


def multiscale_dssim(x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """Structural dissimilarity, (1 - SSIM) / 2, averaged over scales, each with half the weight of the finer one.

    Unlike in the product of Wang et al. 2003, "Multiscale structural similarity", no scale can suppress the others.
    Larger images have more scales, so that the window of 11 px is large enough to locate an eye.

    Images are `(B, C, H, W)` in [0, 1], H and W at least 22; weights are `(B, 1, H, W)` >= 0. Returns `(B,)`, 0 for
    equal images, at most 1.
    """
    side = min(x.shape[-2:])
    scales = 2 + (side >= 256) + (side >= 512)
    total = 2 ** (scales - 1) * face_mean(1 - ssim_map(x, y), _inner(weights))
    for part in reversed(range(scales - 1)):
        x, y, weights = (F.avg_pool2d(image, 2) for image in (x, y, weights))
        total = total + 2**part * face_mean(1 - ssim_map(x, y), _inner(weights))
    return total / (2 * (2**scales - 1))


def masked_ssim(x: Tensor, y: Tensor, hull: Tensor) -> float:
    """Mean SSIM inside the hull (> 0.5), averaged over faces."""
    return face_mean(ssim_map(x, y), _inner((hull > 0.5).float())).mean().item()


def masked_psnr(x: Tensor, y: Tensor, hull: Tensor) -> float:
    """Peak signal-to-noise ratio in dB inside the hull (> 0.5), averaged over faces; at most 100."""
    error = face_mean((x - y) ** 2, (hull > 0.5).float())
    return (-10 * torch.log10(error.clamp_min(1e-10))).mean().item()
