"""What PyTorch's exporter has no words for: raw inputs by name, strings and labels."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from onnx import TensorProto, compose, helper, numpy_helper

from pellucid.bundle import Datatype, Input
from pellucid_pipelines.mitigation.deciding import Rule
from pellucid_pipelines.mitigation.graph import ruled
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


@dataclass(frozen=True)
class Option:
    """An input that has a default: one axis, of any length.

    `spread`: the core takes one value for each row; one value stands for all of them.
    """

    name: str
    default: npt.NDArray[np.generic]
    spread: bool = False


def surround(
    core: Any,
    preprocessing: Preprocessing,
    target: Target,
    opset: int,
    *,
    options: Sequence[Option] = (),
    outputs: Sequence[str] = (),
    rule: Rule | None = None,
) -> Any:
    """The whole model: raw inputs, the core under names of its own, labels.

    Args:
        core: takes the feeds, then the options; gives the prediction, then other outputs.
        preprocessing: whose raw columns the model takes.
        target: of the prediction.
        opset: of the core.
        options: further inputs.
        outputs: names of the outputs after the prediction.
        rule: how labels come about, whose columns are inputs too; None: the likeliest class.
    """
    taken = [*preprocessing.inputs, *(rule.columns if rule else ())]
    names = [each.name for each in taken]
    prefix = "core/"
    while any(name.startswith((prefix, "explain/")) for name in names):
        prefix = "_" + prefix
    # `add_prefix` alone forgets what a loop's body takes from outside it.
    known = {e.name: prefix + e.name for graph in _graphs(core.graph) for e in graph.initializer}
    compose.add_prefix_graph(core.graph, prefix, inplace=True, name_map=known)
    nodes: list[Any] = []
    feeds = [feed for feed in preprocessing.feeds if feed.columns]
    fed, optional = core.graph.input[: len(feeds)], core.graph.input[len(feeds) :]
    for feed, given in zip(feeds, fed, strict=True):
        nodes += _gathered(feed, preprocessing, prefix, given.name)
    constants = []
    if any(feed.stacked for feed in feeds):
        constants = [helper.make_tensor(f"{prefix}axis", TensorProto.INT64, [1], [-1])]
    final, endings, extra = _endings(core.graph.output[0].name, names, target, prefix, rule)
    for name, each in zip(outputs, core.graph.output[1:], strict=True):
        final.append(helper.make_node("Identity", [each.name], [_free(name, names)]))
        shape = [size.dim_value for size in each.type.tensor_type.shape.dim[1:]]
        endings.append(_described(_free(name, names), TensorProto.FLOAT, tuple(shape)))
    inputs = [_described(each.name, _TYPES[each.datatype], each.shape) for each in taken]
    for option, given in zip(options, optional, strict=True):
        nodes += _optional(option, given.name, names[0])
        default = numpy_helper.from_array(option.default, option.name)
        constants.append(default)
        inputs.append(helper.make_tensor_value_info(option.name, default.data_type, [given.name]))
    graph = helper.make_graph(
        [*nodes, *core.graph.node, *final],
        "pellucid",
        inputs,
        endings,
        [*constants, *extra, *core.graph.initializer],
    )
    for each in _graphs(graph):
        for part in (*each.node, *each.initializer):
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


def _optional(option: Option, tensor: str, first: str) -> list[Any]:
    """The option to what the core takes; `first`: a raw column, which tells the number of rows."""
    if not option.spread:
        return [helper.make_node("Identity", [option.name], [tensor])]
    rows = f"{tensor}/rows"
    return [
        helper.make_node("Shape", [first], [rows], start=0, end=1),
        helper.make_node("Expand", [option.name, rows], [tensor]),
    ]


def _graphs(graph: Any) -> Iterator[Any]:
    """A graph, and those inside its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)


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
    prediction: str, taken: list[str], target: Target, prefix: str, rule: Rule | None
) -> tuple[list[Any], list[Any], list[Any]]:
    """Final nodes, outputs and constants around the core's prediction."""
    if target.task == "regression":
        value = _free("value", taken)
        node = helper.make_node("Identity", [prediction], [value])
        return [node], [_described(value, TensorProto.FLOAT, value_shape(target))], []
    label, probabilities = _free("label", taken), _free("probabilities", taken)
    kind = TensorProto.INT64 if isinstance(target.classes[0], int) else TensorProto.STRING
    values = [each.encode() if isinstance(each, str) else each for each in target.classes]
    classes = helper.make_tensor(f"{prefix}classes", kind, [len(values)], values)
    best, constants = f"{prefix}best", [classes]
    if rule is None:
        nodes = [helper.make_node("ArgMax", [prediction], [best], axis=1, keepdims=0)]
    else:
        nodes, added, best = ruled(rule, prediction, prefix)
        constants += added
    nodes += [
        helper.make_node("Identity", [prediction], [probabilities]),
        helper.make_node("Gather", [f"{prefix}classes", best], [label]),
    ]
    outputs = [
        _described(label, kind, ()),
        _described(probabilities, TensorProto.FLOAT, (len(values),)),
    ]
    return nodes, outputs, constants


def _free(name: str, taken: list[str]) -> str:
    """The name, or one with underscores appended: ONNX has one name space."""
    while name in taken:
        name += "_"
    return name
