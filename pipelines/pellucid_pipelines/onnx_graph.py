"""What PyTorch's exporter has no words for: raw inputs by name, strings and labels."""

from typing import Any

import torch
from onnx import TensorProto, compose, helper

from pellucid.bundle import Datatype, Input
from pellucid_pipelines.preprocessing import Feed, Preprocessing
from pellucid_pipelines.tensors import Target

_ML_OPSET = 4
_IR_VERSION = 10
_TYPES = {
    Datatype.FP64: TensorProto.DOUBLE,
    Datatype.UINT8: TensorProto.UINT8,
    Datatype.INT64: TensorProto.INT64,
    Datatype.BYTES: TensorProto.STRING,
}


def surround(core: Any, preprocessing: Preprocessing, target: Target, opset: int) -> Any:
    """The whole model: raw inputs, the core under names of its own, labels."""
    names = [each.name for each in preprocessing.inputs]
    prefix = "core/"
    while any(name.startswith(prefix) for name in names):
        prefix = "_" + prefix
    core = compose.add_prefix(core, prefix)
    nodes: list[Any] = []
    feeds = [feed for feed in preprocessing.feeds if feed.columns]
    for feed, given in zip(feeds, core.graph.input, strict=True):
        nodes += _gathered(feed, preprocessing, prefix, given.name)
    constants = []
    if any(feed.stacked for feed in feeds):
        constants = [helper.make_tensor(f"{prefix}axis", TensorProto.INT64, [1], [-1])]
    final, endings, extra = _endings(core.graph.output[0].name, names, target, prefix)
    inputs = [
        _described(each.name, _TYPES[each.datatype], each.shape) for each in preprocessing.inputs
    ]
    graph = helper.make_graph(
        [*nodes, *core.graph.node, *final],
        "pellucid",
        inputs,
        endings,
        [*constants, *extra, *core.graph.initializer],
    )
    for part in (*graph.node, *graph.initializer):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    return helper.make_model(
        graph,
        producer_name="pellucid",
        ir_version=_IR_VERSION,
        opset_imports=[
            helper.make_opsetid("", opset),
            helper.make_opsetid("ai.onnx.ml", _ML_OPSET),
        ],
    )


def value_shape(target: Target) -> tuple[int, ...]:
    """The shape of one row's `value`: () for a number, (steps,) for a forecast."""
    return tuple(target.head()(torch.zeros(1, target.outputs)).shape[1:])


def _described(name: str, kind: int, rest: tuple[int, ...]) -> Any:
    return helper.make_tensor_value_info(name, kind, ["rows", *rest])


def _gathered(feed: Feed, preprocessing: Preprocessing, prefix: str, tensor: str) -> list[Any]:
    """Raw inputs (rows, *shape) to the tensor that the core takes; see `Feed`."""
    if not feed.stacked:
        return [helper.make_node("Identity", [feed.columns[0]], [tensor])]
    known = {each.name: each for each in preprocessing.inputs}
    nodes, parts = [], []
    for i, name in enumerate(feed.columns):
        source = name
        if known[name].datatype is Datatype.BYTES:
            source = f"{tensor}/code/{i}"
            nodes.append(_lookup(known[name], source))
        parts.append(f"{tensor}/column/{i}")
        nodes.append(helper.make_node("Unsqueeze", [source, f"{prefix}axis"], [parts[-1]]))
    return [*nodes, helper.make_node("Concat", parts, [tensor], axis=-1)]


def _lookup(each: Input, code: str) -> Any:
    known = [*each.categories, ""]
    return helper.make_node(
        "LabelEncoder",
        [each.name],
        [code],
        domain="ai.onnx.ml",
        keys_strings=known,
        values_int64s=list(range(len(known))),
        default_int64=len(known),
    )


def _endings(
    prediction: str, taken: list[str], target: Target, prefix: str
) -> tuple[list[Any], list[Any], list[Any]]:
    """Final nodes, outputs and constants around the core's prediction."""

    def free(name: str) -> str:
        while name in taken:
            name += "_"
        return name

    if target.task == "regression":
        value = free("value")
        node = helper.make_node("Identity", [prediction], [value])
        return [node], [_described(value, TensorProto.FLOAT, value_shape(target))], []
    label, probabilities = free("label"), free("probabilities")
    kind = TensorProto.INT64 if isinstance(target.classes[0], int) else TensorProto.STRING
    values = [each.encode() if isinstance(each, str) else each for each in target.classes]
    classes = helper.make_tensor(f"{prefix}classes", kind, [len(values)], values)
    nodes = [
        helper.make_node("Identity", [prediction], [probabilities]),
        helper.make_node("ArgMax", [prediction], [f"{prefix}best"], axis=1, keepdims=0),
        helper.make_node("Gather", [f"{prefix}classes", f"{prefix}best"], [label]),
    ]
    outputs = [
        _described(label, kind, ()),
        _described(probabilities, TensorProto.FLOAT, (len(values),)),
    ]
    return nodes, outputs, [classes]
