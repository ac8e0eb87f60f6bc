"""What keeps weights small and fits smooth: penalties, averaged weights, mixed rows."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from pellucid import plan
from pellucid_pipelines.rows import Rows


class Penalties:
    """L1 and L2 of the matrices, as their gradients: exact, and without a pass through autograd.

    `l1` times the sum of |w|, `l2` times half the sum of w^2. The losses that are reported are
    those of the data alone.
    """

    def __init__(self, spec: plan.Regularization, network: nn.Module) -> None:
        self.l1, self.l2 = spec.l1, spec.l2
        self.matrices = [p for p in network.parameters() if p.requires_grad and p.ndim > 1]

    @torch.no_grad()
    def add_gradients(self) -> None:
        """After the backward pass, before clipping."""
        pairs: list[tuple[Tensor, Tensor]] = [
            (p, p.grad) for p in self.matrices if p.grad is not None
        ]
        weights, gradients = [p for p, _ in pairs], [g for _, g in pairs]
        if self.l2:
            torch._foreach_add_(gradients, weights, alpha=self.l2)
        if self.l1:
            torch._foreach_add_(gradients, torch._foreach_sign(weights), alpha=self.l1)


class Average:
    """An exponential moving average of a network's weights (Polyak and Juditsky, 1992).

    Step t decays by at most (1 + t) / (10 + t), so that the first, random weights are soon
    forgotten. Running statistics of batch norms are averaged as the weights are; counters copied.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False).eval()
        self.decay = decay
        self.steps = 0
        pairs = list(
            zip(
                self.network.state_dict(keep_vars=True).values(),
                network.state_dict(keep_vars=True).values(),
                strict=True,
            )
        )
        smooth = [(old, new) for old, new in pairs if old.is_floating_point()]
        self._kept = [old for old, _ in smooth]
        self._live = [new for _, new in smooth]
        self._counters = [(old, new) for old, new in pairs if not old.is_floating_point()]

    @torch.no_grad()
    def update(self) -> None:
        """After a step of the optimizer."""
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.steps += 1
        torch._foreach_lerp_(self._kept, self._live, 1 - decay)
        for kept, live in self._counters:
            kept.copy_(live)

    def state_dict(self) -> dict[str, Any]:
        """The averaged weights, and how many steps they are of."""
        return {"network": self.network.state_dict(), "steps": self.steps}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.network.load_state_dict(saved["network"])
        self.steps = saved["steps"]


def mixed(batch: Rows, strength: float, modality: str) -> tuple[Rows, Rows, float]:
    """Rows mixed with others of their batch (Zhang et al., 2018).

    Returns the batch with its inputs mixed, the others' targets and weights, and the share of the
    first, drawn from Beta(strength, strength). Pixels stay uint8; of two sequences the mix has
    the steps of the longer.
    """
    share = float(torch.distributions.Beta(strength, strength).sample())
    others = torch.randperm(len(batch), device=batch.inputs.device)
    one, two = batch.inputs, batch.inputs[others]
    if one.is_floating_point():
        inputs = torch.lerp(two, one, share)
        if modality == "sequence":  # the last channel tells where there are steps
            inputs[..., -1] = torch.maximum(one[..., -1], two[..., -1])
    else:
        inputs = torch.lerp(two.float(), one.float(), share).round_().to(one.dtype)
    weights = batch.weights
    second = Rows(inputs, batch.targets[others], None if weights is None else weights[others])
    return Rows(inputs, batch.targets, weights), second, share
