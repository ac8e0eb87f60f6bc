"""A network as layers from its input to its output, for what treats them differently."""

from collections.abc import Iterator

from torch import nn

Parameters = list[nn.Parameter]


def layers(network: nn.Module) -> list[nn.Module]:
    """The network's layers in the order of their definition; each has a matrix of its own.

    Sequences, and what is wrapped by a single module, are opened; blocks stay whole. A module
    without a matrix (a norm) is no layer: it belongs to the one before it.
    """
    return [layer for layer in _opened(network) if any(p.ndim > 1 for p in layer.parameters())]


def _opened(module: nn.Module) -> Iterator[nn.Module]:
    children = [child for child in module.children() if any(True for _ in child.parameters())]
    sequence = isinstance(module, nn.Sequential | nn.ModuleList)
    own = any(True for _ in module.parameters(recurse=False))
    for child in children:
        inner = isinstance(child, nn.Sequential | nn.ModuleList)
        yield from _opened(child) if inner or (len(children) == 1 and not own) else (child,)
    if not children and not sequence:
        yield module


def groups(network: nn.Module) -> list[Parameters]:
    """All parameters, a list for each of `layers`; those of the network itself with the first."""
    order = layers(network)
    starts = {id(p): i for i, layer in enumerate(order) for p in layer.parameters()}
    found: list[Parameters] = [[] for _ in order] or [[]]
    current = 0
    for parameter in network.parameters():
        current = starts.get(id(parameter), current)
        found[current].append(parameter)
    return found


def shares(network: nn.Module, layer_decay: float) -> list[tuple[Parameters, float]]:
    """Parameters that are trained, with their share of the learning rate: 1 for the last layer."""
    found = groups(network)
    trained = [[p for p in parameters if p.requires_grad] for parameters in found]
    if layer_decay == 1:
        return [([p for parameters in trained for p in parameters], 1.0)]
    last = len(found) - 1
    return [(parameters, layer_decay ** (last - i)) for i, parameters in enumerate(trained)]
