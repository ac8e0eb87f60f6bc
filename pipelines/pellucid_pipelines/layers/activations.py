"""Activations by their names in a plan."""

from collections.abc import Callable

from torch import nn

from pellucid import plan

ACTIVATIONS: dict[plan.Activation, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}


def activation(name: plan.Activation) -> nn.Module:
    """A module of its own for every use, since DeepSHAP attributes module by module."""
    return ACTIVATIONS[name]()
