"""One token for each raw column."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from pellucid_pipelines.layers.ensembles import batched, uniform


class ColumnTokens(nn.Module):
    """(N, width) -> (N, columns, size): each raw column's block through a linear map of its own.

    Args:
        blocks: the slice of the dense vector of each column.
        size: length of a token.
    """

    places: Tensor  # (columns x longest,): positions in the dense vector; `width` is a zero

    def __init__(self, blocks: Iterable[slice], width: int, size: int) -> None:
        super().__init__()
        positions = [list(range(width))[block] for block in blocks]
        self.columns, self.longest = len(positions), max(map(len, positions))
        padded = [each + [width] * (self.longest - len(each)) for each in positions]
        self.register_buffer("places", torch.tensor(padded, dtype=torch.int64).flatten())
        self.weight = uniform(self.columns, self.longest, size, fan_in=size)
        self.bias = nn.Parameter(uniform(self.columns * size, fan_in=size).detach())

    def forward(self, dense: Tensor) -> Tensor:
        """Shapes: (N, width) -> (N, columns, size)."""
        padded = functional.pad(dense, (0, 1)).index_select(1, self.places)
        blocks = padded.view(-1, self.columns, self.longest)
        tokens = batched(blocks, self.weight)
        return tokens + self.bias.view(self.columns, -1)
