"""Recurrent layers whose gradient is as short a graph as they are: a scan there, a scan back.

Each cell's way forward also gives the local derivatives of its step. The way back is then a
linear recurrence, written out below per cell (backpropagation through time: Werbos, 1990), so that
nothing is computed twice and a sequence of any length is two Scan nodes in ONNX.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pellucid_pipelines.explain.scan import STEPS, scan
from pellucid_pipelines.layers.recurrent import Recurrent

_STATES = {"rnn": 1, "gru": 1, "lstm": 2}
_SLOPES = {"rnn": 1, "gru": 3, "lstm": 3}  # outputs that only a gradient needs
_ORDER = {"rnn": (0,), "gru": (0, 1, 2), "lstm": (0, 1, 3, 2)}  # of the gates in PyTorch's weights
_Stepped = tuple[Sequence[Tensor], Sequence[Tensor]]


def explainable(network: nn.Module) -> nn.Module:
    """A copy in evaluation mode with the same outputs, its recurrent layers made of scans.

    What `torch.onnx` exports of it, or of its gradient, needs `scan.TRANSLATIONS`.
    """
    network = copy.deepcopy(network).eval()
    if isinstance(network, Recurrent):
        return ScannedRecurrent(network)
    for name, module in list(network.named_modules()):
        if isinstance(module, Recurrent):
            network.set_submodule(name, ScannedRecurrent(module))
    return network


class ScannedRecurrent(nn.Module):
    """What a `Recurrent` computes in evaluation mode, differentiable by its inputs only.

    (N, steps, channels), real (N, steps) -> (N, 2 `wide`). Where no step is, a state is 0; the way
    back therefore starts at the last real step without any reordering.
    """

    def __init__(self, layers: Recurrent) -> None:
        super().__init__()
        self.wide = layers.wide
        self.forth = nn.ModuleList(_Layer(each, reverse=False) for each in layers.forth)
        self.back = nn.ModuleList(_Layer(each, reverse=True) for each in layers.back)

    def forward(self, hidden: Tensor, real: Tensor) -> Tensor:
        """Shapes: (N, steps, channels), (N, steps) -> (N, 2 `wide`)."""
        hidden = hidden.transpose(0, 1)
        mask = real.t().unsqueeze(2)
        there = mask.to(hidden.dtype)
        states: list[Tensor] = []
        for i, forth in enumerate(self.forth):
            states = [forth(hidden, there)]
            if self.back:
                states.append(self.back[i](hidden, there))
            hidden = torch.cat(states, dim=2)
        count = mask.sum(0)
        step = torch.arange(len(hidden), device=hidden.device).view(-1, 1, 1)
        final = [count - 1, torch.zeros_like(count)]  # where each direction has read all steps
        ends = [(each * (step == at)).sum(0) for each, at in zip(states, final, strict=False)]
        return torch.cat([*ends, hidden.sum(0) / count.clamp(min=1)], dim=1)


class _Layer(nn.Module):
    """One direction of one layer: (steps, N, channels), real (steps, N, 1) -> (steps, N, width)."""

    def __init__(self, layer: Any, *, reverse: bool) -> None:
        super().__init__()
        self.kind, self.reverse = layer.mode.lower().removesuffix("_tanh"), reverse
        order = _ORDER[self.kind]
        weights, recurrent, bias, inner = (
            torch.cat([each.detach().chunk(len(order))[gate] for gate in order])
            for each in layer.all_weights[0]
        )
        apart = self.kind == "gru"  # its reset gate scales the recurrent part, bias included
        self.register_buffer("weights", weights)
        self.register_buffer("bias", bias if apart else bias + inner)
        self.register_buffer("recurrent", recurrent.t().contiguous())
        self.register_buffer("inner", inner if apart else None)

    def forward(self, hidden: Tensor, real: Tensor) -> Tensor:
        """Shapes: (steps, N, channels), (steps, N, 1) -> (steps, N, width)."""
        (steps, rows, _), weights = hidden.shape, self.get_buffer("weights")
        flat = hidden.flatten(0, 1)  # of three dimensions, a trace would copy the weights
        given = functional.linear(flat, weights, self.get_buffer("bias"))
        given = given.view(steps, rows, len(weights))
        states: Tensor = _Recurrence.apply(  # type: ignore[no-untyped-call]
            given, real, self.recurrent, self.inner, self.kind, self.reverse
        )
        return states


class _Recurrence(torch.autograd.Function):
    """The states of all steps; its gradient by `given` is a scan the other way."""

    @staticmethod
    def forward(
        ctx: Any,
        given: Tensor,
        real: Tensor,
        recurrent: Tensor,
        inner: Tensor | None,
        kind: str,
        reverse: bool,
    ) -> Tensor:
        zeros = [given.new_zeros(given.shape[1], len(recurrent))] * _STATES[kind]
        weights = [recurrent] if inner is None else [recurrent, inner]
        wanted = 1 + _SLOPES[kind] * ctx.needs_input_grad[0]
        hidden: Tensor
        hidden, *slopes = scan(kind, zeros, [given, real], weights, reverse, wanted)
        ctx.save_for_backward(recurrent, *slopes)
        ctx.kind, ctx.reverse = kind, reverse
        return hidden

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Any:
        recurrent, *slopes = ctx.saved_tensors
        zeros = [slope.new_zeros(slope.shape[1:])] * _STATES[ctx.kind]
        back = [recurrent.t().contiguous()]
        (given,) = scan(f"{ctx.kind}_back", zeros, [slope, *slopes], back, not ctx.reverse, 1)
        return given, None, None, None, None, None


def _rnn(hidden: Tensor, given: Tensor, real: Tensor, recurrent: Tensor) -> _Stepped:
    hidden = torch.addmm(given, hidden, recurrent).tanh() * real
    return [hidden], [hidden, real - hidden * hidden]


def _rnn_back(later: Tensor, slope: Tensor, slopes: Tensor, recurrent: Tensor) -> _Stepped:
    given = (slope + later) * slopes
    return [given @ recurrent], [given]


def _gru(hidden: Tensor, given: Tensor, real: Tensor, recurrent: Tensor, inner: Tensor) -> _Stepped:
    """Gates: reset, update; then the new state. Both parts of the new one are kept apart."""
    sizes = [2 * hidden.shape[1], hidden.shape[1]]
    gates, new = torch.split_with_sizes(given, sizes, 1)
    inner_gates, inner_new = torch.split_with_sizes(torch.addmm(inner, hidden, recurrent), sizes, 1)
    reset, update = (gates + inner_gates).sigmoid().chunk(2, 1)
    new = (new + reset * inner_new).tanh()
    kept = update * real
    taken = real - kept
    by_new = taken - taken * new * new
    by_reset = by_new * inner_new * (reset - reset * reset)
    by_update = (hidden - new) * (kept - kept * update)
    hidden = taken * new + kept * hidden
    return [hidden], [hidden, torch.cat([by_reset, by_update, by_new], 1), reset, kept]


def _gru_back(
    later: Tensor, slope: Tensor, slopes: Tensor, reset: Tensor, kept: Tensor, recurrent: Tensor
) -> _Stepped:
    slope = slope + later
    given = torch.cat([slope, slope, slope], 1) * slopes
    gates, new = torch.split_with_sizes(given, [2 * slope.shape[1], slope.shape[1]], 1)
    inner = torch.cat([gates, new * reset], 1)
    return [torch.addmm(slope * kept, inner, recurrent)], [given]


def _lstm(hidden: Tensor, cell: Tensor, given: Tensor, real: Tensor, recurrent: Tensor) -> _Stepped:
    """Gates: input, forget, output; then what may enter the cell."""
    width = hidden.shape[1]
    total = torch.addmm(given, hidden, recurrent)
    gates, new = torch.split_with_sizes(total, [3 * width, width], 1)
    gates, new = gates.sigmoid() * real, new.tanh()
    enter, keep, leave = gates.chunk(3, 1)
    entered = enter * new
    after = keep * cell + entered
    seen = after.tanh()
    hidden = leave * seen
    by_gates = (gates - gates * gates) * torch.cat([new, cell, seen], 1)
    slopes = torch.cat([by_gates, enter - entered * new], 1)
    return [hidden, after], [hidden, slopes, leave - hidden * seen, keep]


def _lstm_back(
    later: Tensor,
    later_cell: Tensor,
    slope: Tensor,
    slopes: Tensor,
    by_cell: Tensor,
    keep: Tensor,
    recurrent: Tensor,
) -> _Stepped:
    slope = slope + later
    cell = later_cell + slope * by_cell
    given = torch.cat([cell, cell, slope, cell], 1) * slopes
    return [given @ recurrent, cell * keep], [given]


STEPS.update(
    rnn=_rnn, gru=_gru, lstm=_lstm, rnn_back=_rnn_back, gru_back=_gru_back, lstm_back=_lstm_back
)
