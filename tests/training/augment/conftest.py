"""Pictures that look somewhat like pictures: smooth, coloured, with edges and a little noise."""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int, size: int, seed: int = 0, low: float = 0.1, high: float = 0.9) -> Tensor:
    """`(count, 3, size, size)` in [low, high] with correlated channels, each picture with colours of its own."""
    g = generator(seed)
    coarse = torch.rand(count, 3, 6, 6, generator=g)
    coarse = 0.6 * coarse.mean(1, keepdim=True) + 0.4 * coarse + 0.2 * torch.rand(count, 3, 1, 1, generator=g)
    smooth = F.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=True)
    smooth = smooth + 0.1 * (smooth[:, :1] > 0.5) + 0.02 * torch.randn(count, 3, size, size, generator=g)
    least, most = smooth.amin((1, 2, 3), keepdim=True), smooth.amax((1, 2, 3), keepdim=True)
    return low + (high - low) * (smooth - least) / (most - least)


def discs(count: int, size: int, radius: float = 0.4) -> Tensor:
    """`(count, 1, size, size)`: 1 within a disc about the centre."""
    line = (torch.arange(size) + 0.5) / size - 0.5
    disc = (line[:, None] ** 2 + line**2 < radius**2).float()
    return disc.expand(count, 1, size, size).clone()


def pixels(picture: Tensor, mask: Tensor | None = None) -> np.ndarray:
    """`(N, 3)` float64: the colours of one `(3, H, W)` picture, those inside a `(1, H, W)` mask."""
    inside = picture.flatten(1).T if mask is None else picture[:, mask[0] > 0.5].T
    return inside.double().numpy()


def as_array(picture: Tensor) -> np.ndarray:
    """`(H, W, 3)` of `(3, H, W)`."""
    return picture.permute(1, 2, 0).numpy()
