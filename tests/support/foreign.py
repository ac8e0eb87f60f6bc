"""ONNX models that were made elsewhere: no manifest, no parity rows, tensors of any kind."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

WEIGHTS = np.random.default_rng(7).normal(size=(4, 3)).astype(np.float32)
Port = tuple[str, int, Sequence[Any]]  # name, type, shape


def graph(
    inputs: Sequence[Port],
    outputs: Sequence[Port],
    nodes: Sequence[tuple[Any, ...]],
    weights: dict[str, Any] | None = None,
) -> onnx.ModelProto:
    """A model of nodes (operator, inputs, outputs[, attributes])."""
    made = helper.make_graph(
        [helper.make_node(*node[:3], **dict(*node[3:])) for node in nodes],
        "foreign",
        [helper.make_tensor_value_info(*port) for port in inputs],
        [helper.make_tensor_value_info(*port) for port in outputs],
        [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()],
    )  # fmt: skip
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def dense(rows: Any = "rows", features: Any = 4) -> onnx.ModelProto:
    """y = relu(x W), x (rows, 4)."""
    return graph(
        [("x", TensorProto.FLOAT, [rows, features])],
        [("y", TensorProto.FLOAT, [rows, 3])],
        [("MatMul", ["x", "w"], ["z"]), ("Relu", ["z"], ["y"])],
        {"w": WEIGHTS},
    )


def dense_answer(x: Any) -> Any:
    """What `dense` computes."""
    return np.maximum(np.asarray(x, np.float32) @ WEIGHTS, 0)


def echo(*ports: Port) -> onnx.ModelProto:
    """Every input comes back, as out_NAME."""
    return graph(
        ports,
        [(f"out_{name}", kind, shape) for name, kind, shape in ports],
        [("Identity", [name], [f"out_{name}"]) for name, _, _ in ports],
    )


def lookup(size: int) -> onnx.ModelProto:
    """y = table[place]; a place outside the table cannot be run."""
    return graph(
        [("place", TensorProto.INT64, ["rows"])],
        [("y", TensorProto.FLOAT, ["rows"])],
        [("Gather", ["table", "place"], ["y"])],
        {"table": np.arange(size, dtype=np.float32)},
    )


def write(model: onnx.ModelProto, directory: Path, name: str = "model.onnx") -> Path:
    """The model as a file."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name
    path.write_bytes(model.SerializeToString())
    return path
