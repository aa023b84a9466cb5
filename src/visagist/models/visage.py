"""Our own network, 128 to 640 px: as much face for the time as measurements could find.

- arithmetic goes to 8 to 32 px, where channels are many and pixels few; from there on one block a doubling
- a block is a bottleneck: its 3x3 convolution has half the channels, so it costs a fifth of two plain ones. It is
  dense: groups and depthwise convolutions save as much on paper, and saved less where it was measured
- doublings are 1x1 convolutions to sub-pixels, and the last layer draws 2x2 pixels: nothing but input and output exists
  at the full side. A larger face gets further levels, each half as wide as the one before
- `rank` 0 gives each person a decoder; with a higher one a single decoder draws everybody, with weights that differ
  from person to person by a matrix of that rank: a person more costs little, and everybody learns from everybody's
  lids, teeth and skin

What else was tried, and what it was worth, is in benchmarks/research/networks.md.

Contents: `VisageConfig`, `Layer`, `Bend`, `Block`, `Level`, `Encoder`, `Decoder`, `Visage`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visagist.core.errors import ConfigError
from visagist.models import ARCHITECTURES
from visagist.models.blocks.layers import depth_to_space, laid_out, leaky, scale, space_to_depth, start_even
from visagist.models.blocks.limits import check_size, check_widths
from visagist.models.swapper import Swapper

SLOPE = 0.1  # of leaky ReLU
SIZES = (32, 640)  # px
PATCH = 4  # px, the side of what the encoder takes in as one pixel
DRAWN = 2  # px, the side of what the last layer draws from one pixel
LEAST = 16  # channels, where the halving of further levels ends
DEEPEST = 32  # blocks a level
HIGHEST = 512  # rank
STRENGTH = 0.4  # of what tells people apart, at the start, against what they share


@dataclass(frozen=True)
class VisageConfig:
    """A swapper for 128 to 640 px; the four levels of the decoder are those of a 128 px face."""

    size: int = 128
    """Side of the faces: 32 to 640 px, a multiple of 16 (from 256 px on of 32, from 512 px on of 64)."""

    encoder: tuple[int, int, int] = (64, 192, 320)
    """Channels on the way down to the lowest level, which has a side of 8 to 15 px."""

    latent: int = 320
    """Length of the latent vector that represents a face."""

    shared: int = 128
    """Channels at the lowest level that the decoders receive."""

    decoder: tuple[int, int, int, int] = (384, 256, 128, 64)
    """Channels of the decoder, from the lowest level up."""

    depth: tuple[int, int, int, int] = (3, 2, 1, 1)
    """Blocks of these levels, 1 to 32 each; the further levels of large faces have one."""

    rank: int = 0
    """0: one decoder per identity. Higher: one decoder for all, with low-rank weights of this rank per identity; up
    to 512."""

    def __post_init__(self) -> None:
        check_size("visage", self.size, SIZES, 2**self.halvings)
        widths = {"latent": self.latent, "shared": self.shared, "decoder": self.decoder}
        check_widths("visage", widths)
        check_widths("visage", {"encoder": self.encoder}, least=4)  # a quarter of the last is squeezed
        if not all(1 <= depth <= DEEPEST for depth in self.depth):
            raise ConfigError(f"model 'visage': depth {self.depth} must be of 1 to {DEEPEST} blocks a level")
        if not 0 <= self.rank <= HIGHEST:
            raise ConfigError(f"model 'visage': rank {self.rank} must be from 0 (a decoder a person) to {HIGHEST}")

    @property
    def halvings(self) -> int:
        """Between the face and the lowest level, which has 8 to 15 px a side where a face has 128 or more."""
        return 4 + (self.size >= 256) + (self.size >= 512)

    @property
    def further(self) -> int:
        """Levels more than a face of 128 px has."""
        return self.halvings - 4


class Layer(nn.Conv2d):
    """A convolution of the decoder; `number` is its place among the bends of a person."""

    def __init__(self, channels: int, out: int, kernel: int, number: int) -> None:
        super().__init__(channels, out, kernel, padding=kernel // 2)
        self.number = number

    def forward(self, x: Tensor, bends: nn.ModuleList | None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        if bends is None:
            return super().forward(x)
        weight, bias = bends[self.number](self)
        return F.conv2d(x, weight, bias, padding=self.padding)


class Bend(nn.Module):
    """What one person's weights of a layer have other than everybody's: a matrix of low rank, and a bias.

    Random from the start, and strong enough to tell people apart: from zero all would be drawn alike, and the encoder
    would learn to say who they are.
    """

    def __init__(self, layer: Layer, rank: int) -> None:
        super().__init__()
        self.shape = (layer.out_channels, *layer.kernel_size, layer.in_channels)
        weight = layer.weight.detach()
        self.left = nn.Parameter(torch.randn(layer.out_channels, rank))
        self.right = nn.Parameter(torch.randn(rank, weight[0].numel()) * weight.std() * STRENGTH / rank**0.5)
        self.bias = nn.Parameter(torch.zeros(layer.out_channels))

    def forward(self, layer: Layer) -> tuple[Tensor, Tensor | None]:
        difference = (self.left @ self.right).view(self.shape).permute(0, 3, 1, 2)  # (O, I, k, k) in channels_last
        return layer.weight + difference, None if layer.bias is None else layer.bias + self.bias


class Block(nn.Module):
    """Half the channels, their neighbours, all channels again: a bottleneck (He et al. 2016) that adds to its input."""

    def __init__(self, channels: int, numbers: Iterator[int]) -> None:
        super().__init__()
        half = max(1, channels // 2)
        self.narrow = Layer(channels, half, 1, next(numbers))
        self.mix = Layer(half, half, 3, next(numbers))
        self.widen = Layer(half, channels, 1, next(numbers))

    def forward(self, x: Tensor, bends: nn.ModuleList | None = None) -> Tensor:
        y = leaky(self.narrow(x, bends), SLOPE)
        y = leaky(self.mix(y, bends), SLOPE)
        return leaky(self.widen(y, bends).add_(x), SLOPE)  # no new memory, see `leaky`


class Level(nn.Module):
    """Blocks of one size, one after the other."""

    def __init__(self, channels: int, depth: int, numbers: Iterator[int]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(channels, numbers) for _ in range(depth))

    def forward(self, x: Tensor, bends: nn.ModuleList | None) -> Tensor:
        for block in self.blocks:
            x = block(x, bends)
        return x


class Encoder(nn.Module):
    """A face to what the people have in common."""

    def __init__(self, config: VisageConfig) -> None:
        super().__init__()
        first, lowest = config.encoder[0], config.encoder[-1]
        widths = [max(LEAST, first >> level) for level in range(config.further, 0, -1)] + [*config.encoder]
        self.side = config.size >> config.halvings
        self.patches = nn.Conv2d(3 * PATCH**2, widths[0], 3, padding=1)
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths))
        self.block = Block(lowest, count())
        self.narrow = nn.Conv2d(lowest, lowest // 4, 1)
        self.squeeze = nn.Linear(lowest // 4 * self.side**2, config.latent)
        self.spread = nn.Linear(config.latent, config.shared * self.side**2)

    def forward(self, faces: Tensor) -> Tensor:
        x = space_to_depth(faces - 0.5, PATCH)  # (B, 48, R/4, R/4)
        x = leaky(self.patches(x), SLOPE)
        for down in self.downs:
            x = leaky(down(x), SLOPE)  # at last (B, lowest, s, s), s from 8 to 15
        x = self.narrow(self.block(x))  # (B, lowest/4, s, s)
        x = self.squeeze(x.permute(0, 2, 3, 1).flatten(1))  # (B, latent)
        x = leaky(self.spread(x), SLOPE)
        return x.unflatten(1, (self.side, self.side, -1)).permute(0, 3, 1, 2)  # (B, shared, s, s)


class Decoder(nn.Module):
    """Draws one person, or, with bends, whoever they are of."""

    def __init__(self, config: VisageConfig) -> None:
        super().__init__()
        numbers = count()
        last = config.decoder[-1]
        widths = [*config.decoder, *(max(LEAST, last >> level) for level in range(1, config.further + 1))]
        depths = [*config.depth, *(1 for _ in range(config.further))]
        self.enter = Layer(config.shared, widths[0], 3, next(numbers))
        self.levels = nn.ModuleList(Level(width, depth, numbers) for width, depth in zip(widths, depths, strict=True))
        self.ups = nn.ModuleList(Layer(a, DRAWN**2 * b, 1, next(numbers)) for a, b in pairwise(widths))
        self.draw = Layer(widths[-1], 4 * DRAWN**2, 3, next(numbers))  # RGB and mask

    def forward(self, x: Tensor, bends: nn.ModuleList | None) -> Tensor:
        x = leaky(self.enter(laid_out(x, self.enter), bends), SLOPE)  # (B, 384, s, s)
        x = self.levels[0](x, bends)
        for up, level in zip(self.ups, self.levels[1:], strict=True):
            x = depth_to_space(up(x, bends), 2)  # (B, 256, 2s, 2s), (B, 128, 4s, 4s), (B, 64, 8s, 8s), ...
            x = level(x, bends)
        return depth_to_space(self.draw(x, bends), DRAWN)  # (B, 4, R, R)


@ARCHITECTURES.register
class Visage(Swapper):
    """The best result for the time, on any device; many identities in one network.

    One decoder per identity, or one shared decoder with low-rank differences per identity.
    """

    Config = VisageConfig
    learning_rate = 1e-3
    tiny = VisageConfig(size=32, encoder=(8, 16, 16), latent=16, shared=8, decoder=(16, 16, 8, 8), rank=2)
    personal = ("decoders", "bends")
    segments = (Block,)

    @classmethod
    def presets(cls, device: str) -> list[dict[str, Any]]:
        # 192 px take 1.7 times the arithmetic of 256, whose lowest level has 8 px a side, not 12.
        return [{"size": 128}] if device == "cpu" else [{"size": 256}, {"size": 128}]

    def __init__(self, identities: tuple[str, ...], config: VisageConfig) -> None:
        super().__init__(identities, config)
        self.rank = config.rank
        self.encoder = Encoder(config)
        if config.rank:
            self.decoder = Decoder(config)
        else:
            self.decoders = nn.ModuleList(Decoder(config) for _ in identities)
        self.start()
        if config.rank:  # as strong as the weights they bend, which must be there first
            layers = [layer for layer in self.decoder.modules() if isinstance(layer, Layer)]
            layers.sort(key=lambda layer: layer.number)
            self.bends = nn.ModuleList(nn.ModuleList(Bend(layer, config.rank) for layer in layers) for _ in identities)

    def start(self) -> None:
        """Initial weights."""
        start_even(self, SLOPE)
        for layer in self.modules():
            if isinstance(layer, Block):
                scale(layer.widen, 0.3)  # or the blocks would add up
            if isinstance(layer, Decoder):
                scale(layer.draw, 0.2)  # the first pictures are grey, not noise

    def encode(self, faces: Tensor) -> Tensor:
        return self.encoder(faces)  # (B, shared, s, s), s from 8 to 15

    def decode(self, latent: Tensor, identity: str) -> tuple[Tensor, Tensor]:
        person = self.index(identity)
        if self.rank:
            drawn = self.decoder(latent, self.bends[person])  # (B, 4, R, R)
        else:
            drawn = self.decoders[person](latent, None)
        drawn = torch.sigmoid(drawn.float())  # in float32: bf16 has 256 steps between 0.5 and 1
        return drawn[:, :3], drawn[:, 3:]
