"""Building blocks of the SAEHD family (`df`, `liae`) and of `amp`.

DeepFaceLab introduced the family (Perov et al. 2020, "DeepFaceLab: A simple, flexible and extensible face swapping
framework"). Widths, kernels, slopes and options follow its published figures, so that its users' experience carries
over: a `df` of 128 px with 256, 64, 64 and 22 dims has 57.54 million parameters in both.

Everything stays in the memory format of weights and faces. In channels_last a flattened image is a view in which the
channel varies fastest, and a latent is unflattened the same way.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visagist.core.errors import ConfigError
from visagist.models.blocks.layers import depth_to_space, leaky_relu_, match_memory_format, scale_

SLOPE = 0.1  # of leaky ReLU
RESIDUAL_SLOPE = 0.2  # in residual blocks
SIZE_RANGE = (64, 640)  # px

Activation = Callable[[Tensor, float], Tensor]  # of a tensor, which it may overwrite, and a slope


@dataclass(frozen=True)
class Variant:
    """Options of the family."""

    unit_norm: bool  # u: scale the encoder's output to unit norm; contrast matters less, and likeness improves
    doubled: bool  # d: compute at half the side and predict patches of 2x2 pixels; twice the size for the same work
    deeper: bool  # t: one more downscale and upscale, with residual blocks
    cosine: bool  # c: x·cos(x) as activation

    @classmethod
    def parse(cls, model: str, options: str) -> "Variant":
        """The variant for letters of `options` in any order.

        Raises:
            ConfigError: a letter other than u, d, t and c, or one twice.

        >>> Variant.parse("df", "ud")
        Variant(unit_norm=True, doubled=True, deeper=False, cosine=False)
        """
        if not set(options) <= set("udtc") or len(set(options)) != len(options):
            raise ConfigError(
                f"model '{model}': options '{options}' must be of the letters u, d, t and c, each once, such as ud"
            )
        return cls("u" in options, "d" in options, "t" in options, "c" in options)

    @property
    def step(self) -> int:
        """Sizes are multiples of this, in px; ratio of the face's side to that of the inter's output."""
        return 32 if self.doubled else 16

    @property
    def activation(self) -> Activation:
        """Activation of every block."""
        return cosine if self.cosine else leaky_relu_


def cosine(x: Tensor, slope: float) -> Tensor:
    """x·cos(x); `slope` is ignored, for the same signature as `leaky_relu_`.

    >>> cosine(torch.tensor([0.0, torch.pi]), 0.1).tolist()
    [0.0, -3.14...]
    """
    return x * torch.cos(x)


def unit_norm(x: Tensor) -> Tensor:
    """Scale each row of `(B, N)` to a mean square of 1, at least in float32.

    Pixel norm of Karras et al. 2018, "Progressive Growing of GANs". Rows of length 1 would have tens of thousands of
    values near 0, too weak an input for the dense layer that follows.

    >>> unit_norm(torch.tensor([[3.0, -3.0]])).round(decimals=4).tolist()
    [[1.0, -1.0]]
    """
    x = x.to(torch.promote_types(x.dtype, torch.float32))  # a bf16 sum of 32768 squares has about two correct digits
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-6)


class Down(nn.Module):
    """Halves the side with a strided 5x5 convolution."""

    def __init__(self, channels: int, out: int, activation: Activation) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, 5, stride=2, padding=2)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.conv(x), SLOPE)  # (B, out, H/2, W/2)


class Up(nn.Module):
    """Doubles the side with a 3x3 sub-pixel convolution."""

    def __init__(self, channels: int, out: int, activation: Activation) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 4 * out, 3, padding=1)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(match_memory_format(x, self.conv))  # the first input is a reshaped latent
        return depth_to_space(self.activation(x, SLOPE), 2)  # (B, out, 2H, 2W)


class Residual(nn.Module):
    """A residual block of two 3x3 convolutions."""

    def __init__(self, channels: int, activation: Activation) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        y = self.activation(self.conv1(x), RESIDUAL_SLOPE)
        return self.activation(self.conv2(y).add_(x), RESIDUAL_SLOPE)  # in place: see `leaky_relu_`


class Heads(nn.Module):
    """Four RGB heads for patches of 2x2 pixels: 1x1 for the upper left pixel, 3x3 for the others.

    They are computed as one 3x3 convolution with the 1x1 kernel zero-padded, so that the widest tensor of the network
    is read once instead of four times.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.empty(3, channels, 1, 1))
        self.others = nn.Parameter(torch.empty(9, channels, 3, 3))
        self.bias = nn.Parameter(torch.empty(12))

    def forward(self, x: Tensor) -> Tensor:
        weight = torch.cat([F.pad(self.first, (1, 1, 1, 1)), self.others])  # (12, channels, 3, 3)
        return depth_to_space(F.conv2d(x, weight, self.bias, padding=1), 2)  # (B, 3, 2H, 2W)


