"""Architectures: a file each, and a row in this table for each kind of `plan.Model`."""

from collections.abc import Callable
from typing import Any

from torch import nn

from pellucid import plan
from pellucid_pipelines.architectures.mlp import Mlp

BUILDERS: dict[type[plan.Part], Callable[[Any, int, int], nn.Module]] = {plan.Mlp: Mlp}


def build(spec: plan.Model, width: int, outputs: int) -> nn.Module:
    """The network that a plan names: (N, width) float32 -> (N, outputs) float32, raw."""
    return BUILDERS[type(spec)](spec, width, outputs)
