"""Functions shared by most architectures: sub-pixel convolution, memory format, activation, initial weights."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def depth_to_space(x: Tensor, factor: int) -> Tensor:
    """Rearrange channels into pixels: `(B, f*f*C, H, W)` to `(B, C, f*H, f*W)`, in the memory format of `x`.

    Unlike in `torch.pixel_shuffle`, the output channel varies fastest within the input channels. In channels_last, each
    output pixel is then one contiguous run of memory, which makes this 2 to 7 times faster.

    >>> x = torch.arange(8.0).reshape(1, 8, 1, 1)
    >>> depth_to_space(x, 2)[0, 0].tolist()
    [[0.0, 2.0], [4.0, 6.0]]
    """
    b, c, h, w = x.shape
    if not x.is_contiguous(memory_format=torch.channels_last):
        x = x.reshape(b, factor, factor, c // factor**2, h, w).permute(0, 3, 4, 1, 5, 2)  # (B, C, H, f, W, f)
        return x.reshape(b, c // factor**2, h * factor, w * factor)
    x = x.permute(0, 2, 3, 1).reshape(b, h, w, factor, factor, c // factor**2)  # (B, H, W, f, f, C)
    x = x.permute(0, 1, 3, 2, 4, 5).reshape(b, h * factor, w * factor, c // factor**2)  # (B, fH, fW, C)
    return x.permute(0, 3, 1, 2)  # channels_last by its strides


def space_to_depth(x: Tensor, factor: int) -> Tensor:
    """Rearrange pixels into channels: `(B, C, H, W)` to `(B, f*f*C, H/f, W/f)`, the inverse of `depth_to_space`.

    >>> x = torch.rand(2, 3, 8, 8)
    >>> bool((depth_to_space(space_to_depth(x, 4), 4) == x).all())
    True
    """
    b, c, h, w = x.shape
    if not x.is_contiguous(memory_format=torch.channels_last):
        x = x.reshape(b, c, h // factor, factor, w // factor, factor).permute(0, 3, 5, 1, 2, 4)  # (B, f, f, C, H, W)
        return x.reshape(b, c * factor**2, h // factor, w // factor)
    x = x.permute(0, 2, 3, 1).reshape(b, h // factor, factor, w // factor, factor, c)
    x = x.permute(0, 1, 3, 2, 4, 5).reshape(b, h // factor, w // factor, c * factor**2)
    return x.permute(0, 3, 1, 2)


def match_memory_format(x: Tensor, layer: nn.Conv2d) -> Tensor:
    """Copy `(B, C, H, W)` into the memory format of a layer's weights, unless it already has it.

    A latent reshaped to an image is in channels_last, and convolutions keep the format of their input, so the rest of a
    contiguous network would run in channels_last. The kernel must be larger than 1x1: only then do its strides show the
    format.
    """
    is_channels_last = layer.weight.is_contiguous(memory_format=torch.channels_last)
    return x.contiguous(memory_format=torch.channels_last if is_channels_last else torch.contiguous_format)


def leaky_relu_(x: Tensor, slope: float) -> Tensor:
    """Leaky ReLU in place.

    The operating system zeroes newly allocated memory page by page, which takes several times as long as the
    arithmetic. The gradient only needs the sign of the result.

    >>> leaky_relu_(torch.tensor([-1.0, 2.0]), 0.1).tolist()
    [-0.10..., 2.0]
    """
    return F.leaky_relu(x, slope, True)


def he_init_(network: nn.Module, slope: float) -> None:
    """Initialize convolutions and dense layers followed by leaky ReLUs (He et al. 2015), in place; biases become 0.

    Torch's defaults weaken the signal threefold per layer, and the first hundred iterations only undo that.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, a=slope)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def scale_(layer: nn.Conv2d, factor: float) -> None:
    """Multiply the weights of `layer` by `factor`, in place."""
    with torch.no_grad():
        layer.weight.mul_(factor)
