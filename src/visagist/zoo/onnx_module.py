"""A small ONNX network inside torch, frozen: gradients flow through it to its input, never into it.

- `FrozenGraph`: reads the file and computes node by node what onnxruntime would
- `OPERATIONS`: the kinds of nodes it knows, those of convolutional face networks

onnxruntime gives no gradients, and converters from ONNX to torch know hundreds of operators where SFace needs ten.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visagist.core.errors import WeightsError

Attributes = Mapping[str, Any]
FLOATS = (1, 10, 11, 16)  # of ONNX's TensorProto.DataType: float32, float16, float64, bfloat16


class Node(NamedTuple):
    """One operation of a graph."""

    kind: str
    inputs: tuple[str, ...]
    output: str
    attributes: Attributes


class FrozenGraph(nn.Module):
    """A convolutional network from an ONNX file, as torch operations, with the file's numbers as float32.

    Whatever depends on the weights alone is computed once.

    Raises:
        WeightsError: the file cannot be read, has several inputs or outputs, or nodes of another kind.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        constants, nodes, self.entry, self.exit = _read(path)
        self.nodes = _fold_constants(constants, nodes)
        used = {name for node in self.nodes for name in node.inputs if name in constants}
        self.places = {name: f"constant_{i}" for i, name in enumerate(sorted(used))}
        for name, place in self.places.items():  # not persistent: a run's checkpoint holds no copy of the file
            self.register_buffer(place, constants[name], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """What the file's only output is for `x` as its only input."""
        values = {name: self.get_buffer(place) for name, place in self.places.items()}
        values[self.entry] = x
        for node in self.nodes:
            values[node.output] = OPERATIONS[node.kind]([values[name] for name in node.inputs], node.attributes)
        return values[self.exit]


def _read(path: Path) -> tuple[dict[str, Tensor], list[Node], str, str]:
    """Constants by name, nodes in order, and the names of input and output."""
    import onnx  # here: only the identity loss needs it, and every command imports this room
    from google.protobuf.message import DecodeError

    try:
        graph = onnx.load(path).graph
    except (OSError, DecodeError) as error:
        raise WeightsError(f"{path}: cannot be read as ONNX ({error})") from error
    constants = {entry.name: _tensor(onnx.numpy_helper.to_array(entry)) for entry in graph.initializer}
    nodes: list[Node] = []
    for entry in graph.node:
        attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in entry.attribute}
        node = Node(entry.op_type, tuple(entry.input), entry.output[0], attributes)
        if node.kind == "Constant":
            constants[node.output] = _tensor(onnx.numpy_helper.to_array(attributes["value"]))
        elif _is_known(node):
            nodes.append(node)
        else:
            raise WeightsError(
                f"{path}: node '{entry.name}' ({node.kind}) cannot be run in training, which knows "
                f"{', '.join(OPERATIONS)}, in floating point and with explicit padding; leave the weight of the "
                "identity loss at 0 with this embedder"
            )
    inputs = [entry.name for entry in graph.input if entry.name not in constants]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise WeightsError(f"{path}: {len(inputs)} inputs and {len(graph.output)} outputs; one and one are expected")
    return constants, nodes, inputs[0], graph.output[0].name


def _is_known(node: Node) -> bool:
    explicit = node.attributes.get("auto_pad", b"NOTSET") == b"NOTSET"
    return node.kind in OPERATIONS and explicit and node.attributes.get("to", FLOATS[0]) in FLOATS


def _tensor(array: Any) -> Tensor:
    """A constant; floating-point ones as float32."""
    found = torch.from_numpy(array.copy())  # onnx gives views of read-only memory
    return found.float() if found.is_floating_point() else found


def _fold_constants(constants: dict[str, Tensor], nodes: Sequence[Node]) -> list[Node]:
    """The nodes that depend on the input; what the others give goes into `constants`."""
    kept: list[Node] = []
    for node in nodes:
        if all(name in constants for name in node.inputs):
            constants[node.output] = OPERATIONS[node.kind]([constants[name] for name in node.inputs], node.attributes)
        else:
            kept.append(node)
    return kept


def _convolution(inputs: Sequence[Tensor], attributes: Attributes) -> Tensor:
    x, weight, *bias = inputs
    if weight.shape == (x.shape[1], 1, 1, 1) and attributes.keys() <= {"group", "kernel_shape"} and not bias:
        return (
            x * weight.to(x.dtype)[:, 0]
        )  # PReLU as tools/fuse_prelu.py spells it: 1.7 times as fast, 4 if channels_last
    top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
    if (top, left) != (bottom, right):
        x, top, left = F.pad(x, (left, right, top, bottom)), 0, 0
    stride, dilation = tuple(attributes.get("strides", (1, 1))), tuple(attributes.get("dilations", (1, 1)))
    return F.conv2d(x, weight, bias[0] if bias else None, stride, (top, left), dilation, attributes.get("group", 1))


def _normalisation(inputs: Sequence[Tensor], attributes: Attributes) -> Tensor:
    x, gain, offset, mean, variance = inputs
    return F.batch_norm(x, mean, variance, gain, offset, training=False, eps=attributes.get("epsilon", 1e-5))


def _dense(inputs: Sequence[Tensor], attributes: Attributes) -> Tensor:
    x, weight, *bias = inputs
    x = x.T if attributes.get("transA", 0) else x
    weight = weight.T if attributes.get("transB", 0) else weight
    y = attributes.get("alpha", 1.0) * (x @ weight)
    return y + attributes.get("beta", 1.0) * bias[0] if bias else y


def _flat(inputs: Sequence[Tensor], attributes: Attributes) -> Tensor:
    x, axis = inputs[0], attributes.get("axis", 1)
    return x.reshape(x.shape[:axis].numel(), -1)


OPERATIONS: dict[str, Callable[[Sequence[Tensor], Attributes], Tensor]] = {
    "Add": lambda x, _: x[0] + x[1],
    "BatchNormalization": _normalisation,
    "Cast": lambda x, _: x[0].float(),  # files of half precision compute in float32 here
    "Conv": _convolution,
    "Dropout": lambda x, _: x[0],  # of a network that no longer learns
    "Flatten": _flat,
    "Gemm": _dense,
    "Identity": lambda x, _: x[0],
    "Mul": lambda x, _: x[0] * x[1],
    "PRelu": lambda x, _: F.prelu(x[0], x[1].flatten()),
    "Relu": lambda x, _: F.relu(x[0]),
    "Sub": lambda x, _: x[0] - x[1],
}
