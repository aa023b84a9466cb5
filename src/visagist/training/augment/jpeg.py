"""What a strong compression does to a picture.

- `jpeg`: the loss of JPEG (ITU-T T.81) with the tables of its annex K and chroma at half the size
- `tables`: those tables at a quality
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from visagist.training.augment.spaces import rgb_to_ycbcr, ycbcr_to_rgb

BLOCK = 8
# ITU-T T.81, tables K.1 (brightness) and K.2 (chroma)
BRIGHTNESS = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * BLOCK,) * 4,
)


def tables(quality: Tensor) -> Tensor:
    """Steps of the quantisation at a quality, scaled as the Independent JPEG Group does.

    Args:
        quality: `(B,)` in [1, 100], on the CPU: the tables would have to be copied to a device, which waits for it.

    Returns:
        `(B, 2, 8, 8)` whole numbers from 1 to 255: of brightness and of chroma.

    >>> tables(torch.tensor([50.0, 100.0]))[:, 0, 0, 0].tolist()
    [16.0, 1.0]
    """
    base = torch.tensor((BRIGHTNESS, CHROMA), dtype=torch.float32)
    percent = torch.where(quality < 50, (5000 / quality).floor(), 200 - 2 * quality)[:, None, None, None]
    return ((base * percent + 50) / 100).floor().clamp(1, 255)


def jpeg(rgb: Tensor, steps: Tensor) -> Tensor:
    """Compress and decompress, without the lossless part and the rounding to whole levels.

    Args:
        rgb: `(B, 3, H, W)` in [0, 1].
        steps: `(B, 2, 8, 8)` of `tables`.

    Returns:
        `(B, 3, H, W)` in [0, 1].

    >>> grey = torch.full((1, 3, 16, 16), 0.5)
    >>> bool((jpeg(grey, tables(torch.tensor([10.0]))) - grey).abs().max() < 0.05)
    True
    """
    height, width = rgb.shape[2:]
    padded = F.pad(rgb, (0, -width % (2 * BLOCK), 0, -height % (2 * BLOCK)), mode="replicate")
    ycbcr = rgb_to_ycbcr(padded) * 255
    brightness = _quantized(ycbcr[:, :1] - 128, steps[:, 0]) + 128
    chroma = _quantized(F.avg_pool2d(ycbcr[:, 1:], 2), steps[:, 1])
    chroma = F.interpolate(chroma, scale_factor=2, mode="bilinear")  # the triangle that decoders use
    return ycbcr_to_rgb(torch.cat([brightness, chroma], 1) / 255)[..., :height, :width].clamp(0, 1)


def _quantized(planes: Tensor, steps: Tensor) -> Tensor:
    """Round the DCT-II of each 8x8 block of `(B, C, H, W)` planes to multiples of its face's `(8, 8)` steps."""
    place = torch.arange(BLOCK, device=planes.device)
    waves = torch.cos(math.pi / BLOCK * (place + 0.5) * place[:, None]) / 2  # (frequency, place)
    waves[0] /= math.sqrt(2)  # orthonormal
    blocks = planes.unflatten(3, (-1, BLOCK)).unflatten(2, (-1, BLOCK)).transpose(3, 4)  # (B, C, H/8, W/8, 8, 8)
    steps = steps[:, None, None, None]
    blocks = (waves @ blocks @ waves.T / steps).round() * steps
    return (waves.T @ blocks @ waves).transpose(3, 4).flatten(4, 5).flatten(2, 3)
