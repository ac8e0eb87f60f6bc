"""Where a network's rows are mixed with background rows, player by player.

Players are what values are given to: the columns of a table, the cells of a grid over an image, the
steps of a sequence, the tokens of a text. Texts are mixed as embeddings, and what says how long a
row is stays the row's own, as on the paths that expected gradients take.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pellucid.analysis.calibration import Floats, Integers
from pellucid.analysis.games import Array, Worth, masked
from pellucid_pipelines.features import Features
from pellucid_pipelines.loop import predict

_CELLS = (4, 7, 7)  # frames, height, width
_LEAST = 1e5  # operations of a row, however small the network
_MIXED = 200.0


class Game(NamedTuple):
    """A row: the worth of sets of its players, and which of all players these are."""

    worth: Worth
    players: Integers


class Mixing:
    """Rows of a network that is explained, and what stands in for what is hidden.

    Args:
        network: frozen, in evaluation mode, on the CPU: (N, *features.shape) -> (N, outputs).
        features: what it takes.
        background: (B, *features.shape).
        weights: (B,), adding up to 1.
    """

    def __init__(
        self, network: nn.Module, features: Features, background: Tensor, weights: Tensor
    ) -> None:
        self.network, self.features = network, features
        self.background = _points(network, features, background)
        self.weights = weights.double().numpy()
        self.players = players_of(features)
        if features.modality == "text":
            width = self.background.shape[-1]
            self.players = np.repeat(self.players[:, np.newaxis], width, axis=1)

    def game(self, row: Tensor, output: int) -> Game:
        """Of one row (*features.shape); steps and tokens that it has not are no players."""
        own = np.flatnonzero(self._real(row))
        number = np.full(self.players.max() + 2, -1)
        number[own] = np.arange(len(own))
        given = row.unsqueeze(0)

        def outputs(mixed: Array) -> Floats:
            raw = self._outputs(torch.from_numpy(mixed), given)
            return np.asarray(raw[:, output].double().numpy())

        point = _points(self.network, self.features, given)[0]
        worth = masked(outputs, point, self.background, self.weights, number[self.players])
        return Game(worth, own)

    def _outputs(self, points: Tensor, given: Tensor) -> Tensor:
        """(M, outputs) raw of points that are as long as `given` (1, ...)."""
        if self.features.modality != "text":
            return predict(self.network, points)
        raw: Tensor = self.network.from_embedding(  # type: ignore[operator]
            points, given.expand(len(points), -1)
        )
        return raw

    def _real(self, row: Tensor) -> Array:
        """(players,) which of them the row has; all, where it has none."""
        if self.features.modality == "text":
            real = (row != 0).numpy()
        elif self.features.modality == "sequence":
            real = (row[:, -1] > 0.5).numpy()
        else:
            return np.ones(self.players.max() + 1, np.bool_)
        return np.asarray(real if real.any() else ~real)


def players_of(features: Features) -> Integers:
    """(*shape) the player that each number of a row belongs to; -1 for what is never hidden."""
    shape = features.shape
    if features.modality == "text":
        return np.arange(shape[0])
    if features.modality == "sequence":
        steps = np.repeat(np.arange(shape[0])[:, np.newaxis], shape[1], axis=1)
        steps[:, -1] = -1
        return steps
    if features.modality == "tabular":
        sizes = [block.stop - block.start for block in features.blocks.values()]
        return np.repeat(np.arange(len(sizes)), sizes)
    *frames, channels, height, width = shape
    cells = _grid((*frames, height, width))
    return np.repeat(np.expand_dims(cells, -3), channels, axis=-3)


def _grid(sides: tuple[int, ...]) -> Integers:
    """(*sides) the cell of each pixel."""
    most = [min(side, cells) for side, cells in zip(sides, _CELLS[-len(sides) :], strict=True)]
    along = [np.arange(side) * cells // side for side, cells in zip(sides, most, strict=True)]
    return np.asarray(np.ravel_multi_index(np.meshgrid(*along, indexing="ij"), most))


def operations(network: nn.Module, features: Features, rows: Tensor) -> float:
    """What the network costs for one row that is mixed: floating-point operations, on any machine.

    Recurrent layers are not counted by torch: each weight is then used once a step. To mix a
    number takes as long as `_MIXED` operations.
    """
    with FlopCounterMode(display=False) as counter:
        network(rows[:1])
    counted = float(counter.get_total_flops())
    if features.modality == "sequence":
        size = sum(each.numel() for each in network.parameters())
        counted = max(counted, 2.0 * size * rows.shape[1])
    return max(counted, _LEAST) + _MIXED * _points(network, features, rows[:1]).size


def _points(network: nn.Module, features: Features, rows: Tensor) -> Array:
    """What is mixed: the rows themselves, or the embeddings of their tokens."""
    if features.modality == "text":
        rows = network.embed(rows)  # type: ignore[operator]
    return np.asarray(rows.numpy())
