"""How far a drawn face is from the real one.

- `ssim_map`: structural similarity (Wang et al. 2004) in Gaussian windows, one value a pixel
- `dssim`, `absolute`, `edges`, `mask_error`: what training minimises, each a mean weighted by a map
- `face_loss`: their sum
- `masked_ssim`, `masked_psnr`: what held-out faces are judged by

Pictures are `(B, 3, H, W)` float32 RGB in [0, 1]; weights `(B, 1, H, W)` >= 0, not all zero. Means run over pixels
of all faces together, so that a loss does not depend on how many faces a batch has. All of it is float32: a variance
as the difference of two means does not survive bf16.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

SIGMA = 1.5  # px, of the window of Wang et al.
RADIUS = 5  # px, where that window ends
EDGE_WEIGHT = 1.0
MASK_WEIGHT = 0.5


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
    channels = x.shape[1]
    stack = torch.cat([x, y, x * x, y * y, x * y], 1).contiguous(memory_format=torch.channels_last)  # (B, 5C, H, W)
    offsets = torch.arange(-RADIUS, RADIUS + 1, device=x.device, dtype=x.dtype)
    window = torch.exp(-0.5 * (offsets / SIGMA) ** 2)
    window = (window / window.sum()).expand(5 * channels, 1, -1)  # (5C, 1, 11)
    stack = F.conv2d(stack, window[..., None], groups=5 * channels)
    stack = F.conv2d(stack, window[..., None, :], groups=5 * channels)
    mean_x, mean_y, mean_xx, mean_yy, mean_xy = stack.chunk(5, 1)  # (B, C, H - 10, W - 10)
    product, squares = mean_x * mean_y, mean_x**2 + mean_y**2
    covariance, variances = mean_xy - product, mean_xx + mean_yy - squares
    c1, c2 = 0.01**2, 0.03**2
    return (2 * product + c1) * (2 * covariance + c2) / ((squares + c1) * (variances + c2))


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Mean of `(B, C, H, W)` values under `(B, 1, H, W)` weights, over everything.

    >>> weighted_mean(torch.tensor([[[[1.0, 5.0]]]]), torch.tensor([[[[3.0, 1.0]]]])).item()
    2.0
    """
    return (values * weights).sum() / (weights.sum() * values.shape[1]).clamp_min(1e-6)


def inner(weights: Tensor) -> Tensor:
    """The part of `(B, 1, H, W)` weights that `ssim_map` has values for."""
    return weights[..., RADIUS:-RADIUS, RADIUS:-RADIUS]


def dssim(x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """Structural dissimilarity, (1 - SSIM) / 2, at the pictures' size and at half of it.

    The fine window sees pores and lashes, the coarse one sees where an eyelid is.

    >>> x = torch.rand(1, 3, 32, 32)
    >>> abs(round(dssim(x, x, torch.ones(1, 1, 32, 32)).item(), 5))
    0.0
    """
    fine = weighted_mean(1 - ssim_map(x, y), inner(weights))
    x, y, weights = (F.avg_pool2d(picture, 2) for picture in (x, y, weights))
    coarse = weighted_mean(1 - ssim_map(x, y), inner(weights))
    return (2 * fine + coarse) / 6


def absolute(x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """Mean absolute difference.

    >>> absolute(torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), 0.25), torch.ones(1, 1, 4, 4)).item()
    0.25
    """
    return weighted_mean((x - y).abs(), weights)


def edges(x: Tensor, y: Tensor, weights: Tensor) -> Tensor:
    """Mean absolute difference of the steps between neighbouring pixels: blur costs, a shift of brightness does not.

    >>> x = torch.rand(1, 3, 8, 8) / 2
    >>> round(edges(x, x + 0.3, torch.ones(1, 1, 8, 8)).item(), 5)
    0.0
    """
    difference = x - y
    across = weighted_mean((difference[..., 1:] - difference[..., :-1]).abs(), weights[..., 1:])
    down = weighted_mean((difference[..., 1:, :] - difference[..., :-1, :]).abs(), weights[..., 1:, :])
    return (across + down) / 2


def mask_error(mask: Tensor, hull: Tensor) -> Tensor:
    """Mean squared difference of two `(B, 1, H, W)` masks in [0, 1].

    >>> mask_error(torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 2)).item()
    1.0
    """
    return F.mse_loss(mask, hull)


def face_loss(rgb: Tensor, mask: Tensor, truth: Tensor, hull: Tensor, weights: Tensor) -> Tensor:
    """What training minimises, a scalar: DSSIM + L1 + edges under `weights`, and the mask's error.

    Args:
        rgb: drawn faces.
        mask: their masks, `(B, 1, H, W)` in [0, 1].
        truth: the real faces.
        hull: their landmark hulls, `(B, 1, H, W)` in [0, 1].
        weights: what each pixel counts.
    """
    picture = dssim(rgb, truth, weights) + absolute(rgb, truth, weights) + EDGE_WEIGHT * edges(rgb, truth, weights)
    return picture + MASK_WEIGHT * mask_error(mask, hull)


def masked_ssim(x: Tensor, y: Tensor, hull: Tensor) -> float:
    """Mean of the SSIM map over the hull (> 0.5); outside it nothing counts."""
    return weighted_mean(ssim_map(x, y), inner((hull > 0.5).float())).item()


def masked_psnr(x: Tensor, y: Tensor, hull: Tensor) -> float:
    """Peak signal-to-noise ratio in dB inside the hull (> 0.5); at most 100.

    >>> round(masked_psnr(torch.zeros(1, 3, 4, 4), torch.full((1, 3, 4, 4), 0.1), torch.ones(1, 1, 4, 4)), 2)
    20.0
    """
    error = weighted_mean((x - y) ** 2, (hull > 0.5).float())
    return (-10 * torch.log10(error.clamp_min(1e-10))).item()
