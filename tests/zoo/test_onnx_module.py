"""Small ONNX networks inside torch, against onnxruntime."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import NodeProto, TensorProto, helper, numpy_helper

from visagist.core.errors import WeightsError
from visagist.zoo.onnx_module import FrozenGraph

FLOAT = TensorProto.FLOAT


def write(path: Path, nodes: list[NodeProto], constants: dict[str, np.ndarray], outputs: int = 1) -> Path:
    """A network from `x` (N, 4, 9, 9) to `y`."""
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", FLOAT, ["N", 4, 9, 9])],
        [helper.make_tensor_value_info(name, FLOAT, None) for name in ("y", "z")[:outputs]],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    onnx.save(model, path)
    return path


def assert_equal_to_onnxruntime(path: Path, rng: np.random.Generator) -> list[str]:
    x = rng.normal(size=(3, 4, 9, 9)).astype(np.float32)
    session = onnxruntime.InferenceSession(path.as_posix(), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"x": x})
    graph = FrozenGraph(path)
    np.testing.assert_allclose(graph(torch.from_numpy(x)).numpy(), np.asarray(expected), rtol=1e-4, atol=1e-4)
    return [node.kind for node in graph.nodes]


def test_all_operations_equal_onnxruntimes(tmp_path: Path, rng: np.random.Generator) -> None:
    def draw(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    constants = {
        "w16": draw(6, 2, 3, 2).astype(np.float16),
        "bias": draw(6),
        "shift": draw(6, 1, 1),
        **{name: draw(6) for name in ("gain", "offset", "mean")},
        "variance": rng.uniform(0.5, 2, 6).astype(np.float32),
        "slope": rng.uniform(-0.5, 1.5, (6, 1, 1)).astype(np.float32),
        "dense": draw(5, 6 * 5 * 9),
        "dense_bias": draw(5),
    }
    normalise = ["gain", "offset", "mean", "variance"]
    nodes = [
        helper.make_node("Cast", ["w16"], ["w"], to=FLOAT),
        helper.make_node("Constant", [], ["half"], value=numpy_helper.from_array(np.array(0.5, np.float32))),
        helper.make_node("Sub", ["x", "half"], ["a"]),
        helper.make_node("Conv", ["a", "w", "bias"], ["b"], group=2, pads=[1, 0, 2, 1], strides=[2, 1]),
        helper.make_node("BatchNormalization", ["b", *normalise], ["c"], epsilon=1e-3),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("PRelu", ["b", "slope"], ["e"]),
        helper.make_node("Mul", ["e", "shift"], ["f"]),
        helper.make_node("Add", ["d", "f"], ["g"]),
        helper.make_node("BatchNormalization", ["g", *normalise], ["h"], epsilon=1e-3),
        helper.make_node("Identity", ["h"], ["i"]),
        helper.make_node("Dropout", ["i"], ["j"]),
        helper.make_node("Flatten", ["j"], ["k"]),
        helper.make_node("Gemm", ["k", "dense", "dense_bias"], ["y"], transB=1, alpha=0.5, beta=2.0),
    ]
    kinds = assert_equal_to_onnxruntime(write(tmp_path / "all.onnx", nodes, constants), rng)
    assert "Cast" not in kinds  # of weights: done once


@pytest.mark.parametrize("changes", [{}, {"strides": (2, 2)}, {"pads": (1, 0, 0, 1)}])
def test_a_number_a_channel_is_the_convolution_that_it_is_spelled_as(
    tmp_path: Path, changes: dict[str, Any], rng: np.random.Generator
) -> None:
    """tools/fuse_prelu.py spells PReLU so; with a stride or a rim it is more than a product."""
    constants = {name: rng.normal(size=(4, 1, 1, 1)).astype(np.float32) for name in ("slope", "rest")}
    nodes = [
        helper.make_node("Conv", ["x", "rest"], ["a"], group=4, **changes),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["x", "slope"], ["c"], group=4, **changes),
        helper.make_node("Add", ["b", "c"], ["y"]),
    ]
    assert_equal_to_onnxruntime(write(tmp_path / "prelu.onnx", nodes, constants), rng)


def test_what_cannot_be_run_is_refused_by_name(tmp_path: Path) -> None:
    sigmoid = write(tmp_path / "sigmoid.onnx", [helper.make_node("Sigmoid", ["x"], ["y"], name="gate")], {})
    with pytest.raises(WeightsError, match=r"node 'gate' \(Sigmoid\).*identity loss at 0"):
        FrozenGraph(sigmoid)
    weight = {"w": np.ones((4, 4, 3, 3), np.float32)}
    same = [helper.make_node("Conv", ["x", "w"], ["y"], auto_pad="SAME_UPPER")]
    with pytest.raises(WeightsError, match="explicit padding"):
        FrozenGraph(write(tmp_path / "same.onnx", same, weight))
    both = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Identity", ["x"], ["z"])]
    with pytest.raises(WeightsError, match="1 inputs and 2 outputs"):
        FrozenGraph(write(tmp_path / "both.onnx", both, {}, outputs=2))


def test_damaged_and_missing_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "damaged.onnx").write_bytes(b"\x0a\xff\xff\xff not a network")
    for name in ("damaged.onnx", "missing.onnx"):
        with pytest.raises(WeightsError, match=name):
            FrozenGraph(tmp_path / name)
