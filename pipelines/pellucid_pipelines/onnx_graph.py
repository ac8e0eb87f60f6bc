"""What PyTorch's exporter has no words for: raw inputs by name, strings and labels."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class _Part:
    """What stands before the core, or after it.

    `ends`: inputs before the core, outputs after it.
    """

    nodes: list[Any]
    ends: list[Any]
    constants: list[Any] = field(default_factory=list)


def _merged(*parts: _Part) -> _Part:
    """Several parts as one, in their order."""
    return _Part(
        nodes=[node for part in parts for node in part.nodes],
        ends=[end for part in parts for end in part.ends],
        constants=[constant for part in parts for constant in part.constants],
    )


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
    prefix = _rename(core.graph, names)
    feeds = [feed for feed in preprocessing.feeds if feed.columns]
    fed, optional = core.graph.input[: len(feeds)], core.graph.input[len(feeds) :]
    prediction, *others = core.graph.output
    before = _merged(
        _raw(taken, feeds, fed, preprocessing, prefix),
        *(_optional(*each, first=names[0]) for each in zip(options, optional, strict=True)),
    )
    after = _merged(
        _answers(prediction.name, names, target, prefix, rule),
        *(_output(_free(name, names), given) for name, given in zip(outputs, others, strict=True)),
    )
    graph = helper.make_graph(
        [*before.nodes, *core.graph.node, *after.nodes],
        "pellucid",
        before.ends,
        after.ends,
        [*before.constants, *after.constants, *core.graph.initializer],
    )
    _strip(graph)
    return helper.make_model(
        graph,
        producer_name="pellucid",
        ir_version=_IR_VERSION,
        opset_imports=[
            helper.make_opsetid("", opset),
            helper.make_opsetid("ai.onnx.ml", _ML_OPSET),
        ],
    )


def _rename(core: Any, names: list[str]) -> str:
    """Put a prefix, which is returned, before all names of the core: no column's begins so."""
    prefix = "core/"
    while any(name.startswith((prefix, "explain/")) for name in names):
        prefix = "_" + prefix
    # `add_prefix` alone forgets what a loop's body takes from outside it.
    known = {e.name: prefix + e.name for graph in _graphs(core) for e in graph.initializer}
    compose.add_prefix_graph(core, prefix, inplace=True, name_map=known)
    return prefix


def _strip(graph: Any) -> None:
    """Take out what only tells where in the source a node comes from."""
    for each in _graphs(graph):
        for part in (*each.node, *each.initializer):
            part.ClearField("doc_string")
            part.ClearField("metadata_props")


def _raw(
    taken: Sequence[Input],
    feeds: Sequence[Feed],
    fed: Sequence[Any],
    preprocessing: Preprocessing,
    prefix: str,
) -> _Part:
    """Raw columns to the tensors that the core takes."""
    nodes: list[Any] = []
    for feed, given in zip(feeds, fed, strict=True):
        nodes += _gathered(feed, preprocessing, prefix, given.name)
    inputs = [_described(each.name, _TYPES[each.datatype], each.shape) for each in taken]
    constants = []
    if any(feed.stacked for feed in feeds):
        constants = [helper.make_tensor(f"{prefix}axis", TensorProto.INT64, [1], [-1])]
    return _Part(nodes, inputs, constants)


def _optional(option: Option, given: Any, first: str) -> _Part:
    """The option to what the core takes; `first`: a raw column, which tells the number of rows."""
    tensor, rows = given.name, f"{given.name}/rows"
    if option.spread:
        nodes = [
            helper.make_node("Shape", [first], [rows], start=0, end=1),
            helper.make_node("Expand", [option.name, rows], [tensor]),
        ]
    else:
        nodes = [helper.make_node("Identity", [option.name], [tensor])]
    default = numpy_helper.from_array(option.default, option.name)
    taken = helper.make_tensor_value_info(option.name, default.data_type, [tensor])
    return _Part(nodes, [taken], [default])


def _output(name: str, given: Any) -> _Part:
    """An output of the core under a name of the model's."""
    shape = tuple(size.dim_value for size in given.type.tensor_type.shape.dim[1:])
    node = helper.make_node("Identity", [given.name], [name])
    return _Part([node], [_described(name, TensorProto.FLOAT, shape)])


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


def _answers(
    prediction: str, taken: list[str], target: Target, prefix: str, rule: Rule | None
) -> _Part:
    """The core's prediction to a value, or to a label and probabilities."""
    if target.task == "regression":
        value = _free("value", taken)
        node = helper.make_node("Identity", [prediction], [value])
        return _Part([node], [_described(value, TensorProto.FLOAT, value_shape(target))])
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
    return _Part(nodes, outputs, constants)


def _free(name: str, taken: list[str]) -> str:
    """The name, or one with underscores appended: ONNX has one name space."""
    while name in taken:
        name += "_"
    return name
