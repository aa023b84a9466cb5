"""What the networks of the SAEHD family (`df`, `liae`) and `amp` are made of.

- `Variant`: the options u, d, t and c
- `cosine`, `unit_norm`: functions on tensors
- `Down`, `Up`, `Residual`, `Heads`: blocks
- `Encoder`, `Inter`, `Decoder`: the parts of a network
- `start`: initial weights

The family came with DeepFaceLab (Perov et al. 2020, "DeepFaceLab: A simple, flexible and extensible face swapping
framework"). Widths, kernels, slopes and options are its published figures, so that a user's experience with them
carries over: a `df` of 128 px with 256, 64, 64 and 22 dims has 57.54 million parameters here as there.

Nothing leaves the memory layout that weights and faces are given in. In channels_last a flattened picture is a view
with the channel fastest, and so is a code that becomes one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visagist.core.errors import ConfigError
from visagist.models.blocks.layers import depth_to_space, laid_out, leaky, scale

SLOPE = 0.1  # of leaky_relu
RESIDUAL_SLOPE = 0.2  # in residual blocks
SIZES = (64, 640)  # px

Activation = Callable[[Tensor, float], Tensor]  # a tensor, which it may overwrite, and the slope where there is one


@dataclass(frozen=True)
class Variant:
    """Which of the family's options a network has.

    Attributes:
        unit_norm: u, the encoder's output is scaled to unit norm: brightness and contrast of a face count less, and
            the swap is more like the source.
        doubled: d, pictures are computed at half the side and drawn by 2x2 pixels: twice the size for the same work.
        deeper: t, one downscale, one upscale and the residual blocks about them more.
        cosine: c, x·cos(x) takes the place of leaky ReLU.
    """

    unit_norm: bool
    doubled: bool
    deeper: bool
    cosine: bool

    @classmethod
    def named(cls, model: str, options: str) -> "Variant":
        """The variant that the letters of `options` ask for, in any order.

        Raises:
            ConfigError: a letter other than u, d, t and c, or one twice.

        >>> Variant.named("df", "ud")
        Variant(unit_norm=True, doubled=True, deeper=False, cosine=False)
        """
        if not set(options) <= set("udtc") or len(set(options)) != len(options):
            raise ConfigError(
                f"model '{model}': options '{options}' must be of the letters u, d, t and c, each once, such as ud"
            )
        return cls("u" in options, "d" in options, "t" in options, "c" in options)

    @property
    def step(self) -> int:
        """What sizes are multiples of, in px: what lies between the picture and the inter's square."""
        return 32 if self.doubled else 16

    @property
    def activation(self) -> Activation:
        """The activation of every block."""
        return cosine if self.cosine else leaky


def cosine(x: Tensor, slope: float) -> Tensor:
    """x·cos(x); `slope` has no meaning here, it only lets this take the place of `leaky`.

    >>> cosine(torch.tensor([0.0, torch.pi]), 0.1).tolist()
    [0.0, -3.14...]
    """
    return x * torch.cos(x)


def unit_norm(x: Tensor) -> Tensor:
    """Scale each row of `(B, N)` to a mean square of 1, in float32 at least.

    The norm is taken by the number (Karras et al. 2018, "Progressive Growing of GANs", pixel norm): a row of length 1
    would have tens of thousands of numbers near 0, and the dense layer after it nothing to start from.

    >>> unit_norm(torch.tensor([[3.0, -3.0]])).round(decimals=4).tolist()
    [[1.0, -1.0]]
    """
    x = x.to(torch.promote_types(x.dtype, torch.float32))  # bf16 adds up 32768 squares to about two digits
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-6)


class Down(nn.Module):
    """Half the side: a 5x5 convolution that steps over every other pixel."""

    def __init__(self, channels: int, out: int, activation: Activation) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, 5, stride=2, padding=2)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.conv(x), SLOPE)  # (B, out, H/2, W/2)


