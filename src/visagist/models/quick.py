"""Faces at 128 px for CPUs and small GPUs: a swap in minutes.

The same trick as `original` (one encoder, one decoder a person), built for the time it takes:

- nearly all multiplications happen at 8 to 32 px, where a pixel has many channels and convolutions run fastest
- doublings are 1x1 convolutions (a ninth of the classic 3x3); the residual blocks after them mix the neighbours
- the picture is taken in by 4x4 patches and drawn by 2x2 patches: nothing but input and output exists at 128 px
- no normalisation: with residual branches that start small it trains as well, and no operation leaves channels_last

Contents: `QuickConfig`, `Residual`, `Encoder`, `Decoder`, `Quick`.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from visagist.models import ARCHITECTURES
from visagist.models.blocks.layers import depth_to_space, laid_out, leaky, scale, space_to_depth, start_even
from visagist.models.blocks.limits import check_size, check_widths
from visagist.models.swapper import Swapper

SLOPE = 0.1  # of leaky ReLU, the cheapest activation in channels_last that keeps a gradient everywhere
SIZES = (32, 1024)  # px; similarity is looked at in windows that 16 px do not hold


@dataclass(frozen=True)
class QuickConfig:
    """A thrifty 128 px swapper; about 1.6 billion multiplications a face."""

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
        check_size("quick", self.size, SIZES, 16)
        check_widths(
            "quick", {"encoder": self.encoder, "latent": self.latent, "shared": self.shared, "decoder": self.decoder}
        )
        check_widths("quick", {"the last number of encoder": self.encoder[-1]}, least=4)  # a quarter of it is squeezed


class Residual(nn.Module):
    """Two 3x3 convolutions that add to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = leaky(self.conv1(x), SLOPE)
        return leaky(self.conv2(y).add_(x), SLOPE)  # no new memory, see `leaky`


class Encoder(nn.Module):
    """A face to what the people have in common."""

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
        x = leaky(self.patches(x), SLOPE)
        x = leaky(self.down1(x), SLOPE)  # (B, 192, size/8, size/8)
        x = leaky(self.down2(x), SLOPE)  # (B, 320, size/16, size/16)
        x = self.narrow(self.residual(x))  # (B, 80, size/16, size/16)
        x = self.squeeze(x.permute(0, 2, 3, 1).flatten(1))  # (B, latent)
        x = leaky(self.spread(x), SLOPE)
        return x.unflatten(1, (self.side, self.side, -1)).permute(0, 3, 1, 2)  # (B, shared, size/16, size/16)


class Decoder(nn.Module):
    """Draws one person."""

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
        x = leaky(self.enter(laid_out(x, self.enter)), SLOPE)  # (B, 320, size/16, size/16)
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
    personal = ("decoders",)
    segments = (Residual,)

    @classmethod
    def presets(cls, device: str) -> list[dict[str, Any]]:
        return [{"size": 192}, {"size": 128}]

    def __init__(self, identities: tuple[str, ...], config: QuickConfig) -> None:
        super().__init__(identities, config)
        self.encoder = Encoder(config)
        self.decoders = nn.ModuleList(Decoder(config) for _ in identities)
        self.start()

    def start(self) -> None:
        """Initial weights."""
        start_even(self, SLOPE)
        for layer in self.modules():
            if isinstance(layer, Residual):
                scale(layer.conv2, 0.3)  # or the blocks would add up
            if isinstance(layer, Decoder):
                scale(layer.draw, 0.2)  # the first pictures are grey, not noise

    def encode(self, faces: Tensor) -> Tensor:
        return self.encoder(faces)  # (B, shared, size/16, size/16)

    def decode(self, latent: Tensor, identity: str) -> tuple[Tensor, Tensor]:
        drawn = self.decoders[self.index(identity)](latent)  # (B, 4, size, size)
        drawn = torch.sigmoid(drawn.float())  # in float32: bf16 has 256 steps between 0.5 and 1
        return drawn[:, :3], drawn[:, 3:]
