"""Small ONNX networks as frozen torch modules, for losses: gradients flow to the input, never into the weights.

onnxruntime does not compute gradients, and general converters are large: a face network needs a dozen operators.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from visagist.core.errors import WeightsError
from visagist.core.types import StrPath

Attributes = Mapping[str, Any]
FLOAT_TYPES = (1, 10, 11, 16)  # TensorProto.DataType: float32, float16, float64, bfloat16


class Node(NamedTuple):
    operation: str
    inputs: tuple[str, ...]
    output: str
    attributes: Attributes


class OnnxModule(nn.Module):
    """A convolutional network with one input and one output, loaded from an ONNX file and run in float32.

    Raises:
        WeightsError: the file cannot be read, has several inputs or outputs, or uses an unsupported operator.
    """

    def __init__(self, path: StrPath) -> None:
        super().__init__()
        constants, nodes, self.entry, self.exit = _read(path)
        self.nodes: list[Node] = []
        for node in nodes:
            if constants.keys() >= set(node.inputs):  # depends on weights alone, so compute it once
                constants[node.output] = _run(node, constants)
            else:
                self.nodes.append(node)
        used = {name for node in self.nodes for name in node.inputs} & constants.keys()
        self.buffer_names = {name: f"constant_{i}" for i, name in enumerate(sorted(used))}
        for name, buffer in self.buffer_names.items():  # not persistent, so that checkpoints do not copy the file
            self.register_buffer(buffer, constants[name], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        values = {name: self.get_buffer(buffer) for name, buffer in self.buffer_names.items()}
        values[self.entry] = x
        for node in self.nodes:
            values[node.output] = _run(node, values)
        return values[self.exit]


def _run(node: Node, values: Mapping[str, Tensor]) -> Tensor:
    return OPERATIONS[node.operation]([values[name] for name in node.inputs], node.attributes)


def _read(path: StrPath) -> tuple[dict[str, Tensor], list[Node], str, str]:
    """Constants by name, nodes in order, input name and output name."""
    import onnx  # imported here because it is slow and only some losses need it
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
        if node.operation == "Constant":
            constants[node.output] = _tensor(onnx.numpy_helper.to_array(attributes["value"]))
        elif _is_supported(node):
            nodes.append(node)
        else:
            raise WeightsError(
                f"{path}: node '{entry.name}' ({node.operation}) is not supported in training (supported: "
                f"{', '.join(OPERATIONS)}, in floating point and with explicit padding); set the weight of the loss "
                "that uses this network to 0"
            )
    inputs = [entry.name for entry in graph.input if entry.name not in constants]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise WeightsError(f"{path}: {len(inputs)} inputs and {len(graph.output)} outputs; expected one of each")
    return constants, nodes, inputs[0], graph.output[0].name


def _is_supported(node: Node) -> bool:
    explicit = node.attributes.get("auto_pad", b"NOTSET") == b"NOTSET"
    return node.operation in OPERATIONS and explicit and node.attributes.get("to", FLOAT_TYPES[0]) in FLOAT_TYPES


def _tensor(array: Any) -> Tensor:
    constant = torch.from_numpy(array.copy())  # onnx returns read-only views
    return constant.float() if constant.is_floating_point() else constant


def _convolution(inputs: Sequence[Tensor], attributes: Attributes) -> Tensor:
    x, weight, *bias = inputs
    if weight.shape == (x.shape[1], 1, 1, 1) and attributes.keys() <= {"group", "kernel_shape"} and not bias:
        # One factor per channel, as tools/fuse_prelu.py encodes PReLU: 1.7 times as fast as conv2d, 4 in channels_last.
        return x * weight.to(x.dtype)[:, 0]
    top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
    if (top, left) != (bottom, right):
        x, top, left = F.pad(x, (left, right, top, bottom)), 0, 0
    stride, dilation = tuple(attributes.get("strides", (1, 1))), tuple(attributes.get("dilations", (1, 1)))
    return F.conv2d(x, weight, bias[0] if bias else None, stride, (top, left), dilation, attributes.get("group", 1))


def _batch_norm(inputs: Sequence[Tensor], attributes: Attributes) -> Tensor:
    x, gain, offset, mean, variance = inputs
    return F.batch_norm(x, mean, variance, gain, offset, training=False, eps=attributes.get("epsilon", 1e-5))


def _gemm(inputs: Sequence[Tensor], attributes: Attributes) -> Tensor:
    x, weight, *bias = inputs
    x = x.T if attributes.get("transA", 0) else x
    weight = weight.T if attributes.get("transB", 0) else weight
    y = attributes.get("alpha", 1.0) * (x @ weight)
    return y + attributes.get("beta", 1.0) * bias[0] if bias else y


def _flatten(inputs: Sequence[Tensor], attributes: Attributes) -> Tensor:
    x, axis = inputs[0], attributes.get("axis", 1)
    return x.reshape(x.shape[:axis].numel(), -1)


OPERATIONS: dict[str, Callable[[Sequence[Tensor], Attributes], Tensor]] = {
    "Add": lambda x, _: x[0] + x[1],
    "BatchNormalization": _batch_norm,
    "Cast": lambda x, _: x[0].float(),  # half-precision weights run in float32
    "Conv": _convolution,
    "Dropout": lambda x, _: x[0],  # inference only
    "Flatten": _flatten,
    "Gemm": _gemm,
    "Identity": lambda x, _: x[0],
    "Mul": lambda x, _: x[0] * x[1],
    "PRelu": lambda x, _: F.prelu(x[0], x[1].flatten()),
    "Relu": lambda x, _: F.relu(x[0]),
    "Sub": lambda x, _: x[0] - x[1],
}