class Up(nn.Module):
    """Twice the side: a 3x3 convolution draws four pixels' worth of channels, which are then laid out as 2x2."""

    def __init__(self, channels: int, out: int, activation: Activation) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 4 * out, 3, padding=1)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(laid_out(x, self.conv))  # the first one's is a code
        return depth_to_space(self.activation(x, SLOPE), 2)  # (B, out, 2H, 2W)


class Residual(nn.Module):
    """Two 3x3 convolutions that add to their input."""

    def __init__(self, channels: int, activation: Activation) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        y = self.activation(self.conv1(x), RESIDUAL_SLOPE)
        return self.activation(self.conv2(y).add_(x), RESIDUAL_SLOPE)  # no new memory, see `leaky`


class Heads(nn.Module):
    """Four RGB heads, one for each pixel of 2x2: a 1x1 for the upper left one, 3x3 for the others.

    They are computed as one 3x3 convolution, the 1x1 kernel with zeros around it: the same sums, and the widest tensor
    of the network is read once instead of four times.
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
    """A face to what is seen in it: four or, with t, five downscales."""

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
        x = x.permute(0, 2, 3, 1).flatten(1)  # (B, numbers)
        return unit_norm(x) if self.unit_norm else x

    @staticmethod
    def numbers(size: int, width: int, variant: Variant) -> int:
        """How many numbers come out for a face of `size` px.

        >>> Encoder.numbers(128, 64, Variant.named("df", ""))
        32768
        """
        side = -(-size // (32 if variant.deeper else 16))
        return side**2 * 8 * width


SEGMENTS = (Down, Up, Residual)  # of `Swapper.segments`


class Inter(nn.Module):
    """A latent between two dense layers, and a square picture from it; with t it is not scaled up."""

    def __init__(self, numbers: int, latent: int, out: int, size: int, variant: Variant) -> None:
        super().__init__()
        self.side = size // variant.step
        self.deeper = variant.deeper
        self.squeeze = nn.Linear(numbers, latent)
        self.spread = nn.Linear(latent, self.side**2 * out)
        if not variant.deeper:
            self.up = Up(out, out, variant.activation)

    def forward(self, x: Tensor) -> Tensor:
        x = self.spread(self.squeeze(x))
        x = x.unflatten(1, (self.side, self.side, -1)).permute(0, 3, 1, 2)  # (B, out, r, r)
        return x if self.deeper else self.up(x)  # (B, out, 2r, 2r) or, with t, (B, out, r, r)


class Decoder(nn.Module):
    """Draws a face and, on a branch of its own, its mask.

    Args:
        channels: of what comes in.
        width: `d`; the upscales have 8, 4 and 2 times as many channels, with t 8, 8, 4 and 2 times.
        mask: the same for the mask's branch, which has no residual blocks.
        variant: the network's options.
    """

    def __init__(self, channels: int, width: int, mask: int, variant: Variant) -> None:
        super().__init__()
        activation = variant.activation
        stages = (8, 8, 4, 2) if variant.deeper else (8, 4, 2)
        widths = [stage * width for stage in stages]
        masks = [stage * mask for stage in (*stages, 1)[: len(stages) + variant.doubled]]  # d: up to the full side
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


def start(network: nn.Module, variant: Variant) -> None:
    """Weights with which signals keep their strength through all layers (He et al. 2015), drawn anew.

    The family's usual start (Glorot's) counts a layer's outputs as well as its inputs, and not that a leaky ReLU halves
    the square of a signal: an upscale with eight times as many channels out as in weakens it threefold, the dense layer
    after the latent nearly sixfold. Where no activation follows (dense layers), and with x·cos(x), which is x near 0,
    there is nothing to make up for.
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
            scale(layer.conv2, 0.3)  # or the blocks would add up
        if isinstance(layer, Decoder):
            for weight in layer.draw.parameters():
                with torch.no_grad():
                    weight.mul_(0.2)  # the first pictures are grey, not noise
            scale(layer.draw_mask, 0.2)
