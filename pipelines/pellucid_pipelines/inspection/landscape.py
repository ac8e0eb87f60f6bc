"""The loss around a trained network, along random directions (Li et al., NeurIPS 2018)."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pellucid_pipelines import losses
from pellucid_pipelines.rows import Rows
from pellucid_pipelines.tensors import seed_of

Progress = Callable[[int, int], None]


def direction(network: nn.Module, seed: int) -> list[Tensor]:
    """A random direction in weight space, each filter as long as the network's own.

    A filter is what makes one unit: a row of a matrix. Vectors (biases, norms) stay where they are.
    """
    generator = torch.Generator().manual_seed(seed)
    found = []
    for parameter in network.parameters():
        if parameter.ndim < 2:
            found.append(torch.zeros_like(parameter))
            continue
        random = torch.randn(parameter.shape, generator=generator).to(parameter)
        own, theirs = parameter.detach().flatten(1).norm(dim=1), random.flatten(1).norm(dim=1)
        scale = own / theirs.clamp(min=1e-12)
        found.append(random * scale.view(-1, *[1] * (parameter.ndim - 1)))
    return found


@torch.no_grad()
def surface(
    network: nn.Module,
    loss: losses.Loss,
    rows: Rows,
    seed: int,
    *,
    reach: float = 1.0,
    points: int = 21,
    progress: Progress = lambda _done, _all: None,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The loss on a plane through the network's weights, which are left as they were.

    Args:
        network: in evaluation mode.
        loss: of raw outputs and targets.
        rows: where it is taken.
        seed: of the two directions.
        reach: how far to go, in lengths of the weights.
        points: on each axis, an odd number, so that the network itself is one.
        progress: told how many points are done.

    Returns:
        The steps (points,), and the losses (points, points); [i, j] is step i along the first and j
        along the second direction.
    """
    parameters = [p.data for p in network.parameters()]
    before = [p.clone() for p in parameters]
    first, second = (direction(network, seed_of(f"direction {i}", seed)) for i in range(2))
    steps = np.linspace(-reach, reach, points)
    found = np.empty((points, points))
    try:
        for i, a in enumerate(steps):
            for j, b in enumerate(steps):
                for parameter, start, d, e in zip(parameters, before, first, second, strict=True):
                    parameter.copy_(start + a * d + b * e)
                raw = network(rows.inputs)
                found[i, j] = float(losses.mean(loss(raw, rows.targets), rows.weights))
            progress((i + 1) * points, points**2)
    finally:
        for parameter, start in zip(parameters, before, strict=True):
            parameter.copy_(start)
    return steps, found
