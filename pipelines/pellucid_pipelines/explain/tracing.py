"""Functions that take gradients, as graphs without any: what the ONNX exporter can read."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._decomp import core_aten_decompositions
from torch._export.utils import _compiling_state_context
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.fx.experimental.symbolic_shapes import (
    DimDynamic,
    ShapeEnv,
    StatelessSymbolicContext,
)
from torch.nn.attention import SDPBackend, sdpa_kernel

_aten = torch.ops.aten


def traced(module: nn.Module, examples: Sequence[Tensor], *, fixed: bool = False) -> GraphModule:
    """`module` as a graph of plain operators; `torch.autograd.grad` in it becomes operators too.

    Args:
        module: in evaluation mode; parameters and buffers become constants. No parameter may need
            a gradient.
        examples: inputs. The first size of each may differ when the graph runs, all others may
            not. First sizes that are equal here are always equal; they should be 2 or more.
        fixed: no size may differ.
    """
    mode = FakeTensorMode(shape_env=ShapeEnv(), allow_non_fake_inputs=True)
    trace = make_fx(
        lambda *inputs: module(*inputs),
        decomposition_table={**core_aten_decompositions(), **_DECOMPOSITIONS},
        tracing_mode="symbolic",
        _allow_non_fake_inputs=True,
    )
    # In eager mode layers may look at values, and attention has kernels of its own.
    with _compiling_state_context(), sdpa_kernel(SDPBackend.MATH):
        graph = trace(*(_fake(mode, each, fixed) for each in examples))
    graph.graph.eliminate_dead_code()
    graph.recompile()
    graph.meta["traced"] = module  # operators may refer to its parts
    return graph


def _fake(mode: FakeTensorMode, example: Tensor, fixed: bool) -> Tensor:
    sizes = [DimDynamic.STATIC] * example.ndim
    if sizes and not fixed:
        sizes[0] = DimDynamic.DUCK
    return mode.from_tensor(example, symbolic_context=StatelessSymbolicContext(dynamic_sizes=sizes))


def _convolution_backward(
    slopes: Tensor,
    inputs: Tensor,
    weight: Tensor,
    _bias_sizes: Sequence[int] | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    _output_padding: Sequence[int],
    groups: int,
    wanted: Sequence[bool],
) -> Any:
    """The gradient by a convolution's input, as a convolution, transposed if it had a stride."""
    if transposed or any(wanted[1:]):
        return NotImplemented
    sides = range(2, weight.ndim)
    reach = [dilation[i - 2] * (weight.shape[i] - 1) for i in sides]
    if max(stride) == 1 and groups == 1:  # many times faster than a transposed one
        around = [each - pad for each, pad in zip(reach, padding, strict=True)]
        if min(around) >= 0:
            mirrored = weight.flip(list(sides)).transpose(0, 1)
            plain = (stride, around, dilation, False, [0] * len(reach), 1)
            return _aten.convolution(slopes, mirrored, None, *plain), None, None
    missing = [
        inputs.shape[i] - ((slopes.shape[i] - 1) * step - 2 * pad + far + 1)
        for i, step, pad, far in zip(sides, stride, padding, reach, strict=True)
    ]
    spread = (stride, padding, dilation, True, missing, groups)
    return _aten.convolution(slopes, weight, None, *spread), None, None


def _softmax(scores: Tensor, dim: int, _dtype: torch.dtype | None = None) -> Tensor:
    """Without a rule for rows that see nothing: in our attention, each sees something."""
    found: Tensor = _aten._softmax(scores, dim, False)
    return found


_DECOMPOSITIONS: dict[Any, Callable[..., Any]] = {
    _aten.convolution_backward.default: _convolution_backward,
    _aten._safe_softmax.default: _softmax,
}
