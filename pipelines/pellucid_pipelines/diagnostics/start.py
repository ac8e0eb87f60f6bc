"""What a network and its rows are like before the first step."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from pellucid_pipelines import losses
from pellucid_pipelines.diagnostics import inputs, probes
from pellucid_pipelines.diagnostics.findings import Finding
from pellucid_pipelines.features import Features
from pellucid_pipelines.rows import Rows, Source
from pellucid_pipelines.tensors import Link

if TYPE_CHECKING:
    from pellucid_pipelines.loop import Fit

_PROBED = 512  # rows
_NUMBERS = 2**18  # that enter a probe
_HASHED = 2**26  # numbers of training rows that are compared with validation rows
_READ = 2**23  # of rows that are streamed


def some_rows(rows: Source) -> Rows:
    """A few rows, evenly: enough to look at units by."""
    each = max(1, math.prod(rows.shape))
    count = max(2, min(_PROBED, _NUMBERS // each, len(rows)))
    at = torch.linspace(0, len(rows) - 1, count, device=rows.targets.device).long()
    return rows.take(at)


@torch.no_grad()
def loss_of(fit: "Fit", rows: Rows) -> float:
    """The loss of the network on rows, in evaluation mode; its mode and random numbers stay."""
    with evaluating(fit.network):
        return float(losses.mean(fit.loss(fit.network(rows.inputs), rows.targets), rows.weights))


def zero_loss(fit: "Fit", rows: Rows, outputs: int) -> float:
    """The loss on rows of raw outputs of 0: all classes alike, or the mean."""
    raw = torch.zeros(len(rows), outputs, device=rows.targets.device)
    return float(losses.mean(fit.loss(raw, rows.targets), rows.weights))


def constant_loss(fit: "Fit", link: Link, rows: Source) -> float:
    """The loss on rows of the constant that training rows suggest: their mean, their shares."""
    targets, weights = fit.train.targets, fit.train.weights
    weight = torch.ones(len(targets), device=targets.device) if weights is None else weights
    if link == "softmax":
        shares = torch.bincount(targets, weights=weight) + 1e-6
        raw = (shares / shares.sum()).log()[None]
        missing = int(rows.targets.max()) + 1 - raw.shape[1]
        raw = nn.functional.pad(raw, (0, max(0, missing)), value=-14.0)
    else:
        flat = targets.reshape(len(targets), -1)
        raw = (flat * weight[:, None]).sum(0, keepdim=True) / weight.sum()
        raw = raw.clamp(1e-6, 1 - 1e-6).logit() if link == "sigmoid" else raw
    raw = raw.float().to(rows.targets.device).expand(len(rows), -1)
    return float(losses.mean(fit.loss(raw, rows.targets), rows.weights))


@torch.no_grad()
def unit_spread(network: nn.Module, rows: Tensor) -> dict[str, float]:
    """Activation -> how much its units differ on a row, over the size of its values.

    0: all units of the layer are the same.
    """
    heard: dict[str, Tensor] = {}

    def listen(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: object, output: Any) -> None:
            values = (output[0] if isinstance(output, tuple) else output).float()
            unit = 1 if values.ndim == 4 else values.ndim - 1
            if values.shape[unit] > 1:
                size = values.abs().amax().clamp(min=1e-30)
                heard[name] = values.std(dim=unit).amax() / size

        return hook

    modules = probes.activations(network)
    handles = [module.register_forward_hook(listen(name)) for name, module in modules.items()]
    try:
        with evaluating(network):
            network(rows)
    finally:
        probes.detach(handles)
    return {name: float(value) for name, value in heard.items()}


@torch.no_grad()
def look(network: nn.Module, rows: Tensor) -> probes.Numbers:
    """What the activations do on some rows, in evaluation mode."""
    sample = probes.Sample(0)
    with evaluating(network), probes.listening(probes.activations(network), sample.activation):
        network(rows)
    return sample.numbers()


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """A network in evaluation mode; afterwards every module is in the mode it was in."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def rows_findings(
    fit: "Fit", features: Features, classes: int, balanced: bool
) -> Iterator[Finding]:
    """What is wrong with the rows."""

    def plain(rows: Source) -> inputs.Rows:
        numbers = _HASHED if isinstance(rows, Rows) else _READ
        step = -(-len(rows) // max(1, numbers // max(1, math.prod(rows.shape))))
        if isinstance(rows, Rows):
            some = Rows(rows.inputs[::step], rows.targets[::step])
        else:
            some = rows.take(torch.arange(0, len(rows), step))
        given, targets = some.inputs.cpu().numpy(), some.targets.cpu().numpy()
        return inputs.Rows(np.asarray(given), np.asarray(targets), classes)

    yield from inputs.check(plain(fit.train), plain(fit.validation), features, balanced)
