"""How weights start: a row for each name in `plan.Initialization`.

`default` leaves what the architecture chose. The others set the matrices of linear,
convolutional and recurrent layers and the projections of attention, and their biases to 0.
Embeddings and norms stay as they are.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import init

from pellucid import plan
from pellucid.errors import InvalidPlan

_ROWS = 512  # of the sample, for LSUV
_TRIES = 10
_CLOSE = 0.02  # to a variance of 1
_DENSE = (nn.Linear, nn.modules.conv._ConvNd)

BUILDERS: dict[plan.Initialization, Callable[[Tensor], object] | None] = {
    "default": None,
    "xavier_uniform": init.xavier_uniform_,  # Glorot and Bengio, 2010
    "xavier_normal": init.xavier_normal_,
    "he_uniform": partial(init.kaiming_uniform_, nonlinearity="relu"),  # He et al., 2015
    "he_normal": partial(init.kaiming_normal_, nonlinearity="relu"),
    "orthogonal": init.orthogonal_,  # Saxe et al., 2014
    "lsuv": init.orthogonal_,  # and then scaled: Mishkin and Matas, 2016
}


def initialize(network: nn.Module, name: plan.Initialization, sample: Tensor | None) -> None:
    """Set a network's weights, with torch's global random numbers.

    Args:
        network: (N, ...) -> (N, outputs).
        name: of the plan.
        sample: (n, ...) of training rows, for `lsuv`.

    Raises:
        InvalidPlan: the network has no layer that the name applies to.
    """
    draw = BUILDERS[name]
    if draw is None:
        return
    found = False
    for matrix in _matrices(network):
        draw(matrix)
        found = True
    if not found:
        raise InvalidPlan(
            f"This network has no weights that {name} applies to.",
            where={"path": "initialization"},
            remedy="Use `initialization: default`.",
        )
    if name == "lsuv":
        assert sample is not None, "features of a run have a sample"
        unit_variance(network, sample[:_ROWS])


def _matrices(network: nn.Module) -> Iterator[Tensor]:
    """The weights to draw, each with the fans of one layer or gate; zeroes their biases."""
    for module in network.modules():
        if isinstance(module, _DENSE):
            yield module.weight.detach()
            _zero(module.bias)
        elif isinstance(module, nn.RNNBase):
            for name, parameter in module.named_parameters():
                if name.startswith("weight"):
                    yield from torch.split(parameter.detach(), module.hidden_size)  # gate by gate
                else:
                    _zero(parameter)
        elif isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None:
            yield from module.in_proj_weight.detach().chunk(3)  # queries, keys, values
            _zero(module.in_proj_bias)


def _zero(bias: Tensor | None) -> None:
    if bias is not None:
        init.zeros_(bias)


@torch.no_grad()
def unit_variance(network: nn.Module, rows: Tensor) -> None:
    """Scale each layer, first to last, until its outputs on the rows (n, ...) have variance 1."""
    for layer in _variances(network, rows):
        for _ in range(_TRIES):
            variance = _variances(network, rows)[layer]
            if not 0 < variance < math.inf or abs(variance - 1) < _CLOSE:
                break
            assert isinstance(layer.weight, Tensor)
            layer.weight.div_(math.sqrt(variance))


def _variances(network: nn.Module, rows: Tensor) -> dict[nn.Module, float]:
    """Dense layers, in the order in which they are used -> variance of what they put out."""
    found: dict[nn.Module, float] = {}

    def note(layer: nn.Module, _inputs: object, outputs: Tensor) -> None:
        found.setdefault(layer, float(outputs.var()))

    hooks = [m.register_forward_hook(note) for m in network.modules() if isinstance(m, _DENSE)]
    was_training = network.training
    network.eval()(rows)
    network.train(was_training)
    for hook in hooks:
        hook.remove()
    return found
