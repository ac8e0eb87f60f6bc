"""Which attribution fits a network, and the values that it gives for many rows."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from pellucid.plan import Modality
from pellucid_pipelines.explain.deepshap import DeepShap
from pellucid_pipelines.explain.gradients import ExpectedGradients, between, grid
from pellucid_pipelines.features import Features

Method = Literal["deep", "gradients", "exact"]
Built = tuple[nn.Module, Features, Tensor, Tensor]
"""Network, what it takes, background (B, *shape) and weights (B,)."""
# Relative to held-out rows' scale, which is an estimate: with 8e-3, others' gaps are below 1e-2.
TOLERANCE: dict[Method, float] = {"deep": 1e-4, "exact": 1e-4, "gradients": 8e-3}

_TRIED, _STEPPED = 32, 8  # rows that a method is tried on, and that tell how many shares it takes
_MOST = 64  # shares
_SHARE_OF_ROWS = 0.9  # that are near enough with the shares that a graph takes by default
_FLOATS = 2**19  # of a tensor: 2 MB in float32


@dataclass(frozen=True)
class Attribution:
    """A method, built for a network and its background.

    Attributes:
        method: by its name in the bundle.
        built: what the module was built from.
        module: see `deepshap.Attributed`.
        steps: shares that it takes by default; 0: it takes none.
    """

    method: Method
    built: Built
    module: nn.Module
    steps: int = 0

    @property
    def modality(self) -> Modality:
        """Of the network's inputs."""
        return self.built[1].modality

    @property
    def tolerance(self) -> float:
        """The largest gap, relative to the mean |prediction - base|, that is accepted."""
        return TOLERANCE[self.method]

    def shares(self) -> Tensor | None:
        """What its module takes by default."""
        return grid(self.steps) if self.steps else None

    def rows_at_once(self) -> int:
        """How many rows one run takes: its largest tensor then fits a cache, or it is short."""
        if self.steps:
            return _STEPPED
        held = [b.numel() for name, b in self.module.named_buffers() if "." not in name]
        return max(1, min(1024, _FLOATS // max(held)))

    def served(self) -> nn.Module:
        """The module again, in float32, for a graph."""
        network, features, background, weights = self.built
        if features.modality == "tabular":
            background = background.float()
        return type(self.module)(copy.deepcopy(network).float(), features, background, weights)

    def values(self, inputs: Tensor, chosen: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Raw outputs (N, outputs) and values, with more shares for the rows that need them."""
        shares = self.shares()
        raw, values = self._of(inputs, chosen, shares)
        while shares is not None and len(shares) < _MOST:
            missed = self.gaps(raw, values, chosen) > self.tolerance
            late = missed.reshape(len(missed), -1).any(dim=1).nonzero().squeeze(1)
            if not len(late):
                break
            again = None if chosen is None else chosen[late]
            others = between(shares)  # a finer grid is both
            values[late] = (values[late] + self._of(inputs[late], again, others)[1]) / 2
            shares = torch.cat([shares, others])
        return raw, values

    def gaps(self, raw: Tensor, values: Tensor, chosen: Tensor | None = None) -> Tensor:
        """(N, outputs or 1): what base and values miss, relative to the mean |raw - base|."""
        away = raw - self.module.get_buffer("base")
        scale = away.abs().mean(dim=0).clamp(min=1e-3 * float(raw.abs().max()) + 1e-12)
        scale = scale.expand_as(away)
        if chosen is None:
            return (values.sum(dim=1) - away).abs() / scale
        away, scale = (each.gather(1, chosen.unsqueeze(1)) for each in (away, scale))
        return (values.flatten(1).sum(dim=1, keepdim=True) - away).abs() / scale

    def _of(
        self, inputs: Tensor, chosen: Tensor | None, shares: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        found = [
            self.module(each, of, shares)[:2] for each, of in self._pieces(inputs, chosen, shares)
        ]
        raw, values = (torch.cat(parts) for parts in zip(*found, strict=True))
        return raw, values

    def _pieces(
        self, inputs: Tensor, chosen: Tensor | None, shares: Tensor | None
    ) -> Iterator[tuple[Tensor, Tensor | None]]:
        more = 1 if shares is None else max(1, len(shares) // self.steps)
        size = max(1, self.rows_at_once() // more)
        for start in range(0, max(1, len(inputs)), size):
            part = slice(start, start + size)
            yield inputs[part], None if chosen is None else chosen[part]


def fitting(
    network: nn.Module,
    features: Features,
    background: Tensor,
    weights: Tensor,
    rows: Tensor,
    method: str = "auto",
) -> Attribution:
    """The method that is asked for, or the one that fits the network best.

    `auto`: DeepSHAP (Lundberg and Lee, 2017) for tables and images where its values add up to the
    prediction on some rows, which they do where it knows every function; else expected gradients.

    Args:
        network: frozen, in evaluation mode, on the CPU.
        features: what it takes.
        background: (B, *shape).
        weights: (B,), adding up to 1.
        rows: (N, *shape) some rows to try methods on, at least one.
        method: auto, deep, gradients or exact; anything else counts as auto.
    """
    built = network, features, background, weights
    rows = rows[:_TRIED]
    if method == "exact":
        from pellucid_pipelines.explain.exact import ExactShapley

        return Attribution("exact", built, ExactShapley(*built))
    if method == "deep" or (method != "gradients" and features.modality in ("tabular", "image")):
        deep = _deep(built)
        if deep is not None and (method == "deep" or _adds_up(deep, rows)):
            return deep
    return _with_steps(built, rows[:_STEPPED])


def _deep(built: Built) -> Attribution | None:
    """None if the network is not a function of one row after the other."""
    try:
        return Attribution("deep", built, DeepShap(*built))
    except ValueError:
        return None


def _adds_up(found: Attribution, rows: Tensor) -> bool:
    chosen = _shown(found, rows)
    raw, values = found.values(rows, chosen)
    return bool((found.gaps(raw, values, chosen) <= found.tolerance).all())


def _with_steps(built: Built, rows: Tensor) -> Attribution:
    """The fewest shares that bring most rows near enough to their predictions."""
    module, steps = ExpectedGradients(*built), 1
    while True:
        found = Attribution("gradients", built, module, steps)
        chosen = _shown(found, rows)
        raw, values = found._of(rows, chosen, found.shares())
        near = found.gaps(raw, values, chosen) <= found.tolerance
        if near.double().mean() >= _SHARE_OF_ROWS or 2 * steps > _MOST // 4:
            return found
        steps *= 2


def _shown(found: Attribution, rows: Tensor) -> Tensor | None:
    """The predicted output of each row, where one is explained."""
    if found.modality == "tabular":
        return None
    with torch.no_grad():
        best: Tensor = found.module.get_submodule("network")(rows).argmax(dim=1)
    return best
