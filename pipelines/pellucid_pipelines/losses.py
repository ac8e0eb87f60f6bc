"""Losses per row, and the scores watched while training."""

from collections.abc import Callable

from torch import Tensor
from torch.nn import functional

from pellucid_pipelines.tensors import Target

Loss = Callable[[Tensor, Tensor], Tensor]
"""(N, outputs) raw outputs and (N,) targets -> (N,) losses."""


def binary_cross_entropy(raw: Tensor, targets: Tensor) -> Tensor:
    """-log p of the true class, from the positive class's logit. 0 is certain and right."""
    return functional.binary_cross_entropy_with_logits(raw.squeeze(1), targets, reduction="none")


def cross_entropy(raw: Tensor, targets: Tensor) -> Tensor:
    """-log p of the true class, from logits. 0 is certain and right; ln K is no knowledge."""
    return functional.cross_entropy(raw, targets, reduction="none")


def squared_error(raw: Tensor, targets: Tensor) -> Tensor:
    """(value - truth)^2 of the standardised target: 1 is what the mean achieves, 0 is exact."""
    return functional.mse_loss(raw.squeeze(1), targets, reduction="none")


def build(target: Target) -> Loss:
    """The loss of a target."""
    if target.task == "regression":
        return squared_error
    return cross_entropy if target.positive is None else binary_cross_entropy


def mean(losses: Tensor, weights: Tensor | None) -> Tensor:
    """The mean of (N,) losses under weights of mean 1."""
    return (losses if weights is None else losses * weights).mean()
