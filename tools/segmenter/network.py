"""The segmentation network: an ImageNet trunk made trainable, and a small decoder that ends at full resolution."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
import torch
from tools.segmenter.sources import SHARED
from torch import Tensor, nn
from torch.nn import functional as F

TRUNK = SHARED / "models/efficientnet_lite0_trunk.onnx"
SCALE, OFFSET = 1.9921875, 0.9921875  # from RGB in [0, 1] to the trunk's input
WIDTHS = {"stride16": (112, 64), "stride8": (40, 64), "stride4": (24, 48), "stride2": (16, 32)}  # channels in and out


class Trunk(nn.Module):
    """EfficientNet-Lite0 up to stride 16 (Tan and Le 2019), with batch normalisation folded into the weights."""

    def __init__(self, path: Path = TRUNK) -> None:
        super().__init__()
        graph = onnx.load(path).graph
        arrays = {entry.name: onnx.numpy_helper.to_array(entry) for entry in graph.initializer}
        self.steps: list[tuple[str, tuple[str, ...], str, str]] = []  # operation, inputs, output, layer
        self.layers = nn.ModuleDict()
        for i, node in enumerate(graph.node):
            name = ""
            if node.op_type == "Conv":
                name = f"conv{i}"
                settings = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
                self.layers[name] = PaddedConv(arrays[node.input[1]], arrays[node.input[2]], settings)
            inputs = tuple(each for each in node.input if each not in arrays)
            self.steps.append((node.op_type, inputs, node.output[0], name))
        self.exits = [each.name for each in graph.output]

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """`(B, 3, H, W)` RGB in [0, 1], H and W multiples of 16, to the linear outputs of four stages."""
        values = {"image": image * SCALE - OFFSET}
        for operation, inputs, output, layer in self.steps:
            first = values[inputs[0]]
            if operation == "Conv":
                values[output] = self.layers[layer](first)
            elif operation == "Clip":
                values[output] = F.hardtanh(first, 0.0, 6.0)
            else:
                values[output] = first + values[inputs[1]]
        return {name: values[name] for name in self.exits}


class PaddedConv(nn.Conv2d):
    """A convolution with TensorFlow's padding, which may be larger below and to the right."""

    def __init__(self, weight: np.ndarray, bias: np.ndarray, settings: dict[str, object]) -> None:
        groups, stride = int(settings["group"]), tuple(settings["strides"])  # pyright: ignore
        super().__init__(weight.shape[1] * groups, len(weight), weight.shape[2:], stride, groups=groups)
        top, left, bottom, right = settings["pads"]  # pyright: ignore
        self.pads = (left, right, top, bottom)
        self.weight = nn.Parameter(torch.from_numpy(weight.copy()))
        self.bias = nn.Parameter(torch.from_numpy(bias.copy()))

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - as in nn.Conv2d
        left, right, top, bottom = self.pads
        if (left, top) == (right, bottom):
            return F.conv2d(input, self.weight, self.bias, self.stride, (top, left), 1, self.groups)
        return F.conv2d(F.pad(input, self.pads), self.weight, self.bias, self.stride, 0, 1, self.groups)


class Refine(nn.Module):
    """Two depthwise-separable convolutions with a shortcut."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.across = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1, groups=channels) for _ in range(2))
        self.mix = nn.ModuleList(nn.Conv2d(channels, channels, 1) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for across, mix in zip(self.across, self.mix, strict=True):
            y = mix(F.relu(across(y)))
        return F.relu(x + y)


class Segmenter(nn.Module):
    """Class logits of aligned crops."""

    def __init__(self, classes: int = 4) -> None:
        super().__init__()
        self.trunk = Trunk()
        widths = list(WIDTHS.values())
        self.lateral = nn.ModuleDict({name: nn.Conv2d(a, b, 1) for name, (a, b) in WIDTHS.items()})
        self.context = nn.Conv2d(widths[0][0], widths[0][1], 1)
        self.refine = nn.ModuleDict({name: Refine(b) for name, (_, b) in WIDTHS.items()})
        self.narrow = nn.ModuleList(nn.Conv2d(a, b, 1) for (_, a), (_, b) in pairwise(widths))
        self.detail = nn.Conv2d(12, 16, 1)  # patches of 2x2 px, for edges finer than stride 2
        self.mix = nn.Conv2d(widths[-1][1] + 16, 32, 3, padding=1)
        self.head = nn.Conv2d(32, 4 * classes, 1)  # classes of 2x2 px
        nn.init.zeros_(self.head.weight)

    def forward(self, image: Tensor) -> Tensor:
        """`(B, 3, H, W)` RGB in [0, 1], H and W multiples of 16, to logits `(B, classes, H, W)`."""
        stages = self.trunk(image)
        deepest = stages["stride16"]
        x = self.lateral["stride16"](deepest) + self.context(deepest.mean((2, 3), keepdim=True))
        x = self.refine["stride16"](F.relu(x))
        for narrow, name in zip(self.narrow, list(WIDTHS)[1:], strict=True):
            x = F.interpolate(narrow(x), scale_factor=2.0, mode="bilinear", align_corners=False)
            x = self.refine[name](F.relu(x + self.lateral[name](stages[name])))
        detail = F.relu(self.detail(F.pixel_unshuffle(image, 2)))
        x = F.relu(self.mix(torch.cat([x, detail], 1)))
        return F.pixel_shuffle(self.head(x), 2)
