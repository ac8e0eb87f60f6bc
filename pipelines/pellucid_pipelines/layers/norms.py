"""Normalisations of (N, width) by their names in a plan."""

import math
from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn

from pellucid import plan

_GROUP = 16  # units or channels a group has at least, where the width allows (Wu and He, 2018)


class GroupNorm(nn.GroupNorm):
    """(N, width, ...) -> the same; `nn.GroupNorm`, and exported so that N may be 0."""

    @classmethod
    def of(cls, width: int) -> Self:
        """As many groups as the width allows."""
        return cls(next(n for n in range(max(1, width // _GROUP), 0, -1) if width % n == 0), width)

    def forward(self, inputs: Tensor) -> Tensor:
        """Shapes: (N, width, ...) -> (N, width, ...)."""
        if not torch.compiler.is_exporting():
            return super().forward(inputs)
        size = math.prod(inputs.shape[1:]) // self.num_groups
        groups = inputs.reshape(-1, self.num_groups, size)
        centred = groups - groups.mean(dim=2, keepdim=True)
        variance = centred.square().mean(dim=2, keepdim=True)
        normal = (centred * torch.rsqrt(variance + self.eps)).reshape(inputs.shape)
        wide = (-1, *(1,) * (inputs.ndim - 2))
        return normal * self.weight.view(wide) + self.bias.view(wide)


NORMS: dict[plan.Norm, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm1d,
    "layer": nn.LayerNorm,
    "group": GroupNorm.of,
}


def norm(name: plan.Norm, width: int) -> nn.Module:
    """(N, width) -> (N, width)."""
    return NORMS[name](width)
