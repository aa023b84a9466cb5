"""ONNX networks as torch modules, compared with onnxruntime."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import NodeProto, TensorProto, helper, numpy_helper

from visagist.core.errors import WeightsError
from visagist.zoo.onnx_module import OnnxModule

FLOAT = TensorProto.FLOAT


def write(path: Path, nodes: list[NodeProto], constants: dict[str, np.ndarray], outputs: tuple[str, ...]) -> Path:
    """Write a network with input `x` (N, 4, 9, 9)."""
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", FLOAT, ["N", 4, 9, 9])],
        [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    onnx.save(model, path)
    return path


def check_against_onnxruntime(path: Path) -> OnnxModule:
    x = np.random.default_rng(1).normal(size=(3, 4, 9, 9)).astype(np.float32)
    session = onnxruntime.InferenceSession(path.as_posix(), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"x": x})
    module = OnnxModule(path)
    np.testing.assert_allclose(module(torch.from_numpy(x)).numpy(), np.asarray(expected), rtol=1e-4, atol=1e-4)
    return module


def test_all_operators_match_onnxruntime(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)

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
    module = check_against_onnxruntime(write(tmp_path / "all.onnx", nodes, constants, ("y",)))
    assert "Cast" not in {node.operation for node in module.nodes}  # computed once, since it depends on weights alone
    assert not list(module.parameters())
    assert not module.state_dict()


@pytest.mark.parametrize("attributes", [{}, {"strides": (2, 2)}, {"pads": (1, 0, 0, 1)}])
def test_per_channel_factors_become_products_only_without_stride_and_padding(
    tmp_path: Path, attributes: dict[str, Any]
) -> None:
    """tools/fuse_prelu.py encodes PReLU as such convolutions."""
    rng = np.random.default_rng(0)
    constants = {name: rng.normal(size=(4, 1, 1, 1)).astype(np.float32) for name in ("slope", "rest")}
    nodes = [
        helper.make_node("Conv", ["x", "rest"], ["a"], group=4, **attributes),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["x", "slope"], ["c"], group=4, **attributes),
        helper.make_node("Add", ["b", "c"], ["y"]),
    ]
    check_against_onnxruntime(write(tmp_path / "prelu.onnx", nodes, constants, ("y",)))


@pytest.mark.parametrize(
    ("nodes", "outputs", "message"),
    [
        ([helper.make_node("Sigmoid", ["x"], ["y"], name="gate")], ("y",), r"node 'gate' \(Sigmoid\)"),
        ([helper.make_node("Conv", ["x", "w"], ["y"], auto_pad="SAME_UPPER")], ("y",), "explicit padding"),
        ([helper.make_node("Relu", ["x"], ["y"])], ("x", "y"), "1 inputs and 2 outputs"),
    ],
)
def test_unsupported_networks_are_rejected(
    tmp_path: Path, nodes: list[NodeProto], outputs: tuple[str, ...], message: str
) -> None:
    path = write(tmp_path / "net.onnx", nodes, {"w": np.ones((4, 4, 3, 3), np.float32)}, outputs)
    with pytest.raises(WeightsError, match=message):
        OnnxModule(path)


def test_damaged_and_missing_files_are_rejected(tmp_path: Path) -> None:
    (tmp_path / "damaged.onnx").write_bytes(b"\x0a\xff\xff\xff not a network")
    for name in ("damaged.onnx", "missing.onnx"):
        with pytest.raises(WeightsError, match=name):
            OnnxModule(tmp_path / name)
