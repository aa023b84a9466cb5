"""A stand-in for the safeguard's classifier whose answers a test can choose."""

from pathlib import Path

import numpy as np
import onnx


def classifier_of(path: Path, share: float) -> Path:
    """A classifier that takes the mean brightness, times a share, for the probability of intimate imagery."""
    weights = np.zeros((1, 5), np.float32)
    weights[0, 3] = share
    nodes = [
        onnx.helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2, 3], keepdims=0),
        onnx.helper.make_node("Unsqueeze", ["mean", "axis"], ["column"]),
        onnx.helper.make_node("MatMul", ["column", "weights"], ["probs"]),
    ]
    constants = [
        onnx.numpy_helper.from_array(np.array([1], np.int64), "axis"),
        onnx.numpy_helper.from_array(weights, "weights"),
    ]
    image = onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["N", 224, 224, 3])
    probs = onnx.helper.make_tensor_value_info("probs", onnx.TensorProto.FLOAT, ["N", 5])
    graph = onnx.helper.make_graph(nodes, "brightness", [image], [probs], constants)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path
