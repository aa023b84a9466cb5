"""Colour and contrast augmentation.

Images are `(B, 3, H, W)` float32 sRGB in [0, 1]; each face has its own parameters.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from visagist.training.augment.spaces import hsv_to_rgb, lab_to_rgb, luma, rgb_to_hsv, rgb_to_lab

LEVELS = 256  # of the histograms


def random_colors(
    own: Tensor, other: Tensor, reach: Tensor, deviation: float, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw gain and offset of each channel, `(B, 3, 1, 1)` each: a step towards another palette, plus jitter.

    Palettes are `(2, 3)`: mean and standard deviation of each channel inside the hulls. `reach`, `(B, 1)` in [0, 1], is
    the maximum step of each face; `deviation` is the standard deviation of the jitter as a fraction of full scale.
    """
    (own_mean, own_deviation), (other_mean, other_deviation) = own, other
    way = torch.rand(len(reach), 1, generator=generator) * reach
    jitter = torch.randn(len(reach), 2, 3, generator=generator) * deviation
    common = torch.randn(len(reach), 2, 1, generator=generator) * deviation
    gain, offset = (0.5 * jitter + common).unbind(1)  # mostly common to all channels: light rather than hue
    gain = (other_deviation / own_deviation) ** way * torch.exp(gain)  # (B, 3)
    mean = own_mean + way * (other_mean - own_mean) + offset
    return gain[..., None, None], (mean - gain * own_mean)[..., None, None]


def jitter_hsv(rgb: Tensor, change: Tensor) -> Tensor:
    """Change hue, saturation and value by `(B, 3)`: a fraction of the colour wheel and two factors."""
    change = change[..., None, None]
    hsv = rgb_to_hsv(rgb)
    return hsv_to_rgb(torch.cat([hsv[:, :1] + change[:, :1], (hsv[:, 1:] * change[:, 1:]).clamp(0, 1)], 1))


def jitter_lab(rgb: Tensor, change: Tensor) -> Tensor:
    """Shift CIE L*, a* and b* by `(B, 3)`."""
    return lab_to_rgb(rgb_to_lab(rgb) + change[..., None, None]).clamp(0, 1)


def equalize(rgb: Tensor, clip: Tensor, tiles: int) -> Tensor:
    """Apply `clahe` to the brightness; differences between channels are preserved."""
    gray = (luma(rgb) * 255).round() / 255  # the rounding error is added back, to avoid banding
    return (rgb + clahe(gray, clip, tiles) - gray).clamp(0, 1)


def clahe(gray: Tensor, clip: Tensor, tiles: int) -> Tensor:
    """Contrast-limited adaptive histogram equalisation, like OpenCV's but without rounding the result.

    Zuiderveld 1994, "Contrast Limited Adaptive Histogram Equalization".

    Args:
        gray: `(B, 1, H, W)` in [0, 1], like the result.
        clip: `(B,)` maximum count of a level as a multiple of the mean; at least one pixel.
        tiles: per side, at most half of H and W.
    """
    batch, _, height, width = gray.shape
    levels = (gray * 255).round().clamp(0, 255)
    padded = F.pad(levels, (0, -width % tiles, 0, -height % tiles), mode="reflect")
    high, wide = padded.shape[2] // tiles, padded.shape[3] // tiles
    area = high * wide
    blocks = padded.reshape(batch, tiles, high, tiles, wide).transpose(2, 3).reshape(batch, tiles**2, area).long()
    counts = torch.zeros(batch, tiles**2, LEVELS, device=gray.device)
    counts.scatter_add_(2, blocks, torch.ones_like(blocks, dtype=counts.dtype))  # integers, so exact in any order
    limit = (clip * area / LEVELS).floor().clamp_min(1)[:, None, None]
    excess = (counts - limit).clamp_min(0).sum(2, keepdim=True)
    level = torch.arange(LEVELS, device=gray.device)
    rest = excess.remainder(LEVELS)  # beyond equal shares, evenly spaced levels get one more
    step = (LEVELS / rest.clamp_min(1)).floor()
    more = (level.remainder(step) == 0) & (level / step < rest)
    counts = counts.minimum(limit) + (excess / LEVELS).floor() + more
    curves = (counts.cumsum(2) * (255 / area)).round().clamp(0, 255).flatten(1)  # (B, tiles * tiles * LEVELS)
    up, down, y = _neighbours(height, high, tiles, gray.device)
    left, right, x = _neighbours(width, wide, tiles, gray.device)

    def look_up(row: Tensor, column: Tensor) -> Tensor:
        tile = row[:, None] * tiles + column  # (H, W)
        return curves.gather(1, (tile * LEVELS + levels[:, 0].long()).flatten(1))

    above = torch.lerp(look_up(up, left), look_up(up, right), x.repeat(height))
    below = torch.lerp(look_up(down, left), look_up(down, right), x.repeat(height))
    return (torch.lerp(above, below, y.repeat_interleave(width)) / 255).reshape(gray.shape)


def _neighbours(size: int, tile: int, tiles: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """The tiles with the nearest centres before and after each pixel, and the pixel's position between them."""
    position = torch.arange(size, device=device) / tile - 0.5
    before = position.floor()
    return before.clamp_min(0).long(), (before + 1).clamp_max(tiles - 1).long(), position - before
