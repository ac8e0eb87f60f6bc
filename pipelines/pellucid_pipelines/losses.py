"""Losses: a row for each kind of `plan.Loss`.

Each takes raw outputs (N, outputs) and targets, (N,) or (N, outputs), and gives (N,) losses.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.nn import functional

from pellucid import plan
from pellucid_pipelines.tensors import Target

Loss = Callable[[Tensor, Tensor], Tensor]


def binary_cross_entropy(raw: Tensor, targets: Tensor) -> Tensor:
    """-log p of the true class, from the positive class's logit. 0 is certain and right."""
    return functional.binary_cross_entropy_with_logits(raw.squeeze(1), targets, reduction="none")


def cross_entropy(raw: Tensor, targets: Tensor) -> Tensor:
    """-log p of the true class, from logits. 0 is certain and right; ln K is no knowledge."""
    return functional.cross_entropy(raw, targets, reduction="none")


def squared_error(raw: Tensor, targets: Tensor) -> Tensor:
    """(value - truth)^2 of the standardised target: 1 is what the mean achieves, 0 is exact."""
    return functional.mse_loss(raw, targets.view_as(raw), reduction="none").mean(dim=1)


def _cross_entropy(_spec: plan.CrossEntropy, target: Target) -> Loss:
    return cross_entropy if target.positive is None else binary_cross_entropy


def _mse(_spec: plan.Mse, _target: Target) -> Loss:
    return squared_error


BUILDERS: dict[type[plan.Part], Callable[[Any, Target], Loss]] = {
    plan.CrossEntropy: _cross_entropy,
    plan.Mse: _mse,
}


def build(spec: plan.Loss, target: Target) -> Loss:
    """The loss that a plan names, of a target."""
    return BUILDERS[type(spec)](spec, target)


def per_row(loss: Loss, raw: Tensor, targets: Tensor) -> Tensor:
    """(N,) losses; of an ensemble's raw outputs (N, members, outputs) the mean over its members."""
    if raw.ndim == 2:
        return loss(raw, targets)
    members = raw.shape[1]
    losses = loss(raw.flatten(0, 1), targets.repeat_interleave(members, dim=0))
    return losses.view(-1, members).mean(dim=1)


def mean(losses: Tensor, weights: Tensor | None) -> Tensor:
    """The mean of (N,) losses under weights of mean 1."""
    return (losses if weights is None else losses * weights).mean()
