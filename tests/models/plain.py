"""References for networks: the SAEHD family's blocks in plain PyTorch and NCHW, and parameter counts."""

import torch
from torch import Tensor
from torch.nn import functional as F


def plain_shuffle(x: Tensor) -> Tensor:
    """Pixel shuffle with the channel fastest; PyTorch's has it slowest."""
    return F.pixel_shuffle(x.unflatten(1, (4, -1)).transpose(1, 2).flatten(1, 2), 2)


def plain_up(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return plain_shuffle(F.leaky_relu(F.conv2d(x, state[f"{name}.conv.weight"], state[f"{name}.conv.bias"], 1, 1), 0.1))


def plain_residual(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    y = F.leaky_relu(F.conv2d(x, state[f"{name}.conv1.weight"], state[f"{name}.conv1.bias"], 1, 1), 0.2)
    return F.leaky_relu(x + F.conv2d(y, state[f"{name}.conv2.weight"], state[f"{name}.conv2.bias"], 1, 1), 0.2)


def conv(side: int, inputs: int, outputs: int) -> int:
    """Number of parameters of a convolution."""
    return side**2 * inputs * outputs + outputs


def count(module: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())
