"""Losses: a row for each kind of `plan.Loss`.

Each takes raw outputs (N, outputs) and targets, (N,) or (N, outputs), and gives (N,) losses.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from pellucid import plan
from pellucid_pipelines.tensors import Target

Loss = Callable[[Tensor, Tensor], Tensor]


def binary_cross_entropy(raw: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """-log p of the true class, from the positive class's logit (N, 1). 0 is certain and right.

    `smoothing` moves that share of the truth to both classes alike (Szegedy et al., 2016).
    """
    if smoothing:
        targets = targets * (1 - smoothing) + smoothing / 2
    return functional.binary_cross_entropy_with_logits(raw.squeeze(1), targets, reduction="none")


def cross_entropy(raw: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """-log p of the true class, from logits (N, K). 0 is certain and right; ln K: no knowledge.

    `smoothing` moves that share of the truth to all classes alike (Szegedy et al., 2016).
    """
    return functional.cross_entropy(raw, targets, reduction="none", label_smoothing=smoothing)


def binary_focal(raw: Tensor, targets: Tensor, gamma: float = 2.0) -> Tensor:
    """-(1 - p)^gamma log p of the true class (Lin et al., 2017), from the positive one's logit."""
    signed = raw.squeeze(1) * (2 * targets - 1)
    # (1 - p)^gamma by its logarithm: a power has no gradient at a certain row, where p is 1.
    return -torch.exp(gamma * functional.logsigmoid(-signed)) * functional.logsigmoid(signed)


def focal(raw: Tensor, targets: Tensor, gamma: float = 2.0) -> Tensor:
    """-(1 - p)^gamma log p of the true class (Lin et al., 2017), from logits (N, K)."""
    logs = functional.log_softmax(raw, dim=1)
    true = targets.unsqueeze(1)
    others = logs.scatter(1, true, -torch.inf).logsumexp(dim=1)  # log (1 - p)
    return -torch.exp(gamma * others) * logs.gather(1, true).squeeze(1)


def squared_error(raw: Tensor, targets: Tensor) -> Tensor:
    """(value - truth)^2 of the standardised target: 1 is what the mean achieves, 0 is exact."""
    return functional.mse_loss(raw, targets.view_as(raw), reduction="none").mean(dim=1)


def absolute_error(raw: Tensor, targets: Tensor) -> Tensor:
    """|value - truth| in standard deviations of the target; 0 is exact."""
    return functional.l1_loss(raw, targets.view_as(raw), reduction="none").mean(dim=1)


def huber(raw: Tensor, targets: Tensor, delta: float = 1.0) -> Tensor:
    """Half the squared error up to `delta`, beyond it linear with slope `delta` (Huber, 1964)."""
    truth = targets.view_as(raw)
    return functional.huber_loss(raw, truth, reduction="none", delta=delta).mean(dim=1)


def pinball(raw: Tensor, targets: Tensor, level: float = 0.5) -> Tensor:
    """`level` times what the value falls short, 1 - `level` times what it exceeds the truth by.

    Least at the quantile of that level (Koenker and Bassett, 1978); 0 is exact.
    """
    short = targets.view_as(raw) - raw
    return torch.maximum(level * short, (level - 1) * short).mean(dim=1)


def _cross_entropy(spec: plan.CrossEntropy, target: Target) -> Loss:
    loss = cross_entropy if target.positive is None else binary_cross_entropy
    return partial(loss, smoothing=spec.label_smoothing)


def _focal(spec: plan.Focal, target: Target) -> Loss:
    return partial(focal if target.positive is None else binary_focal, gamma=spec.gamma)


def _mse(_spec: plan.Mse, _target: Target) -> Loss:
    return squared_error


def _mae(_spec: plan.Mae, _target: Target) -> Loss:
    return absolute_error


def _huber(spec: plan.Huber, _target: Target) -> Loss:
    return partial(huber, delta=spec.delta)


def _pinball(spec: plan.Pinball, _target: Target) -> Loss:
    return partial(pinball, level=spec.level)


BUILDERS: dict[type[plan.Part], Callable[[Any, Target], Loss]] = {
    plan.CrossEntropy: _cross_entropy,
    plan.Focal: _focal,
    plan.Mse: _mse,
    plan.Mae: _mae,
    plan.Huber: _huber,
    plan.Pinball: _pinball,
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
