"""DeepSHAP (Lundberg and Lee, 2017) as a plain graph: DeepLIFT's rescale rule, over a background.

Between a row and a background row, a nonlinear function acts as a multiplication by
m = (f(z) - f(z')) / (z - z') on each of its inputs (Shrikumar et al., 2017). With every function
replaced by its multiplier the network is linear, and its gradient gives the multipliers of the
inputs. Values are multiplier times difference, averaged over the background.

The network runs once on the rows. What it was on the background is known beforehand, and the
linear network is only differentiated: its own forward pass ends up as dead code in a traced graph.
Functions are found as they are called, so they may be used twice, or be no modules.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from pellucid_pipelines.features import Features

_SUMS = frozenset({"logsumexp", "log_softmax"})
_FUNCTIONS = _SUMS | {
    *("relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "softplus"),
    *("tanh", "sigmoid", "hardtanh", "hardsigmoid", "hardswish", "log_sigmoid", "logsigmoid"),
    *("clamp", "clamp_min", "clamp_max", "exp", "log", "abs", "sqrt", "square"),
}
_PIECEWISE = frozenset({"relu", "relu6", "leaky_relu", "hardtanh", "abs", "clamp", "clamp_min"})
_CLOSE = 1e-6  # smaller differences have the function's slope between them, as in shap

Function = Callable[..., Tensor]
Attributed = tuple[Tensor, Tensor, Tensor]
"""Raw outputs (N, outputs), values, base (outputs,): what every attribution gives."""


class DeepShap(nn.Module):
    """Values of every output for rows of one tensor.

    Exact where the network consists of linear maps and of functions of one number, and of
    log-softmax and log-sum-exp, which are such functions of sums. Of anything else the values do
    not add up to the prediction: check `base + values.sum() - raw`.

    Args:
        network: frozen, in evaluation mode, on the CPU: (N, *shape) -> (N, outputs).
        features: what it takes.
        background: (B, *shape), as the network takes them or as floating-point numbers.
        weights: (B,), adding up to 1.

    Raises:
        ValueError: a function's values do not have one entry per row in front.
    """

    background: Tensor
    weights: Tensor
    base: Tensor

    def __init__(
        self, network: nn.Module, features: Features, background: Tensor, weights: Tensor
    ) -> None:
        super().__init__()
        self.network, self.features = network, features
        self.register_buffer("background", background)
        with torch.no_grad(), _Recording() as seen:
            raw = network(background)
        self.register_buffer("weights", weights.to(raw.dtype))
        for i, call in enumerate(seen.calls):
            if call.inputs.shape[:1] != background.shape[:1]:
                raise ValueError(f"{call.function.__name__} is not called row by row")
            self.register_buffer(f"reference_{i}", call.inputs)
        self.register_buffer("base", self.weights @ raw)

    def forward(
        self, inputs: Tensor, chosen: Tensor | None = None, shares: Tensor | None = None
    ) -> Attributed:
        """Values of every output, (N, *shape, outputs), or of one for each row, (N, *places).

        Args:
            inputs: (N, *shape).
            chosen: (N,) which output of each row, -1: the largest; of images, whose channels are
                summed up.
            shares: none are needed.
        """
        with torch.no_grad(), _Recording() as seen:
            raw = self.network(inputs)
        (rows, outputs), beside, shape = raw.shape, self.background.shape[0], inputs.shape[1:]
        if chosen is None:
            copies, wanted = outputs, torch.eye(outputs, dtype=raw.dtype).view(-1, 1, 1, outputs)
        else:
            chosen = torch.where(chosen < 0, raw.argmax(dim=1), chosen)
            copies, wanted = 1, functional.one_hot(chosen, outputs).to(raw.dtype).unsqueeze(1)
        count = copies * rows * beside
        multipliers = [
            _repeated(call.multiplier(self.get_buffer(f"reference_{i}")), copies)
            for i, call in enumerate(seen.calls)
        ]
        start = torch.zeros(count, *shape, dtype=raw.dtype, requires_grad=True)
        with torch.enable_grad(), _Linear(zip(seen.calls, multipliers, strict=True)):
            linear = self.network(start).view(copies, rows, beside, outputs)
            total = (linear * wanted).sum()
        (slopes,) = torch.autograd.grad(total, start)
        steps = inputs.to(raw.dtype).unsqueeze(1) - self.background.to(raw.dtype)
        steps = steps * self.weights.view(-1, *(1,) * len(shape))
        values = (slopes.view(copies, rows, beside, *shape) * steps).sum(dim=2)
        if chosen is None:
            return raw, values.movedim(0, -1), self.base
        channels = len(shape) - 2  # counted from the front: ONNX Runtime, of no rows, needs that
        return raw, values[0].sum(dim=channels), self.base


class _Call:
    """One use of a nonlinear function: where it was called, and how to call it again."""

    def __init__(
        self, function: Function, arguments: tuple[Any, ...], options: dict[str, Any]
    ) -> None:
        self.function, self.inputs = function, arguments[0]
        self.arguments, self.options = arguments[1:], options
        self.name = function.__name__
        if self.name in _SUMS:
            dim = options.get("dim", next(iter(self.arguments), -1))
            self.dim = dim - self.inputs.ndim if dim >= 0 else dim

    def multiplier(self, reference: Tensor) -> Tensor:
        """(B, ...) on the background to (N, B, ...): how steep it is from there to the rows."""
        z, z0 = self.inputs.unsqueeze(1), reference
        if self.name not in _SUMS:
            return _secant(self, z, z0)
        largest = torch.maximum(z.amax(self.dim, keepdim=True), z0.amax(self.dim, keepdim=True))
        z, z0 = z - largest, z0 - largest  # a constant, so that nothing overflows
        sums = (each.exp().sum(self.dim, keepdim=True) for each in (z, z0))
        return _secant(torch.exp, z, z0) * _secant(torch.log, *sums)

    def linear(self, inputs: Tensor, multiplier: Tensor) -> Tensor:
        """What stands for the function in the linear network."""
        if self.name not in _SUMS:
            return inputs * multiplier
        kept = self.name == "log_softmax" or self.options.get("keepdim", False)
        summed = (inputs * multiplier).sum(self.dim, keepdim=kept)
        return inputs - summed if self.name == "log_softmax" else summed

    def __call__(self, inputs: Tensor) -> Tensor:
        return self.function(inputs, *self.arguments, **self.options)


class _Recording(TorchFunctionMode):
    """Takes down every call of a nonlinear function."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[_Call] = []

    def __torch_function__(
        self, func: Function, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if _nonlinear(func, args):
            self.calls.append(_Call(func, args, kwargs or {}))
        return func(*args, **(kwargs or {}))


class _Linear(TorchFunctionMode):
    """Replaces every nonlinear function by a multiplication, in the order of their calls."""

    def __init__(self, calls: Iterable[tuple[_Call, Tensor]]) -> None:
        super().__init__()
        self._calls = iter(calls)

    def __torch_function__(
        self, func: Function, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if not _nonlinear(func, args):
            return func(*args, **(kwargs or {}))
        call, multiplier = next(self._calls)
        return call.linear(args[0], multiplier)


def _repeated(multiplier: Tensor, copies: int) -> Tensor:
    """(N, B, ...) to (copies x N x B, ...)."""
    rows, beside, *rest = multiplier.shape
    if copies > 1:  # else a graph would copy it
        multiplier = multiplier.expand(copies, rows, beside, *rest)
    return multiplier.reshape(copies * rows * beside, *rest)


def _nonlinear(function: Function, arguments: tuple[Any, ...]) -> bool:
    name = getattr(function, "__name__", "")
    return name in _FUNCTIONS and arguments[0].is_floating_point()


def _secant(function: Function, z: Tensor, z0: Tensor) -> Tensor:
    """(f(z) - f(z0)) / (z - z0), or the slope at z where they are all but equal.

    What is piecewise linear loses nothing to rounding there; equal inputs then give 0.
    """
    difference, rise = z - z0, function(z) - function(z0)
    exact = getattr(function, "name", "") in _PIECEWISE
    # To add 1e-30 instead would be quicker, but ONNX Runtime takes that out as if it were 0.
    close = difference == 0 if exact else difference.abs() < _CLOSE
    secant = rise / torch.where(close, 1.0, difference)
    if exact:
        return secant
    at = z.detach().requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(function(at).sum(), at)
    return torch.where(close, slope, secant)
