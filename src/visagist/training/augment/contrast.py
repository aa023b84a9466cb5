"""Local contrast.

- `clahe`: contrast-limited adaptive histogram equalisation (Zuiderveld 1994, Graphics Gems IV)
- `equalize`: of the brightness of RGB pictures
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from visagist.training.augment.spaces import luma

LEVELS = 256


def clahe(grey: Tensor, clip: Tensor, tiles: int) -> Tensor:
    """Equalise the histogram of each tile, no steeper than `clip` allows, and blend between the tiles.

    Levels that a histogram holds too often are spread over all levels, once. A side that the tiles do not divide is
    continued by its mirror image.

    Args:
        grey: `(B, 1, H, W)` in [0, 1]; looked at in 256 levels.
        clip: `(B,)`, >= 0: how often a level may occur, in multiples of its mean; at least once.
        tiles: a side; H and W must be twice as many or more.

    Returns:
        `(B, 1, H, W)` in [0, 1].

    >>> dull = torch.linspace(0.4, 0.6, 256).reshape(1, 1, 16, 16)
    >>> lively = clahe(dull, torch.tensor([4.0]), 1)
    >>> round((lively.max() - lively.min()).item(), 1)
    0.8
    """
    batch, _, height, width = grey.shape
    levels = (grey * 255).round().clamp(0, 255)
    padded = F.pad(levels, (0, -width % tiles, 0, -height % tiles), mode="reflect")
    high, wide = padded.shape[2] // tiles, padded.shape[3] // tiles
    area = high * wide
    blocks = padded.reshape(batch, tiles, high, tiles, wide).transpose(2, 3).reshape(batch, tiles**2, area).long()
    counts = torch.zeros(batch, tiles**2, LEVELS, device=grey.device)
    counts.scatter_add_(2, blocks, torch.ones_like(blocks, dtype=counts.dtype))  # whole numbers: exact in any order
    limit = (clip * area / LEVELS).floor().clamp_min(1)[:, None, None]
    excess = (counts - limit).clamp_min(0).sum(2, keepdim=True)
    level = torch.arange(LEVELS, device=grey.device)
    rest = excess.remainder(LEVELS)  # of the excess that all get, some levels, evenly spaced, get one more
    step = (LEVELS / rest.clamp_min(1)).floor()
    more = (level.remainder(step) == 0) & (level / step < rest)
    counts = counts.minimum(limit) + (excess / LEVELS).floor() + more
    curves = (counts.cumsum(2) * (255 / area)).round().clamp(0, 255).flatten(1)  # (B, tiles * tiles * 256)
    up, down, y = _between(height, high, tiles, grey.device)
    left, right, x = _between(width, wide, tiles, grey.device)

    def look_up(row: Tensor, column: Tensor) -> Tensor:
        tile = row[:, None] * tiles + column  # (H, W)
        return curves.gather(1, (tile * LEVELS + levels[:, 0].long()).flatten(1))

    above = torch.lerp(look_up(up, left), look_up(up, right), x.repeat(height))
    below = torch.lerp(look_up(down, left), look_up(down, right), x.repeat(height))
    return (torch.lerp(above, below, y.repeat_interleave(width)) / 255).reshape(grey.shape)


def _between(size: int, tile: int, tiles: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """For each of `size` pixels: the tiles with the nearest centres before and after it, and how far it is along."""
    place = torch.arange(size, device=device) / tile - 0.5
    before = place.floor()
    return before.clamp_min(0).long(), (before + 1).clamp_max(tiles - 1).long(), place - before


def equalize(rgb: Tensor, clip: Tensor, tiles: int) -> Tensor:
    """`clahe` of the brightness of `(B, 3, H, W)` RGB in [0, 1]; the differences between the channels stay.

    >>> picture = torch.rand(2, 3, 32, 32)
    >>> equalize(picture, torch.tensor([1.0, 4.0]), 4).shape
    torch.Size([2, 3, 32, 32])
    """
    grey = (luma(rgb) * 255).round() / 255  # what lies between two levels is kept: no bands
    return (rgb + clahe(grey, clip, tiles) - grey).clamp(0, 1)
