"""visagist's own network, 128 to 640 px: the best measured quality for its computing time.

- Most of the arithmetic happens at 8 to 32 px, with many channels; above that, each doubling has one block.
- Blocks are bottlenecks whose 3x3 convolution has half the channels, for a fifth of the cost of two plain ones. Grouped
  and depthwise convolutions save as much on paper but less when measured.
- Upscales are 1x1 sub-pixel convolutions, and the last layer predicts patches of 2x2 pixels, so only input and output
  have full resolution. Larger faces get extra levels, each half as wide as the one before.
- With `rank` 0, each identity has a decoder. Otherwise one shared decoder has a low-rank adapter per identity and layer
  (Hu et al. 2021, "LoRA"): further identities cost little, and all learn from each other's lids, teeth and skin.

benchmarks/research/networks.md has the ablations.
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

SLOPE = 0.1  # of leaky ReLU
SIZE_RANGE = (32, 640)  # px
INPUT_PATCH = 4  # px, side of the patches that the encoder reads
OUTPUT_PATCH = 2  # px, side of the patches that the decoder predicts
MIN_WIDTH = 16  # channels of extra levels
MAX_DEPTH = 32  # blocks per level
MAX_RANK = 512
ADAPTER_STRENGTH = 0.4  # initial deviation of an adapter's weights relative to the shared ones


@dataclass(frozen=True)
class VisageConfig:
    """A swapper for 128 to 640 px; the decoder settings are those of the four levels of a 128 px face."""

    size: int = 128
    """Side of the faces: 32 to 640 px, a multiple of 16 (from 256 px on of 32, from 512 px on of 64)."""

    encoder: tuple[int, int, int] = (64, 192, 320)
    """Channels of the encoder down to the lowest level, which has a side of 8 to 15 px."""

    latent: int = 320
    """Length of the latent vector that represents a face."""

    shared: int = 128
    """Channels at the lowest level that the decoders receive."""

    decoder: tuple[int, int, int, int] = (384, 256, 128, 64)
    """Channels of the decoder, from the lowest level up."""

    depth: tuple[int, int, int, int] = (3, 2, 1, 1)
    """Blocks per level of the decoder, 1 to 32 each; the extra levels of large faces have one."""

    rank: int = 0
    """0: one decoder per identity. Higher: one decoder for all, with low-rank weights of this rank per identity; up
    to 512."""

    def __post_init__(self) -> None:
        check_size("visage", self.size, SIZE_RANGE, 2**self.downscales)
        widths = {"latent": self.latent, "shared": self.shared, "decoder": self.decoder}
        check_widths("visage", widths)
        check_widths("visage", {"encoder": self.encoder}, minimum=4)  # the last is divided by 4
        if not all(1 <= depth <= MAX_DEPTH for depth in self.depth):
            raise ConfigError(f"model 'visage': depth {self.depth} must have 1 to {MAX_DEPTH} blocks per level")
        if not 0 <= self.rank <= MAX_RANK:
            raise ConfigError(
                f"model 'visage': rank {self.rank} must be from 0 (one decoder per identity) to {MAX_RANK}"
            )

    @property
    def downscales(self) -> int:
        """Halvings from the face to the lowest level, which has a side of 8 to 15 px for faces of 128 px and more."""
        return 4 + (self.size >= 256) + (self.size >= 512)

    @property
    def extra_levels(self) -> int:
        """Levels beyond those of a 128 px face."""
        return self.downscales - 4


class AdaptableConv2d(nn.Conv2d):
    """A convolution of the decoder; `number` is its index in each identity's list of adapters."""

    def __init__(self, channels: int, out: int, kernel: int, number: int) -> None:
        super().__init__(channels, out, kernel, padding=kernel // 2)
        self.number = number

    def forward(self, x: Tensor, adapters: nn.ModuleList | None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        if adapters is None:
            return super().forward(x)
        weight, bias = adapters[self.number](self)
        return F.conv2d(x, weight, bias, padding=self.padding)


class LowRankAdapter(nn.Module):
    """The difference between one identity's weights of a layer and the shared ones: a low-rank matrix and a bias.

    Unlike LoRA's, it starts at random. If it started at zero, all identities would look the same, and the encoder
    would learn to encode the identity.
    """

    def __init__(self, layer: AdaptableConv2d, rank: int) -> None:
        super().__init__()
        self.shape = (layer.out_channels, *layer.kernel_size, layer.in_channels)
        weight = layer.weight.detach()
        self.left = nn.Parameter(torch.randn(layer.out_channels, rank))
        self.right = nn.Parameter(torch.randn(rank, weight[0].numel()) * weight.std() * ADAPTER_STRENGTH / rank**0.5)
        self.bias = nn.Parameter(torch.zeros(layer.out_channels))

    def forward(self, layer: AdaptableConv2d) -> tuple[Tensor, Tensor | None]:
        difference = (self.left @ self.right).view(self.shape).permute(0, 3, 1, 2)  # (O, I, k, k) in channels_last
        return layer.weight + difference, None if layer.bias is None else layer.bias + self.bias


class Block(nn.Module):
    """A residual bottleneck (He et al. 2016) of half the channels."""

    def __init__(self, channels: int, numbers: Iterator[int]) -> None:
        super().__init__()
        half = max(1, channels // 2)
        self.narrow = AdaptableConv2d(channels, half, 1, next(numbers))
        self.mix = AdaptableConv2d(half, half, 3, next(numbers))
        self.widen = AdaptableConv2d(half, channels, 1, next(numbers))

    def forward(self, x: Tensor, adapters: nn.ModuleList | None = None) -> Tensor:
        y = leaky_relu_(self.narrow(x, adapters), SLOPE)
        y = leaky_relu_(self.mix(y, adapters), SLOPE)
        return leaky_relu_(self.widen(y, adapters).add_(x), SLOPE)  # in place: see `leaky_relu_`


class Level(nn.Module):
    """Blocks at one resolution."""

    def __init__(self, channels: int, depth: int, numbers: Iterator[int]) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(channels, numbers) for _ in range(depth))

    def forward(self, x: Tensor, adapters: nn.ModuleList | None) -> Tensor:
        for block in self.blocks:
            x = block(x, adapters)
        return x


class Encoder(nn.Module):
    """Encodes faces of any identity."""

    def __init__(self, config: VisageConfig) -> None:
        super().__init__()
        first, lowest = config.encoder[0], config.encoder[-1]
        widths = [max(MIN_WIDTH, first >> level) for level in range(config.extra_levels, 0, -1)] + [*config.encoder]
        self.side = config.size >> config.downscales
        self.patches = nn.Conv2d(3 * INPUT_PATCH**2, widths[0], 3, padding=1)
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(widths))
        self.block = Block(lowest, count())
        self.narrow = nn.Conv2d(lowest, lowest // 4, 1)
        self.squeeze = nn.Linear(lowest // 4 * self.side**2, config.latent)
        self.spread = nn.Linear(config.latent, config.shared * self.side**2)

    def forward(self, faces: Tensor) -> Tensor:
        x = space_to_depth(faces - 0.5, INPUT_PATCH)  # (B, 48, R/4, R/4)
        x = leaky_relu_(self.patches(x), SLOPE)
        for down in self.downs:
            x = leaky_relu_(down(x), SLOPE)  # at last (B, lowest, s, s), s from 8 to 15
        x = self.narrow(self.block(x))  # (B, lowest/4, s, s)
        x = self.squeeze(x.permute(0, 2, 3, 1).flatten(1))  # (B, latent)
        x = leaky_relu_(self.spread(x), SLOPE)
        return x.unflatten(1, (self.side, self.side, -1)).permute(0, 3, 1, 2)  # (B, shared, s, s)


class Decoder(nn.Module):
    """Decodes as one identity or, with adapters, as the identity they belong to."""

    def __init__(self, config: VisageConfig) -> None:
        super().__init__()
        numbers = count()
        last = config.decoder[-1]
        widths = [*config.decoder, *(max(MIN_WIDTH, last >> level) for level in range(1, config.extra_levels + 1))]
        depths = [*config.depth, *(1 for _ in range(config.extra_levels))]
        self.enter = AdaptableConv2d(config.shared, widths[0], 3, next(numbers))
        self.levels = nn.ModuleList(Level(width, depth, numbers) for width, depth in zip(widths, depths, strict=True))
        self.ups = nn.ModuleList(AdaptableConv2d(a, 4 * b, 1, next(numbers)) for a, b in pairwise(widths))
        self.draw = AdaptableConv2d(widths[-1], 4 * OUTPUT_PATCH**2, 3, next(numbers))  # RGB and mask

    def forward(self, x: Tensor, adapters: nn.ModuleList | None) -> Tensor:
        x = leaky_relu_(self.enter(match_memory_format(x, self.enter), adapters), SLOPE)  # (B, 384, s, s)
        x = self.levels[0](x, adapters)
        for up, level in zip(self.ups, self.levels[1:], strict=True):
            x = depth_to_space(up(x, adapters), 2)  # (B, 256, 2s, 2s), (B, 128, 4s, 4s), (B, 64, 8s, 8s), ...
            x = level(x, adapters)
        return depth_to_space(self.draw(x, adapters), OUTPUT_PATCH)  # (B, 4, R, R)


@ARCHITECTURES.register
class Visage(Swapper):
    """The best result for the time, on any device; many identities in one network.

    One decoder per identity, or one shared decoder with low-rank differences per identity.
    """

    Config = VisageConfig
    learning_rate = 1e-3
    tiny = VisageConfig(size=32, encoder=(8, 16, 16), latent=16, shared=8, decoder=(16, 16, 8, 8), rank=2)
    per_identity_modules = ("decoders", "bends")
    checkpoint_blocks = (Block,)

    @classmethod
    def presets(cls, device: str) -> list[dict[str, Any]]:
        # 192 px would cost 1.7 times as much as 256, because its lowest level has a side of 12 px rather than 8.
        return [{"size": 128}] if device == "cpu" else [{"size": 256}, {"size": 128}]

    def __init__(self, identities: tuple[str, ...], config: VisageConfig) -> None:
        super().__init__(identities, config)
        self.rank = config.rank
        self.encoder = Encoder(config)
        if config.rank:
            self.decoder = Decoder(config)
        else:
            self.decoders = nn.ModuleList(Decoder(config) for _ in identities)
        self.initialize()
        if config.rank:  # adapters are as strong as the initialized weights
            layers = [layer for layer in self.decoder.modules() if isinstance(layer, AdaptableConv2d)]
            layers.sort(key=lambda layer: layer.number)
            self.bends = nn.ModuleList(
                nn.ModuleList(LowRankAdapter(layer, config.rank) for layer in layers) for _ in identities
            )

    def initialize(self) -> None:
        """Initialize the weights."""
        he_init_(self, SLOPE)
        for layer in self.modules():
            if isinstance(layer, Block):
                scale_(layer.widen, 0.3)  # residual branches start small, or the signal would grow block by block
            if isinstance(layer, Decoder):
                scale_(layer.draw, 0.2)  # the first predictions are grey, not noise

    def encode(self, faces: Tensor) -> Tensor:
        return self.encoder(faces)  # (B, shared, s, s), s from 8 to 15

    def decode(self, latent: Tensor, identity: str) -> tuple[Tensor, Tensor]:
        index = self.index(identity)
        if self.rank:
            decoded = self.decoder(latent, self.bends[index])  # (B, 4, R, R)
        else:
            decoded = self.decoders[index](latent, None)
        decoded = torch.sigmoid(decoded.float())  # in float32: bf16 has 256 steps between 0.5 and 1
        return decoded[:, :3], decoded[:, 3:]