class Encoder(nn.Module):
    """Four downscales, or five with t."""

    def __init__(self, width: int, variant: Variant) -> None:
        super().__init__()
        activation = variant.activation
        self.unit_norm, self.deeper = variant.unit_norm, variant.deeper
        self.down1 = Down(3, width, activation)
        self.down2 = Down(width, 2 * width, activation)
        self.down3 = Down(2 * width, 4 * width, activation)
        self.down4 = Down(4 * width, 8 * width, activation)
        if variant.deeper:
            self.residual1 = Residual(width, activation)
            self.down5 = Down(8 * width, 8 * width, activation)
            self.residual5 = Residual(8 * width, activation)

    def forward(self, faces: Tensor) -> Tensor:
        x = self.down1(faces)  # (B, e, R/2, R/2)
        if self.deeper:
            x = self.residual1(x)
        x = self.down2(x)  # (B, 2e, R/4, R/4)
        x = self.down3(x)  # (B, 4e, R/8, R/8)
        x = self.down4(x)  # (B, 8e, R/16, R/16)
        if self.deeper:
            x = self.residual5(self.down5(x))  # (B, 8e, R/32, R/32), the side rounded up
        x = x.permute(0, 2, 3, 1).flatten(1)  # (B, N), N = `output_length`
        return unit_norm(x) if self.unit_norm else x

    @staticmethod
    def output_length(size: int, width: int, variant: Variant) -> int:
        """Length of the flat output for a face of `size` px.

        >>> Encoder.output_length(128, 64, Variant.parse("df", ""))
        32768
        """
        side = -(-size // (32 if variant.deeper else 16))
        return side**2 * 8 * width


CHECKPOINT_BLOCKS = (Down, Up, Residual)  # for `Swapper.checkpoint_blocks`


class Inter(nn.Module):
    """Two dense layers with the latent in between; the result is reshaped to a feature map and, without t, upscaled."""

    def __init__(self, inputs: int, latent: int, out: int, size: int, variant: Variant) -> None:
        super().__init__()
        self.side = size // variant.step
        self.deeper = variant.deeper
        self.squeeze = nn.Linear(inputs, latent)
        self.spread = nn.Linear(latent, self.side**2 * out)
        if not variant.deeper:
            self.up = Up(out, out, variant.activation)

    def forward(self, x: Tensor) -> Tensor:
        x = self.spread(self.squeeze(x))
        x = x.unflatten(1, (self.side, self.side, -1)).permute(0, 3, 1, 2)  # (B, out, r, r)
        return x if self.deeper else self.up(x)  # (B, out, 2r, 2r) or, with t, (B, out, r, r)


class Decoder(nn.Module):
    """Decodes a face and, in a separate branch without residual blocks, its mask.

    The upscales have 8, 4 and 2 times `width` channels (with t 8, 8, 4 and 2), those of the mask likewise with `mask`.
    """

    def __init__(self, channels: int, width: int, mask: int, variant: Variant) -> None:
        super().__init__()
        activation = variant.activation
        stages = (8, 8, 4, 2) if variant.deeper else (8, 4, 2)
        widths = [stage * width for stage in stages]
        masks = [stage * mask for stage in (*stages, 1)[: len(stages) + variant.doubled]]  # with d up to the full side
        self.ups = nn.ModuleList(Up(before, after, activation) for before, after in pairwise([channels, *widths]))
        self.residuals = nn.ModuleList(Residual(after, activation) for after in widths)
        self.draw = Heads(widths[-1]) if variant.doubled else nn.Conv2d(widths[-1], 3, 1)
        self.mask_ups = nn.ModuleList(Up(before, after, activation) for before, after in pairwise([channels, *masks]))
        self.draw_mask = nn.Conv2d(masks[-1], 1, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        rgb = mask = x
        for up, residual in zip(self.ups, self.residuals, strict=True):
            rgb = residual(up(rgb))  # (B, 8d, 2H, 2W), (B, 4d, 4H, 4W), (B, 2d, 8H, 8W)
        for up in self.mask_ups:
            mask = up(mask)
        rgb, mask = self.draw(rgb), self.draw_mask(mask)  # (B, 3, R, R), (B, 1, R, R)
        return torch.sigmoid(rgb.float()), torch.sigmoid(mask.float())  # bf16 has 128 steps between 0.5 and 1


def initialize_(network: nn.Module, variant: Variant) -> None:
    """Initialize the weights to preserve the strength of the signal through all layers (He et al. 2015), in place.

    Glorot's, which the family usually starts from, averages fan-in and fan-out and ignores that leaky ReLU halves the
    variance: an upscale with eight times as many output channels weakens the signal threefold, the dense layer after
    the latent nearly sixfold. Dense layers, which no activation follows, and x·cos(x), which is x near 0, need no gain.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            linear = variant.cosine or isinstance(layer, nn.Linear)
            nn.init.kaiming_normal_(layer.weight, a=1.0 if linear else SLOPE)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif isinstance(layer, Heads):
            nn.init.kaiming_normal_(layer.first, a=1.0)
            nn.init.kaiming_normal_(layer.others, a=1.0)
            nn.init.zeros_(layer.bias)
    for layer in network.modules():
        if isinstance(layer, Residual):
            scale_(layer.conv2, 0.3)  # residual branches start small, or the signal would grow block by block
        if isinstance(layer, Decoder):
            for weight in layer.draw.parameters():
                with torch.no_grad():
                    weight.mul_(0.2)  # the first predictions are grey, not noise
            scale_(layer.draw_mask, 0.2)
