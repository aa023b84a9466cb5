"""Degradation by lens, motion, scaling, sensor and compression.

Images are `(B, 3, R, R)` float32 RGB in [0, 1]; each face has its own strength. Separable filters are matrix products
`M x Mᵀ`, which allow a different M per face in one call.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from visagist.training.augment.spaces import rgb_to_ycbcr, ycbcr_to_rgb

BLOCK = 8  # px, side of JPEG blocks
# Quantisation tables of ITU-T T.81, annex K: K.1 (luma) and K.2 (chroma).
JPEG_LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
JPEG_CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * BLOCK,) * 4,
)


def blur(rgb: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur with standard deviations of `(B,)` px >= 0, normalised at the edges."""
    place = torch.arange(rgb.shape[-1], device=rgb.device)
    distance = (place[:, None] - place).float() / sigma.clamp_min(1e-2)[:, None, None]  # (B, R, R)
    return _filter(rgb, torch.exp(-0.5 * distance**2))


def rescale(rgb: Tensor, sides: Tensor) -> Tensor:
    """Downscale to `(B,)` px, integers from 1 to R, and upscale again: bilinear, with antialiasing."""
    size = rgb.shape[-1]
    centre = torch.arange(size, device=rgb.device) + 0.5
    side = sides.to(rgb.dtype)[:, None, None]
    ratio = size / side
    down = (1 - (centre - centre[:, None] * ratio).abs() / ratio).clamp_min(0)  # (B, small, R)
    down = down / down.sum(2, keepdim=True).clamp_min(1e-6)
    place = torch.minimum((centre[:, None] / ratio - 0.5).clamp_min(0), side - 1)  # in the small image
    up = (1 - (place - (centre - 0.5)).abs()).clamp_min(0)  # (B, R, small)
    return _filter(rgb, up @ down)


def _filter(rgb: Tensor, windows: Tensor) -> Tensor:
    """Filter rows and columns with `(B, R, R)` windows, one per output pixel."""
    matrix = (windows / windows.sum(2, keepdim=True))[:, None]  # (B, 1, R, R)
    return matrix @ rgb @ matrix.mT


def motion_kernels(length: Tensor, angle: Tensor, longest: float) -> Tensor:
    """`(B, K, K)` kernels, K odd, for motion of `(B,)` px, 0 to `longest`, in directions of `(B,)` radians."""
    radius = int(longest / 2) + 1
    line = torch.arange(-radius, radius + 1, device=length.device).float()
    y, x = torch.meshgrid(line, line, indexing="ij")
    cosine, sine = angle.cos()[:, None, None], angle.sin()[:, None, None]
    half = length[:, None, None] / 2 - 0.5  # a pixel itself has a length of 1
    beyond = ((x * cosine + y * sine).abs() - half).clamp_min(0)
    across = y * cosine - x * sine
    kernels = (1 - (beyond**2 + across**2).sqrt()).clamp_min(0)  # (B, K, K)
    return kernels / kernels.sum((1, 2), keepdim=True)


def motion_blur(rgb: Tensor, kernels: Tensor) -> Tensor:
    """Filter each face by its kernel of `motion_kernels`; edges are replicated."""
    padded = F.pad(rgb, (kernels.shape[-1] // 2,) * 4, mode="replicate")
    weights = kernels.repeat_interleave(3, 0)[:, None]  # (B * 3, 1, K, K)
    return F.conv2d(padded.flatten(0, 1)[None], weights, groups=len(weights)).reshape(rgb.shape)


def add_noise(rgb: Tensor, field: Tensor, shift: Tensor, deviation: Tensor) -> Tensor:
    """Add a `(3, R, R)` periodic field of noise to each face, shifted by `(B, 2)` px and scaled by `(B,)`."""
    place = torch.arange(rgb.shape[-1], device=rgb.device)
    rows, columns = ((place - each[:, None]) % len(place) for each in shift.unbind(1))  # (B, R)
    noise = field[:, rows[:, :, None], columns[:, None, :]].transpose(0, 1)  # (B, 3, R, R)
    return (rgb + noise * deviation[:, None, None, None]).clamp(0, 1)


def jpeg_tables(quality: Tensor) -> Tensor:
    """`(B, 2, 8, 8)` quantisation steps of luma and chroma for `(B,)` qualities in [1, 100], scaled as in libjpeg."""
    base = torch.tensor((JPEG_LUMA, JPEG_CHROMA), dtype=torch.float32)
    percent = torch.where(quality < 50, (5000 / quality).floor(), 200 - 2 * quality)[:, None, None, None]
    return ((base * percent + 50) / 100).floor().clamp(1, 255)


def jpeg(rgb: Tensor, steps: Tensor) -> Tensor:
    """JPEG artefacts (ITU-T T.81) with 4:2:0 chroma and the `(B, 2, 8, 8)` steps of `jpeg_tables`."""
    height, width = rgb.shape[2:]
    padded = F.pad(rgb, (0, -width % (2 * BLOCK), 0, -height % (2 * BLOCK)), mode="replicate")
    ycbcr = rgb_to_ycbcr(padded) * 255
    brightness = _quantize(ycbcr[:, :1] - 128, steps[:, 0]) + 128
    chroma = _quantize(F.avg_pool2d(ycbcr[:, 1:], 2), steps[:, 1])
    chroma = F.interpolate(chroma, scale_factor=2, mode="bilinear")  # as decoders do
    return ycbcr_to_rgb(torch.cat([brightness, chroma], 1) / 255)[..., :height, :width].clamp(0, 1)


def _quantize(planes: Tensor, steps: Tensor) -> Tensor:
    """Round the DCT-II of each 8x8 block of `(B, C, H, W)` to multiples of the `(B, 8, 8)` steps."""
    place = torch.arange(BLOCK, device=planes.device)
    waves = torch.cos(math.pi / BLOCK * (place + 0.5) * place[:, None]) / 2  # (frequency, place)
    waves[0] /= math.sqrt(2)  # orthonormal
    blocks = planes.unflatten(3, (-1, BLOCK)).unflatten(2, (-1, BLOCK)).transpose(3, 4)  # (B, C, H/8, W/8, 8, 8)
    steps = steps[:, None, None, None]
    blocks = (waves @ blocks @ waves.T / steps).round() * steps
    return (waves.T @ blocks @ waves).transpose(3, 4).flatten(4, 5).flatten(2, 3)
