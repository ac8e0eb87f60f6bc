"""Architectures: a file each, and a row in this table for each kind of `plan.Model`."""

from collections.abc import Callable
from typing import Any

from torch import nn

from pellucid import plan
from pellucid_pipelines.architectures.mlp import Mlp
from pellucid_pipelines.features import Features
from pellucid_pipelines.tensors import Link

BUILDERS: dict[type[plan.Part], Callable[[Any, Features, int, Link], nn.Module]] = {plan.Mlp: Mlp}


def build(spec: plan.Model, features: Features, outputs: int, link: Link = "identity") -> nn.Module:
    """The network that a plan names: (N, *features.shape) -> (N, outputs) float32, raw.

    An ensemble gives (N, members, outputs) in training mode. In evaluation mode it gives what
    `link` maps to the mean of its members' predictions.
    """
    return BUILDERS[type(spec)](spec, features, outputs, link)
