"""Faces at 128 px for CPUs and small GPUs: a swap in minutes.

The structure of `original` (one encoder, one decoder per identity), designed for speed:

- Nearly all multiplications happen at 8 to 32 px, with many channels, where convolutions run fastest.
- Upscales are 1x1 convolutions, a ninth of the classic 3x3; the residual blocks after them mix neighbouring pixels.
- The encoder reads patches of 4x4 pixels and the decoder predicts 2x2, so only input and output have full resolution.
- There is no normalisation: residual branches that start small train as well, and everything stays in channels_last.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from visagist.models import ARCHITECTURES
from visagist.models.blocks.layers import (
    depth_to_space,
    he_init_,
    leaky_relu_,
    match_memory_format,
    scale_,
    space_to_depth,
)
from visagist.models.blocks.limits import check_size, check_widths
from visagist.models.swapper import Swapper

SLOPE = 0.1  # of leaky ReLU, the cheapest activation in channels_last that keeps a gradient everywhere
SIZE_RANGE = (32, 1024)  # px; the windows of structural similarity do not fit into 16


@dataclass(frozen=True)
class QuickConfig:
    """A fast 128 px swapper; about 1.6 billion multiplications per face."""

    size: int = 128
    """Side of the faces: 32 to 1024 px, a multiple of 16."""

    encoder: tuple[int, int, int] = (96, 192, 320)
    """Channels at 1/4, 1/8 and 1/16 of the side; the last 4 or more."""

    latent: int = 320
    """Length of the latent vector that represents a face."""

    shared: int = 128
    """Channels at 1/16 of the side that the decoders receive."""

    decoder: tuple[int, int, int, int] = (320, 256, 160, 64)
    """Channels at 1/16, 1/8, 1/4 and 1/2 of the side."""

    def __post_init__(self) -> None:
        check_size("quick", self.size, SIZE_RANGE, 16)
        check_widths(
            "quick", {"encoder": self.encoder, "latent": self.latent, "shared": self.shared, "decoder": self.decoder}
        )
        check_widths("quick", {"the last number of encoder": self.encoder[-1]}, minimum=4)  # divided by 4


class Residual(nn.Module):
    """A residual block of two 3x3 convolutions."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = leaky_relu_(self.conv1(x), SLOPE)
        return leaky_relu_(self.conv2(y).add_(x), SLOPE)  # in place: see `leaky_relu_`


class Encoder(nn.Module):
    """Encodes faces of any identity."""

    def __init__(self, config: QuickConfig) -> None:
        super().__init__()
        c4, c8, c16 = config.encoder
        self.side = config.size // 16
        self.patches = nn.Conv2d(48, c4, 3, padding=1)
        self.down1 = nn.Conv2d(c4, c8, 3, stride=2, padding=1)
        self.down2 = nn.Conv2d(c8, c16, 3, stride=2, padding=1)
        self.residual = Residual(c16)
        self.narrow = nn.Conv2d(c16, c16 // 4, 1)
        self.squeeze = nn.Linear(c16 // 4 * self.side**2, config.latent)
        self.spread = nn.Linear(config.latent, config.shared * self.side**2)

    def forward(self, faces: Tensor) -> Tensor:
        x = space_to_depth(faces - 0.5, 4)  # (B, 48, size/4, size/4)
        x = leaky_relu_(self.patches(x), SLOPE)
        x = leaky_relu_(self.down1(x), SLOPE)  # (B, 192, size/8, size/8)
        x = leaky_relu_(self.down2(x), SLOPE)  # (B, 320, size/16, size/16)
        x = self.narrow(self.residual(x))  # (B, 80, size/16, size/16)
        x = self.squeeze(x.permute(0, 2, 3, 1).flatten(1))  # (B, latent)
        x = leaky_relu_(self.spread(x), SLOPE)
        return x.unflatten(1, (self.side, self.side, -1)).permute(0, 3, 1, 2)  # (B, shared, size/16, size/16)


class Decoder(nn.Module):
    """Decodes as one identity."""

    def __init__(self, config: QuickConfig) -> None:
        super().__init__()
        c16, c8, c4, c2 = config.decoder
        self.enter = nn.Conv2d(config.shared, c16, 3, padding=1)
        self.residual16 = Residual(c16)
        self.up8 = nn.Conv2d(c16, 4 * c8, 1)
        self.residual8 = Residual(c8)
        self.up4 = nn.Conv2d(c8, 4 * c4, 1)
        self.residual4 = Residual(c4)
        self.up2 = nn.Conv2d(c4, 4 * c2, 1)
        self.residual2 = Residual(c2)
        self.draw = nn.Conv2d(c2, 4 * 4, 3, padding=1)  # RGB and mask of 2x2 pixels

    def forward(self, x: Tensor) -> Tensor:
        x = leaky_relu_(self.enter(match_memory_format(x, self.enter)), SLOPE)  # (B, 320, size/16, size/16)
        x = self.residual16(x)
        x = self.residual8(depth_to_space(self.up8(x), 2))  # (B, 256, size/8, size/8)
        x = self.residual4(depth_to_space(self.up4(x), 2))  # (B, 160, size/4, size/4)
        x = self.residual2(depth_to_space(self.up2(x), 2))  # (B, 64, size/2, size/2)
        return depth_to_space(self.draw(x), 2)  # (B, 4, size, size)


@ARCHITECTURES.register
class Quick(Swapper):
    """A CPU or a small GPU; results in minutes."""

    Config = QuickConfig
    learning_rate = 1e-3
    tiny = QuickConfig(size=32, encoder=(8, 16, 16), latent=16, shared=8, decoder=(16, 16, 8, 8))
    per_identity_modules = ("decoders",)
    checkpoint_blocks = (Residual,)

    @classmethod
    def presets(cls, device: str) -> list[dict[str, Any]]:
        return [{"size": 192}, {"size": 128}]

    def __init__(self, identities: tuple[str, ...], config: QuickConfig) -> None:
        super().__init__(identities, config)
        self.encoder = Encoder(config)
        self.decoders = nn.ModuleList(Decoder(config) for _ in identities)
        self.initialize()

    def initialize(self) -> None:
        """Initialize the weights."""
        he_init_(self, SLOPE)
        for layer in self.modules():
            if isinstance(layer, Residual):
                scale_(layer.conv2, 0.3)  # residual branches start small, or the signal would grow block by block
            if isinstance(layer, Decoder):
                scale_(layer.draw, 0.2)  # the first predictions are grey, not noise

    def encode(self, faces: Tensor) -> Tensor:
        return self.encoder(faces)  # (B, shared, size/16, size/16)

    def decode(self, latent: Tensor, identity: str) -> tuple[Tensor, Tensor]:
        decoded = self.decoders[self.index(identity)](latent)  # (B, 4, size, size)
        decoded = torch.sigmoid(decoded.float())  # in float32: bf16 has 256 steps between 0.5 and 1
        return decoded[:, :3], decoded[:, 3:]
