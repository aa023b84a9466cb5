"""Functions that most architectures share: sub-pixels, memory layout, activation, initial weights."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def depth_to_space(x: Tensor, factor: int) -> Tensor:
    """Trade channels for pixels: `(B, f*f*C, H, W)` to `(B, C, f*H, f*W)`.

    The output channel is the fastest part of the input channel, unlike in `torch.pixel_shuffle`: in channels_last
    each output pixel is then one contiguous run of memory, which is 2 to 7 times faster. The result is in the layout
    that `x` is in.

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
    """Trade pixels for channels: `(B, C, H, W)` to `(B, f*f*C, H/f, W/f)`, the inverse of `depth_to_space`.

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


def laid_out(x: Tensor, layer: nn.Conv2d) -> Tensor:
    """A picture in the memory layout of the weights of the layer that it goes into; copied only where it is not yet.

    A code that becomes a picture is one in channels_last, and each convolution gives what it gets: without this, a
    network whose weights are in plain order would be in channels_last from its latent on.

    Args:
        x: `(B, C, H, W)`.
        layer: with kernels larger than 1x1, whose layout their strides tell.
    """
    last = layer.weight.is_contiguous(memory_format=torch.channels_last)
    return x.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)


def leaky(x: Tensor, slope: float) -> Tensor:
    """Leaky ReLU, in the memory of `x`, which holds what it was no more.

    Memory that is new has to be zeroed by the kernel, page by page, which takes several times as long as the
    arithmetic; and what the gradient needs is the result's sign, so nothing is kept twice.

    >>> leaky(torch.tensor([-1.0, 2.0]), 0.1).tolist()
    [-0.10..., 2.0]
    """
    return F.leaky_relu(x, slope, True)  # in place


def start_even(network: nn.Module, slope: float) -> None:
    """Draw weights with which signals keep their strength through all layers (He et al. 2015), in place.

    Torch's own defaults weaken them threefold a layer, and the first hundred iterations go into undoing that.

    Args:
        network: whose convolutions and dense layers are meant; their biases become 0.
        slope: of the leaky ReLU after them.
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, a=slope)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def scale(layer: nn.Conv2d, factor: float) -> None:
    """Multiply the weights of `layer` by `factor`, in place."""
    with torch.no_grad():
        layer.weight.mul_(factor)
