"""Group DRO: the loss of the group that does worst (Sagawa et al., ICLR 2020)."""

import torch
from torch import Tensor

from pellucid import plan
from pellucid_pipelines.distributed import World
from pellucid_pipelines.objectives import Objective
from pellucid_pipelines.rows import Rows


class GroupDro(Objective):
    """sum of q_g L_g over groups, where q_g <- q_g exp(rate L_g), renormalised, at every step.

    L_g is the mean loss of the batch's rows of group g. Rows without a group are a group too.

    Args:
        spec: the rate, and whether a group's classes are groups of their own.
        groups: G.
        classes: K.
    """

    weight: Tensor  # (groups,) q, adding up to 1

    def __init__(self, spec: plan.GroupDro, groups: int, classes: int) -> None:
        super().__init__()
        self.rate = spec.rate
        self.classes = classes if spec.by_class else 1
        self.count = (groups + 1) * self.classes
        self.register_buffer("weight", torch.full((self.count,), 1 / self.count))
        self._next = self.weight

    def of_batch(self, raw: Tensor, each: Tensor, rows: Rows, world: World) -> Tensor:
        """The weighted sum of the groups' mean losses over the whole batch."""
        mine, share = self._sums(each, rows)
        counted = torch.cat([mine.detach(), share, share.new_tensor([len(rows)])])
        total, weight, length = torch.split(world.sum(counted), [self.count, self.count, 1])
        there = weight > 0
        mean = torch.where(there, total / weight.clamp(min=1e-12), 0.0)
        grown = self.weight * torch.exp(self.rate * mean)
        self._next = grown / grown.sum()
        # Groups that are not in the batch leave their weight to those that are.
        part = torch.where(there, self._next, 0.0)
        part = part / part.sum() / weight.clamp(min=1e-12)
        loss: Tensor = (part * mine).sum() * (length / len(rows)).squeeze()
        return loss

    def of_all(self, raw: Tensor, each: Tensor, rows: Rows) -> Tensor:
        """The worst group's mean loss."""
        total, weight = self._sums(each, rows)
        return (total / weight)[weight > 0].max()

    def gradients_ready(self, fit: object, norm: Tensor) -> None:
        """Keep the weights that the step was taken under."""
        self.weight.copy_(self._next)

    def _sums(self, each: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
        """(groups,) the weighted losses of each group's rows, and their weights."""
        assert rows.groups is not None, "a fair plan's rows have groups"
        at = rows.groups
        if self.classes > 1:
            at = at * self.classes + rows.targets.long()
        weights = torch.ones_like(each) if rows.weights is None else rows.weights
        nothing = each.new_zeros(self.count)
        return nothing.index_add(0, at, each * weights), nothing.index_add(0, at, weights)
