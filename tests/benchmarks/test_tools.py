"""The script that rewrote the embedded models, on a graph of its own."""

import importlib.util
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

SCRIPT = Path(__file__).parents[2] / "tools" / "fuse_prelu.py"


@pytest.fixture
def fuse():
    spec = importlib.util.spec_from_file_location("fuse_prelu", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.fuse


def spelled_out(slopes: np.ndarray) -> onnx.ModelProto:
    """conv(prelu(x)), PReLU spelled out with its slopes in float16, as the converted models have it."""
    rng = np.random.default_rng(0)
    channels = slopes.size
    nodes = [
        helper.make_node("Relu", ["x"], ["above"]),
        helper.make_node("Min", ["x", "zero"], ["below"]),
        helper.make_node("Cast", ["slope_h"], ["slope"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["slope", "below"], ["bent"]),
        helper.make_node("Add", ["above", "bent"], ["activated"]),
        helper.make_node("Conv", ["activated", "weight"], ["y"], kernel_shape=[1, 1]),
    ]
    weights = [
        numpy_helper.from_array(np.float32(0).reshape(()), "zero"),
        numpy_helper.from_array(slopes.astype(np.float16).reshape(channels, 1, 1), "slope_h"),
        numpy_helper.from_array(rng.standard_normal((8, channels, 1, 1)).astype(np.float32), "weight"),
    ]
    shape = [1, channels, 6, 6]
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 8, 6, 6])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    made = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(made.run(None, {"x": x})[0])


@pytest.mark.parametrize("slopes", [np.linspace(0, 1, 16), np.linspace(-2, 20, 16)])
def test_a_fused_prelu_is_the_same_function(fuse, slopes: np.ndarray):
    model = spelled_out(slopes)
    x = np.random.default_rng(1).standard_normal((1, 16, 6, 6)).astype(np.float32)
    before = run(model, x)
    assert fuse(model) == 1
    kinds = {node.op_type for node in model.graph.node}
    assert kinds == {"Conv", "Relu", "Add"}
    np.testing.assert_allclose(run(model, x), before, rtol=1e-4, atol=1e-4)


def test_other_sums_stay(fuse):
    nodes = [helper.make_node("Relu", ["x"], ["above"]), helper.make_node("Add", ["above", "x"], ["y"])]
    info = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in "xy"]
    graph = helper.make_graph(nodes, "test", [info[0]], [info[1]])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 16)], ir_version=8)
    assert fuse(model) == 0
    assert [node.op_type for node in model.graph.node] == ["Relu", "Add"]
