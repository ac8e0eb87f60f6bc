"""Start from the weights of another network; train all of it, or its last layer only."""

import pickle
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from pellucid.bundle import TOKENIZER
from pellucid.errors import InvalidData, InvalidPlan
from pellucid.raw.texts import Tokenizer
from pellucid_pipelines import depth
from pellucid_pipelines.data import Data
from pellucid_pipelines.preprocessing.texts import Texts


class Taken(NamedTuple):
    """Names in the network's state: taken from the other one, and left as initialised."""

    loaded: list[str]
    renewed: list[str]


def start_from(network: nn.Module, path: Path) -> Taken:
    """Load what fits of a saved state: the same name and the same shape, such as all but a head.

    Raises:
        InvalidData: the file holds no weights.
        InvalidPlan: no weight matrix fits.
    """
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise InvalidData(f"The weights cannot be read: {error}.", where={"file": path}) from error
    own = network.state_dict()
    fitting = {
        name: value
        for name, value in saved.items()
        if name in own and value.shape == own[name].shape
    }
    if not any(own[name].ndim > 1 for name in fitting):
        raise InvalidPlan(
            "None of the version's weights fits this network.",
            where={"path": "transfer.version"},
            remedy="Use the model of the version's own plan; its manifest holds it.",
        )
    network.load_state_dict(fitting, strict=False)
    return Taken(list(fitting), [name for name in own if name not in fitting])


def with_its_tokens(examples: Data, path: Path) -> Data:
    """Texts cut by the other network's tokenizer, so that its embeddings keep their meaning.

    Args:
        examples: as prepared; of other inputs than texts they are returned as they are.
        path: the other network's weights; its bundle's tokenizer lies beside them.
    """
    tokenizer = path.with_name(TOKENIZER)
    own = examples.preprocessing
    if not isinstance(own, Texts) or not tokenizer.is_file():
        return examples
    (column,) = own.inputs
    same = Texts(column.name, Tokenizer.load(tokenizer), column.shape[0])
    return replace(examples, preprocessing=same)


def freeze(network: nn.Module, renewed: list[str]) -> None:
    """Train the last layer only, and layers that hold weights which were not loaded."""
    names = {id(p): name for name, p in network.named_parameters()}
    for parameters in depth.groups(network)[:-1]:
        if not any(names[id(p)] in renewed for p in parameters):
            for parameter in parameters:
                parameter.requires_grad_(False)
