"""The two networks that everyone serves, written with `onnx.helper`: the same bytes every time."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime
from onnx import NodeProto, TensorProto, helper, numpy_helper

INPUT, OUTPUT = "input", "probabilities"
SHAPES = {"mlp": (32,), "cnn": (3, 32, 32)}  # of a row
_WIDTHS = (32, 256, 256, 2)
_CHANNELS = (3, 96, 192, 192)  # 66 million multiply-adds a row
_CLASSES = 10
Weights = dict[str, np.ndarray]


@dataclass(frozen=True)
class Network:
    """A model's file, and what it answers in this process."""

    name: str
    path: Path
    session: onnxruntime.InferenceSession

    def answer(self, rows: np.ndarray) -> np.ndarray:
        """(N, *shape) float32 -> (N, classes) float32."""
        found: np.ndarray = self.session.run(None, {INPUT: rows})[0]
        return found

    def rows(self, count: int, seed: int) -> np.ndarray:
        """(count, *shape) float32, of six decimals: what people send, and no more bytes."""
        generator = np.random.default_rng(seed)
        return generator.normal(size=(count, *SHAPES[self.name])).round(6).astype(np.float32)


def write(directory: Path) -> dict[str, Network]:
    """Both networks, by name."""
    found = {}
    for name, build in (("mlp", _mlp), ("cnn", _cnn)):
        path = directory / f"{name}.onnx"
        path.write_bytes(_model(name, build))
        found[name] = Network(name, path, session(path))
    return found


def session(path: Path) -> onnxruntime.InferenceSession:
    """One thread, on the CPU."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _model(name: str, build: Callable[[Weights, np.random.Generator], list[NodeProto]]) -> bytes:
    weights: Weights = {}
    nodes = build(weights, np.random.default_rng(0))
    classes = _WIDTHS[-1] if name == "mlp" else _CLASSES
    float32 = TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info(INPUT, float32, ["rows", *SHAPES[name]])],
        [helper.make_tensor_value_info(OUTPUT, float32, ["rows", classes])],
        [numpy_helper.from_array(values, key) for key, values in weights.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    return bytes(helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString())


def _mlp(weights: Weights, generator: np.random.Generator) -> list[NodeProto]:
    nodes, last = [], INPUT
    for i, (before, after) in enumerate(pairwise(_WIDTHS)):
        weights[f"w{i}"] = _normal(generator, (before, after), before)
        weights[f"b{i}"] = _normal(generator, (after,), before)
        nodes.append(helper.make_node("Gemm", [last, f"w{i}", f"b{i}"], [f"x{i}"]))
        nodes.append(helper.make_node("Relu", [f"x{i}"], [f"y{i}"]))
        last = f"y{i}"
    nodes[-1] = helper.make_node("Softmax", nodes[-1].input, [OUTPUT], axis=1)
    return nodes


def _cnn(weights: Weights, generator: np.random.Generator) -> list[NodeProto]:
    """Three blocks of convolution, ReLU and pooling, an average over the image, one layer."""
    nodes, last = [], INPUT
    for i, (before, after) in enumerate(pairwise(_CHANNELS)):
        weights[f"w{i}"] = _normal(generator, (after, before, 3, 3), 9 * before)
        nodes += [
            helper.make_node("Conv", [last, f"w{i}"], [f"x{i}"], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", [f"x{i}"], [f"y{i}"]),
            helper.make_node("MaxPool", [f"y{i}"], [f"z{i}"], kernel_shape=[2, 2], strides=[2, 2]),
        ]
        last = f"z{i}"
    weights["w"] = _normal(generator, (_CHANNELS[-1], _CLASSES), 1)
    return [
        *nodes,
        helper.make_node("GlobalAveragePool", [last], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["scores"]),
        helper.make_node("Softmax", ["scores"], [OUTPUT], axis=1),
    ]


def _normal(generator: np.random.Generator, shape: tuple[int, ...], inputs: int) -> np.ndarray:
    return (generator.normal(size=shape) * np.sqrt(2 / inputs)).astype(np.float32)
