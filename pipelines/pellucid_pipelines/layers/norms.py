"""Normalisations of (N, width) by their names in a plan."""

from collections.abc import Callable

from torch import nn

from pellucid import plan

_GROUP = 16  # units a group has at least, where the width allows (Wu and He, 2018)


def _group(width: int) -> nn.Module:
    groups = next(n for n in range(max(1, width // _GROUP), 0, -1) if width % n == 0)
    return nn.GroupNorm(groups, width)


NORMS: dict[plan.Norm, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm1d,
    "layer": nn.LayerNorm,
    "group": _group,
}


def norm(name: plan.Norm, width: int) -> nn.Module:
    """(N, width) -> (N, width)."""
    return NORMS[name](width)
