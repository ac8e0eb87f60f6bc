"""A loop over the steps of a sequence that stays one node in a trace and one Scan in ONNX.

`torch.onnx` unrolls a loop written in Python, and a recurrent layer's gradient with it: minutes
for a hundred steps. Here a step is a plain function of tensors; PyTorch runs it in a loop, and the
exporter, given `TRANSLATIONS`, writes it once as the body of a Scan.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from onnxscript import ir, opset20
from torch import Tensor, fx
from torch.fx.experimental.proxy_tensor import make_fx

Tensors = Sequence[Tensor]
Step = Callable[..., tuple[Tensors, Tensors]]

STEPS: dict[str, Step] = {}
"""(*states, *slices, *weights) -> new states, outputs; each (N, width), weights of any shape."""

_aten = torch.ops.aten
_OPERATORS = {
    _aten.add.Tensor: "Add",
    _aten.sub.Tensor: "Sub",
    _aten.mul.Tensor: "Mul",
    _aten.mm.default: "MatMul",
    _aten.sigmoid.default: "Sigmoid",
    _aten.tanh.default: "Tanh",
}


@torch.library.custom_op("pellucid::scan", mutates_args=())
def scan(
    step: str,
    states: Sequence[Tensor],
    sequences: Sequence[Tensor],
    weights: Sequence[Tensor],
    reverse: bool,
    wanted: int,
) -> list[Tensor]:
    """Run a step over sequences of (steps, N, width): its outputs, each (steps, N, ...).

    Args:
        step: its name in `STEPS`.
        states: what it starts with, each (N, width).
        sequences: of one length, at least 1.
        weights: what is the same at every step.
        reverse: from the last step to the first; outputs still lie where their step does.
        wanted: how many of the outputs; an ONNX graph computes no others.

    It has no gradient of its own; who needs one writes the adjoint as another scan.
    """
    found = []
    order = range(len(sequences[0]))
    for i in reversed(order) if reverse else order:
        states, outputs = STEPS[step](*states, *(each[i] for each in sequences), *weights)
        found.append(outputs[:wanted])
    if reverse:
        found.reverse()
    return [torch.stack(parts) for parts in zip(*found, strict=True)]


@scan.register_fake
def _(
    step: str,
    states: Tensors,
    sequences: Tensors,
    weights: Tensors,
    reverse: bool,  # noqa: ARG001
    wanted: int,
) -> list[Tensor]:
    slices = [each.new_empty(each.shape[1:]) for each in sequences]
    _, outputs = STEPS[step](*states, *slices, *weights)
    return [each.new_empty((sequences[0].shape[0], *each.shape)) for each in outputs[:wanted]]


def _translated(
    step: str,
    states: Sequence[Any],
    sequences: Sequence[Any],
    weights: Sequence[Any],
    reverse: bool,
    wanted: int,
) -> Sequence[Any]:
    """The exporter's values of the stacked outputs, made by one Scan."""
    inner = [
        *(ir.Value(shape=each.shape, type=each.type) for each in states),
        *(ir.Value(shape=ir.Shape(each.shape[1:]), type=each.type) for each in sequences),
    ]
    body = _body(STEPS[step], inner, weights, wanted)
    last_state = opset20.Scan(
        *states,
        *sequences,
        body=body,
        num_scan_inputs=len(sequences),
        scan_input_directions=[int(reverse)] * len(sequences),
        scan_output_directions=[int(reverse)] * wanted,
    )
    node = last_state.producer()  # one output: how many there are cannot be told by its schema
    node.resize_outputs(len(body.outputs))
    return list(node.outputs[len(states) :])


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {
    torch.ops.pellucid.scan.default: _translated
}
"""For `torch.onnx.export(custom_translation_table=...)`."""


def _body(step: Step, inner: Sequence[Any], weights: Sequence[Any], wanted: int) -> Any:
    """A step as a graph over `inner`; weights are values of the graph around it."""

    def flat(*tensors: Tensor) -> list[Tensor]:
        states, outputs = step(*tensors)
        return [*states, *outputs[:wanted]]

    given = [*inner, *weights]
    traced = make_fx(flat)(*map(_example, given)).graph
    traced.eliminate_dead_code()
    placeholders = traced.find_nodes(op="placeholder")
    values: dict[Any, Any] = dict(zip(placeholders, given, strict=True))
    nodes: list[Any] = []
    for each in traced.nodes:
        if each.target is operator.getitem:
            values[each] = values[each.args[0]][each.args[1]]
        elif each.op == "call_function":
            nodes += _nodes(each, values)
            outputs = nodes[-1].outputs
            values[each] = outputs if len(outputs) > 1 else outputs[0]
    results: list[Any] = []
    ends: Any = traced.output_node().args[0]
    for end in ends:
        result = values[end]
        if result in results:  # a state that is also an output needs a name for each
            nodes.append(ir.node("Identity", [result]))
            result = nodes[-1].outputs[0]
        results.append(result)
    return ir.Graph(inner, results, nodes=nodes, name="step")


def _nodes(each: fx.Node, values: Mapping[Any, Any]) -> list[Any]:
    """One operator of a step in ONNX; those that have an axis work along the second."""
    arguments: Any = each.args
    first, *rest = arguments
    if each.target in _OPERATORS:
        return [ir.node(_OPERATORS[each.target], [values[arg] for arg in arguments])]
    if each.target == _aten.addmm.default:
        return [ir.node("Gemm", [*(values[arg] for arg in rest), values[first]])]
    if each.target == _aten.cat.default:
        return [ir.node("Concat", [values[arg] for arg in first], {"axis": 1})]
    if each.target in (_aten.split.Tensor, _aten.split_with_sizes.default):
        parts = [part.shape[1] for part in each.meta["val"]]
        sizes = ir.node("Constant", [], {"value": ir.tensor(parts)})
        given = [values[first], sizes.outputs[0]]
        return [sizes, ir.node("Split", given, {"axis": 1}, num_outputs=len(parts))]
    raise NotImplementedError(f"No ONNX operator is known for {each.target} in a step.")


def _example(value: Any) -> Tensor:
    """A tensor of a value's type and shape; a size that is not known is 2."""
    sizes = [size if isinstance(size, int) else 2 for size in value.shape]
    return torch.zeros(sizes, dtype=getattr(torch, value.dtype.name.lower()))
