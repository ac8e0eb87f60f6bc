"""Piecewise linear embeddings of numbers (Gorishniy et al., NeurIPS 2022)."""

import torch
from torch import Tensor, nn

from pellucid_pipelines.layers.ensembles import batched, uniform

_NARROWEST = 1e-5  # a narrower bin would blow up what 32 bits round away


class PiecewiseLinear(nn.Module):
    """(N, columns) -> (N, columns, size): each number to a vector, by a polyline of its own.

    A bin's value is how much of it lies below x: 0 under it, 1 above it, linear inside. The
    embedding is a line in x plus a linear map of the bins' values. That map starts at zero, so
    training starts from the line.

    Args:
        sample: (n, columns) training values; their quantiles are the edges of the bins.
        bins: at most, of each column.
        size: length of an embedding.
    """

    left: Tensor  # (columns, bins)
    scale: Tensor  # (columns, bins), 1 / width; 0 where a column has fewer bins

    def __init__(self, sample: Tensor, bins: int, size: int) -> None:
        super().__init__()
        columns = sample.shape[1]
        edges = [_edges(column, bins) for column in sample.unbind(dim=1)]
        most = max(1, *(len(each) - 1 for each in edges))
        self.register_buffer("left", torch.zeros(columns, most))
        self.register_buffer("scale", torch.zeros(columns, most))
        for i, each in enumerate(edges):
            self.left[i, : len(each) - 1] = each[:-1]
            self.scale[i, : len(each) - 1] = 1 / each.diff()
        self.slope = uniform(columns, size, fan_in=size)
        self.weight = nn.Parameter(torch.zeros(columns, most, size))
        self.bias = nn.Parameter(uniform(columns * size, fan_in=size).detach())

    def forward(self, numbers: Tensor) -> Tensor:
        """Shapes: (N, columns) -> (N, columns, size)."""
        x = numbers.unsqueeze(2)
        shares = ((x - self.left) * self.scale).clamp(0.0, 1.0)  # (N, columns, bins)
        bent = batched(shares, self.weight)
        return x * self.slope + self.bias.view_as(self.slope) + bent


def _edges(values: Tensor, bins: int) -> Tensor:
    """(bins + 1,) at most: distinct quantiles of (n,) values, not nearer than `_NARROWEST`."""
    shares = torch.linspace(0, 1, bins + 1, dtype=torch.float64)
    quantiles = torch.quantile(values.double(), shares).float()
    kept = [quantiles[0]]
    for edge in quantiles[1:]:
        if edge - kept[-1] > _NARROWEST:
            kept.append(edge)
    return torch.stack(kept)
