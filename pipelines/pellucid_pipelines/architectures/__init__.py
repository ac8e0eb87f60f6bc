"""Architectures: a file each, and a row in this table for each kind of `plan.Model`."""

from collections.abc import Callable
from typing import Any

from torch import nn

from pellucid import plan
from pellucid_pipelines.architectures.bag_of_words import BagOfWords
from pellucid_pipelines.architectures.cnn import Cnn
from pellucid_pipelines.architectures.ft_transformer import FtTransformer
from pellucid_pipelines.architectures.hybrid import Hybrid
from pellucid_pipelines.architectures.mlp import Mlp
from pellucid_pipelines.architectures.perceptron import Perceptron
from pellucid_pipelines.architectures.recurrent import RecurrentNetwork
from pellucid_pipelines.architectures.tabm import TabM
from pellucid_pipelines.architectures.tcn import Tcn
from pellucid_pipelines.architectures.transformer import transformer
from pellucid_pipelines.features import Features
from pellucid_pipelines.tensors import Link

BUILDERS: dict[type[plan.Part], Callable[[Any, Features, int, Link], nn.Module]] = {
    plan.Perceptron: Perceptron,
    plan.Mlp: Mlp,
    plan.TabM: TabM,
    plan.FtTransformer: FtTransformer,
    plan.Cnn: Cnn,
    plan.Rnn: RecurrentNetwork,
    plan.Lstm: RecurrentNetwork,
    plan.Gru: RecurrentNetwork,
    plan.Tcn: Tcn,
    plan.Transformer: transformer,
    plan.BagOfWords: BagOfWords,
    plan.Hybrid: Hybrid,
}


def build(spec: plan.Model, features: Features, outputs: int, link: Link = "identity") -> nn.Module:
    """The network that a plan names: (N, *features.shape) -> (N, outputs) float32, raw.

    An ensemble gives (N, members, outputs) in training mode. In evaluation mode it gives what
    `link` maps to the mean of its members' predictions.
    """
    return BUILDERS[type(spec)](spec, features, outputs, link)
