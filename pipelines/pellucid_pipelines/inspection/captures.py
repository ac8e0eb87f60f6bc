"""What passes through a network: outputs of layers, attention, gradients."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pellucid_pipelines import losses
from pellucid_pipelines.diagnostics import probes
from pellucid_pipelines.rows import Rows


class Attention(TorchFunctionMode):
    """While it lasts, `maps` gets the weights (N, heads, steps, steps) of every attention."""

    def __init__(self) -> None:
        super().__init__()
        self.maps: list[Tensor] = []

    def __torch_function__(
        self, function: Any, types: Any, arguments: Any = (), named: Any = None
    ) -> Any:
        named = named or {}
        if function is nn.functional.scaled_dot_product_attention:
            query, key = arguments[0], arguments[1]
            mask = named.get("attn_mask", arguments[3] if len(arguments) > 3 else None)
            scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
            if mask is not None and mask.dtype is torch.bool:
                scores = scores.masked_fill(~mask, -torch.inf)
            elif mask is not None:
                scores = scores + mask
            self.maps.append(scores.softmax(dim=-1).detach())
        return function(*arguments, **named)


@torch.no_grad()
def attention_maps(network: nn.Module, inputs: Tensor) -> list[Tensor]:
    """Layer after layer (N, heads, steps, steps): how much each step takes from each."""
    attention = Attention()
    with attention:
        network(inputs)
    return attention.maps


@torch.no_grad()
def activations(network: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    """Activation -> (N, units): its output, of images and sequences the mean over places."""
    with _recorded(probes.activations(network)) as found:
        network(inputs)
    return {name: _by_unit(values) for name, values in found.items()}


@torch.no_grad()
def embeddings(network: nn.Module, inputs: Tensor) -> Tensor:
    """(N, width) what enters the last linear layer; of an ensemble the mean of its members."""
    layers = [m for m in network.modules() if isinstance(m, nn.Linear)]
    heard: list[Tensor] = []

    def hook(_module: nn.Module, given: tuple[Tensor, ...]) -> None:
        heard.append(given[0].detach())

    if not layers:
        raw: Tensor = network(inputs)
        return raw.reshape(len(inputs), -1)
    handle = layers[-1].register_forward_pre_hook(hook)
    try:
        network(inputs)
    finally:
        handle.remove()
    return _by_unit(heard[-1])


def gradients(network: nn.Module, loss: losses.Loss, rows: Rows) -> dict[str, Tensor]:
    """Layer -> (outputs, inputs) of its weight's gradient of the mean loss; kernels are summed."""
    named = probes.weights(network)
    value = losses.mean(losses.per_row(loss, network(rows.inputs), rows.targets), rows.weights)
    found = torch.autograd.grad(value, list(named.values()), allow_unused=True)
    return {
        name: gradient.reshape(gradient.shape[0], gradient.shape[1], -1).norm(dim=2)
        for name, gradient in zip(named, found, strict=True)
        if gradient is not None
    }


def _by_unit(values: Tensor) -> Tensor:
    if values.ndim == 4:  # (N, channels, height, width)
        return values.mean(dim=(2, 3))
    return values.flatten(1, -2).mean(dim=1) if values.ndim > 2 else values


@contextmanager
def _recorded(modules: dict[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    found: dict[str, Tensor] = {}

    def listen(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: object, output: Any) -> None:
            found[name] = (output[0] if isinstance(output, tuple) else output).detach()

        return hook

    handles = [module.register_forward_hook(listen(name)) for name, module in modules.items()]
    try:
        yield found
    finally:
        probes.detach(handles)
