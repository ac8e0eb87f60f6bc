"""Optimizers: a row for each kind of `plan.Optimizer`."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from pellucid import plan

Groups = list[dict[str, Any]]


def _adamw(spec: plan.AdamW, groups: Groups) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=spec.lr, betas=spec.betas, fused=True)


def _sgd(spec: plan.Sgd, groups: Groups) -> torch.optim.Optimizer:
    nesterov = spec.nesterov and spec.momentum > 0
    return torch.optim.SGD(
        groups, lr=spec.lr, momentum=spec.momentum, nesterov=nesterov, fused=True
    )


BUILDERS: dict[type[plan.Part], Callable[[Any, Groups], torch.optim.Optimizer]] = {
    plan.AdamW: _adamw,
    plan.Sgd: _sgd,
}


def build(spec: plan.Optimizer, network: nn.Module) -> torch.optim.Optimizer:
    """The optimizer that a plan names. Only weight matrices decay, not biases or norms."""
    parameters = [p for p in network.parameters() if p.requires_grad]
    matrices = [p for p in parameters if p.ndim > 1]
    others = [p for p in parameters if p.ndim <= 1]
    return BUILDERS[type(spec)](
        spec,
        [
            {"params": matrices, "weight_decay": spec.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ],
    )
