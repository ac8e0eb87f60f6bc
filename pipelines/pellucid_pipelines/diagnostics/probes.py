"""What layers do in a step, measured on the device: nothing here waits for it.

Numbers stay where they are computed; `Sample.numbers` moves all of them in one transfer.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

MOST = 32  # layers that are watched: the first, the last, and evenly between
SATURATED: Mapping[type[nn.Module], tuple[float, float]] = {
    nn.Tanh: (-0.97, 0.97),
    nn.Sigmoid: (0.03, 0.97),
    nn.RNN: (-0.97, 0.97),
}
RECTIFIED = (nn.ReLU, nn.ReLU6)
_ACTIVATIONS = (
    *RECTIFIED, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.RNN,
)  # fmt: skip
_ENOUGH = 2**17  # numbers of one output that are looked at
ACTIVATION = ("mean", "std", "zero_share", "dead_share", "saturated_share")
WEIGHT = ("gradient_norm", "weight_norm", "update_norm")

Numbers = dict[str, dict[str, float]]
"""Layer -> what -> value."""


def activations(network: nn.Module) -> dict[str, nn.Module]:
    """Name -> activation module (or Elman network), in the order of the network."""
    found = [(n, m) for n, m in network.named_modules() if isinstance(m, _ACTIVATIONS)]
    return dict(_some(found))


def weights(network: nn.Module) -> dict[str, nn.Parameter]:
    """Layer -> its trained weight of two or more dimensions, in the order of the network.

    Tables of embeddings are left out: only the rows of a batch get a gradient. Of vectors and
    scales, there is little to say.
    """
    tables = {id(m.weight) for m in network.modules() if isinstance(m, nn.Embedding)}
    found = [
        (name.removesuffix(".weight"), p)
        for name, p in network.named_parameters()
        if p.ndim >= 2 and p.requires_grad and id(p) not in tables
    ]
    return dict(_some(found))


def describe(network: nn.Module, layer: str) -> str:
    """A layer with the kind of module it is: "layers.0 (Linear)"."""
    module: Any = dict(network.named_modules()).get(layer)
    if module is None:
        module = dict(network.named_modules()).get(layer.rpartition(".")[0])
    return layer if module is None else f"{layer} ({type(module).__name__})"


@dataclass
class Sample:
    """One step, measured: layer -> (numbers,) on the device, in the order of the constants."""

    step: int
    activation: dict[str, Tensor] = field(default_factory=dict)
    weight: dict[str, Tensor] = field(default_factory=dict)

    def numbers(self) -> Numbers:
        """Everything, in one transfer."""
        groups = ((self.activation, ACTIVATION), (self.weight, WEIGHT))
        stacked = [tensor.double() for group, _ in groups for tensor in group.values()]
        flat = torch.cat(stacked).tolist() if stacked else []
        found: Numbers = {}
        start = 0
        for group, names in groups:
            for layer in group:
                values = flat[start : start + len(names)]
                found.setdefault(layer, {}).update(zip(names, values, strict=True))
                start += len(names)
        return found


@contextmanager
def listening(
    modules: Mapping[str, nn.Module], heard: dict[str, Tensor]
) -> Iterator[dict[str, Tensor]]:
    """While it lasts, `heard` gets what each module puts out, summarised by `summary`."""
    handles = attach(modules, heard)
    try:
        yield heard
    finally:
        detach(handles)


def attach(modules: Mapping[str, nn.Module], heard: dict[str, Tensor]) -> list[Any]:
    """Hooks that summarise what modules put out; of a module that is used twice, the last."""

    def listen(name: str) -> Any:
        def hook(module: nn.Module, _inputs: object, output: Any) -> None:
            heard[name] = summary(module, output[0] if isinstance(output, tuple) else output)

        return hook

    return [module.register_forward_hook(listen(name)) for name, module in modules.items()]


def detach(handles: Sequence[Any]) -> None:
    """Take hooks off."""
    for handle in handles:
        handle.remove()


@torch.no_grad()
def summary(module: nn.Module, output: Tensor) -> Tensor:
    """(5,) mean, standard deviation, and the shares of zeros, dead units and saturated values.

    A unit is a channel (N, C, H, W), else an entry of the last dimension. It is dead where it is
    zero, rectified, for every row.
    """
    values = output.detach()
    if values.numel() > _ENOUGH:  # the first rows do: images and long sequences are many numbers
        fewest = 64 if values.ndim == 2 else 8
        values = values[: max(fewest, _ENOUGH * len(values) // values.numel())]
    values = values.float()
    count = values.numel()
    mean = values.mean()  # by sums: `std_mean` is ten times slower on the CPU
    square = torch.linalg.vector_norm(values).square() / count
    std = (square - mean.square()).clamp(min=0).sqrt()
    zero = dead = saturated = torch.zeros((), device=values.device)
    if isinstance(module, RECTIFIED):
        unit = 1 if values.ndim == 4 else values.ndim - 1
        others = [axis for axis in range(values.ndim) if axis != unit]
        zero = 1 - values.sign().mean()
        dead = (values.amax(dim=others) <= 0).float().mean()
    limits = SATURATED.get(type(module))
    if limits is not None:
        low, high = limits
        middle, half = (low + high) / 2, (high - low) / 2
        saturated = ((values - middle).abs() > half).float().mean()
    return torch.stack([mean, std, zero, dead, saturated])


@torch.no_grad()
def weight_summary(
    named: Mapping[str, nn.Parameter], before: Sequence[Tensor], norms: Sequence[Tensor]
) -> dict[str, Tensor]:
    """Layer -> (3,) norms of gradient, weight and update.

    Args:
        named: layer -> weight, after the update.
        before: the weights before it.
        norms: of their gradients.
    """
    now = [p.detach() for p in named.values()]
    updates = torch._foreach_norm(torch._foreach_sub(now, list(before)))
    table = torch.stack(
        [torch.stack(list(norms)), torch.stack(torch._foreach_norm(list(before))),
         torch.stack(updates)], dim=1,
    )  # fmt: skip
    return dict(zip(named, table.unbind(), strict=True))


def _some(items: list[Any]) -> list[Any]:
    if len(items) <= MOST:
        return items
    return [items[round(i * (len(items) - 1) / (MOST - 1))] for i in range(MOST)]
