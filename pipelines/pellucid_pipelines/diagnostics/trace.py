"""Where a value that is not finite began: the batch once more, layer by layer."""

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor, nn

from pellucid_pipelines.diagnostics import probes

if TYPE_CHECKING:
    from pellucid_pipelines.loop import Fit
    from pellucid_pipelines.rows import Rows


class Origin(NamedTuple):
    """The first thing that is not finite: a layer's name where it is in one, and how to say it."""

    layer: str | None
    sentence: str


def locate(fit: "Fit", batch: "Rows") -> Origin:
    """Where it begins, with the network's weights and gradients as they are now.

    Looked for in this order: inputs, weights, the forward pass, the loss, the backward pass.
    """
    if not _finite(batch.inputs):
        return Origin(None, "the inputs of the batch hold it already")
    for name, parameter in fit.network.named_parameters():
        if not _finite(parameter):
            layer = name.rpartition(".")[0] or name
            return Origin(layer, f"the weights of {probes.describe(fit.network, layer)} hold it")
    return _forward(fit, batch) or _backward(fit, batch)


def _forward(fit: "Fit", batch: "Rows") -> Origin | None:
    first: list[str] = []

    def listen(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: object, output: Any) -> None:
            values = output[0] if isinstance(output, tuple) else output
            if not first and isinstance(values, Tensor) and not _finite(values):
                first.append(name)

        return hook

    leaves = [(n, m) for n, m in fit.network.named_modules() if not list(m.children())]
    handles = [module.register_forward_hook(listen(name)) for name, module in leaves]
    try:
        with torch.no_grad():
            raw = fit.forward(batch.inputs)
    finally:
        probes.detach(handles)
    if first:
        what = probes.describe(fit.network, first[0])
        return Origin(first[0], f"it began in the output of {what}, whose weights are finite")
    if not _finite(raw):
        return Origin(None, "it began in the network's output")
    return None


def _backward(fit: "Fit", batch: "Rows") -> Origin:
    loss = fit.batch_loss(batch)
    if not _finite(loss):
        return Origin(None, "it began in the loss of finite outputs")
    named = [(n, p) for n, p in fit.network.named_parameters() if p.requires_grad]
    gradients = torch.autograd.grad(loss, [p for _, p in named], allow_unused=True)
    for (name, _), gradient in reversed(list(zip(named, gradients, strict=True))):
        if gradient is not None and not _finite(gradient):
            layer = name.rpartition(".")[0] or name
            what = probes.describe(fit.network, layer)
            return Origin(layer, f"it began in the gradient of {what}")
    return Origin(None, "it began in the update")


def _finite(values: Tensor) -> bool:
    return not values.is_floating_point() or bool(torch.isfinite(values).all())
