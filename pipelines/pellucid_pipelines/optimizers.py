"""Optimizers: a row for each kind of `plan.Optimizer`.

Every parameter group keeps its own `initial_lr`, which the schedule scales. Weight decay is
decoupled from the gradient in all of them (Loshchilov and Hutter, 2019), and for matrices only.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from pellucid import plan
from pellucid_pipelines import depth

Groups = list[dict[str, Any]]
Optimizer = torch.optim.Optimizer


def _adamw(spec: plan.AdamW, groups: Groups, _network: nn.Module) -> Optimizer:
    return torch.optim.AdamW(groups, lr=spec.lr, betas=spec.betas, fused=True)


def _adam(spec: plan.Adam, groups: Groups, _network: nn.Module) -> Optimizer:
    return torch.optim.Adam(
        groups, lr=spec.lr, betas=spec.betas, fused=True, decoupled_weight_decay=True
    )


def _sgd(spec: plan.Sgd, groups: Groups, _network: nn.Module) -> Optimizer:
    nesterov = spec.nesterov and spec.momentum > 0
    return _decoupled(
        torch.optim.SGD(groups, lr=spec.lr, momentum=spec.momentum, nesterov=nesterov, fused=True)
    )


def _rmsprop(spec: plan.RmsProp, groups: Groups, _network: nn.Module) -> Optimizer:
    return _decoupled(
        torch.optim.RMSprop(
            groups, lr=spec.lr, alpha=spec.alpha, momentum=spec.momentum, foreach=True
        )
    )


def _adagrad(spec: plan.Adagrad, groups: Groups, _network: nn.Module) -> Optimizer:
    return _decoupled(torch.optim.Adagrad(groups, lr=spec.lr, foreach=True))


def _muon(spec: plan.Muon, groups: Groups, network: nn.Module) -> Optimizer:
    hidden = _hidden_matrices(network)
    matrices: Groups = []
    others: Groups = []
    for group in groups:
        share = group.pop("lr_share")
        for chosen, lr, into in ((True, spec.lr, matrices), (False, spec.adamw_lr, others)):
            parameters = [p for p in group["params"] if (id(p) in hidden) is chosen]
            if parameters:
                into.append({**group, "params": parameters, "lr": lr * share})
    parts: list[Optimizer] = []
    if matrices:
        parts.append(torch.optim.Muon(matrices, lr=spec.lr, momentum=spec.momentum))
    if others:
        parts.append(torch.optim.AdamW(others, lr=spec.adamw_lr, fused=True))
    return Together(parts)


BUILDERS: dict[type[plan.Part], Callable[[Any, Groups, nn.Module], Optimizer]] = {
    plan.AdamW: _adamw,
    plan.Adam: _adam,
    plan.Sgd: _sgd,
    plan.RmsProp: _rmsprop,
    plan.Adagrad: _adagrad,
    plan.Muon: _muon,
}


class Together(Optimizer):
    """Several optimizers, each of its own parameters, as one."""

    def __init__(self, parts: Iterable[Optimizer]) -> None:
        self.parts = list(parts)
        super().__init__([group for part in self.parts for group in part.param_groups], {})
        self._share_groups()

    def _share_groups(self) -> None:
        """A learning rate that is set here is one that the parts see."""
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update by each."""
        for part in self.parts:
            part.step(closure)

    def state_dict(self) -> dict[str, Any]:
        """The state of each, in order."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        for part, saved in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(saved)
        self._share_groups()


def build(spec: plan.Optimizer, network: nn.Module, layer_decay: float = 1.0) -> Optimizer:
    """The optimizer that a plan names.

    Only weight matrices decay, not biases or norms. With a `layer_decay` below 1 each layer's
    learning rate is that of the layer behind it times this (Howard and Ruder, 2018).
    """
    groups: Groups = []
    for parameters, share in depth.shares(network, layer_decay):
        for matrices in (True, False):
            chosen = [p for p in parameters if (p.ndim > 1) is matrices]
            if chosen:
                decay = spec.weight_decay if matrices else 0.0
                groups.append({"params": chosen, "weight_decay": decay, "lr": spec.lr * share})
                groups[-1]["lr_share"] = share
    optimizer = BUILDERS[type(spec)](spec, groups, network)
    for group in optimizer.param_groups:
        group.pop("lr_share", None)
        group["initial_lr"] = group["lr"]
    return optimizer


def _decoupled(optimizer: Optimizer) -> Optimizer:
    """Take weight decay out of the gradient, and let it shrink the weights instead."""
    for group in optimizer.param_groups:
        group["decoupled_decay"], group["weight_decay"] = group["weight_decay"], 0.0
    if any(group["decoupled_decay"] for group in optimizer.param_groups):
        optimizer.register_step_pre_hook(_decay)
    return optimizer


@torch.no_grad()
def _decay(optimizer: Optimizer, _arguments: object, _keywords: object) -> None:
    for group in optimizer.param_groups:
        if group["decoupled_decay"]:
            weights: list[Tensor] = [p for p in group["params"] if p.grad is not None]
            if weights:
                torch._foreach_mul_(weights, 1 - group["lr"] * group["decoupled_decay"])


def _hidden_matrices(network: nn.Module) -> set[int]:
    """Ids of the matrices between the input's embeddings and the last layer."""
    looked_up = {id(m.weight) for m in network.modules() if isinstance(m, nn.Embedding)}
    matrices = [p for p in network.parameters() if p.ndim == 2 and id(p) not in looked_up]
    return {id(p) for p in matrices[:-1]}
