"""The reference of `benchmarks.training`: `df` without options and without optimization.

It runs in float32, NCHW and eager mode, and shares no code with the networks it is compared with.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visagist.models.df import DfConfig
from visagist.models.swapper import Swapper


class Up(nn.Module):
    """Doubles the side."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 4 * out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(F.leaky_relu(self.conv(x), 0.1), 2)  # (B, out, 2H, 2W)


class Residual(nn.Module):
    """A residual block of two convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(x + self.conv2(F.leaky_relu(self.conv1(x), 0.2)), 0.2)


class Decoder(nn.Module):
    """Draws a face and its mask."""

    def __init__(self, config: DfConfig) -> None:
        super().__init__()
        widths = [config.latent, 8 * config.decoder, 4 * config.decoder, 2 * config.decoder]
        masks = [config.latent, 8 * config.mask, 4 * config.mask, 2 * config.mask]
        stages = [nn.Sequential(Up(before, after), Residual(after)) for before, after in pairwise(widths)]
        self.face = nn.Sequential(*stages, nn.Conv2d(widths[-1], 3, 1))
        self.mask = nn.Sequential(*(Up(before, after) for before, after in pairwise(masks)), nn.Conv2d(masks[-1], 1, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.sigmoid(self.face(x)), torch.sigmoid(self.mask(x))  # (B, 3, R, R), (B, 1, R, R)


class PlainDf(Swapper):
    """A shared encoder and inter, one decoder per identity."""

    Config = DfConfig
    learning_rate = 5e-5

    def __init__(self, identities: tuple[str, ...], config: DfConfig) -> None:
        super().__init__(identities, config)
        side, out = config.size // 16, config.latent
        widths = [3, *(factor * config.encoder for factor in (1, 2, 4, 8))]
        self.down = nn.ModuleList(nn.Conv2d(a, b, 5, stride=2, padding=2) for a, b in pairwise(widths))
        self.squeeze = nn.Linear(widths[-1] * side**2, config.latent)
        self.spread = nn.Linear(config.latent, out * side**2)
        self.up = Up(out, out)
        self.decoders = nn.ModuleList(Decoder(config) for _ in self.identities)
        self.shape = (out, side, side)

    def encode(self, faces: Tensor) -> Tensor:
        x = faces.contiguous()
        for layer in self.down:
            x = F.leaky_relu(layer(x), 0.1)
        x = self.spread(self.squeeze(x.flatten(1)))
        return self.up(x.unflatten(1, self.shape))  # (B, ae, R/8, R/8)

    def decode(self, latent: Tensor, identity: str) -> tuple[Tensor, Tensor]:
        rgb, mask = self.decoders[self.index(identity)](latent)
        return rgb, mask
