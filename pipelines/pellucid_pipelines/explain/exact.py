"""Exact Shapley values (Shapley, 1953) of the interventional game, over all sets of raw columns.

A set of columns is worth the mean output over background rows of which those columns are replaced
by the explained row's (Janzing et al., AISTATS 2020). Column i's value is the sum over all sets S
of c(i, S) worth(S), where for M columns c is (|S| - 1)! (M - |S|)! / M! if S has the column, and
-|S|! (M - |S| - 1)! / M! if it has not.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pellucid.errors import TooLarge
from pellucid_pipelines.explain.rowwise import Rowwise
from pellucid_pipelines.features import Features

COLUMNS = 12  # at most: 4,096 sets
_MIXED = 1024  # rows of the network at once

Floats = NDArray[np.float64]


class ExactShapley(nn.Module):
    """Values of every output for rows of a table with few raw columns.

    A row takes 2^columns x B rows of the network. One row after the other is explained, and some
    sets of columns after others, so that at most max(B, 1,024) of them are in memory at any time.
    It takes no gradients; what `torch.onnx` exports of it needs `rowwise.TRANSLATIONS`.

    Args:
        network: frozen, in evaluation mode: (N, width) -> (N, outputs).
        features: what it takes; its blocks are the raw columns.
        background: (B, width).
        weights: (B,), adding up to 1.

    Raises:
        TooLarge: more than 12 columns.
    """

    base: Tensor

    def __init__(
        self, network: nn.Module, features: Features, background: Tensor, weights: Tensor
    ) -> None:
        super().__init__()
        self.network = network
        with torch.no_grad():
            worths = _Worths(network, features, background, weights)
            self.parts = len(worths.shown)
            self.register_buffer("base", worths.base.clone())
            some = background[0], torch.zeros((), dtype=torch.int64)
            self.worths = Rowwise(worths, some, "sets")

    def forward(
        self, inputs: Tensor, chosen: Tensor | None = None, shares: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Raw (N, outputs), values (N, width, outputs), base (outputs,); all outputs are explained.

        A column's value lies at the first position of its block; the others are 0.

        Args:
            inputs: (N, width).
            chosen: is None.
            shares: none are needed.
        """
        raw = self.network(inputs)
        (rows, outputs), (_, width) = raw.shape, inputs.shape
        every = inputs.unsqueeze(1).expand(rows, self.parts, width).flatten(0, 1)
        parts = torch.arange(self.parts).expand(rows, self.parts).flatten()
        values = self.worths(every, parts).view(rows, self.parts, outputs, width).sum(dim=1)
        return raw, values.transpose(1, 2), self.base


class _Worths(nn.Module):
    """(width,) of a row, () which part of the sets -> (outputs, width), what these sets add."""

    shown: Tensor  # (parts, sets, width)
    shares: Tensor  # (parts, sets, width)
    background: Tensor
    weights: Tensor
    base: Tensor

    def __init__(
        self, network: nn.Module, features: Features, background: Tensor, weights: Tensor
    ) -> None:
        super().__init__()
        self.network = network
        raw = network(background)
        sets, shares = _game(len(features.blocks))
        shown = torch.zeros(len(sets), features.shape[0], dtype=torch.bool)
        spread = torch.zeros(len(sets), features.shape[0], dtype=raw.dtype)
        for i, block in enumerate(features.blocks.values()):
            shown[:, block] = torch.from_numpy(sets[:, i, np.newaxis])
            spread[:, block.start] = torch.from_numpy(shares[:, i])
        size = _at_once(len(sets), len(background))
        self.register_buffer("shown", shown.view(-1, size, *shown.shape[1:]))
        self.register_buffer("shares", spread.view(-1, size, *spread.shape[1:]))
        self.register_buffer("background", background)
        self.register_buffer("weights", weights.to(raw.dtype).unsqueeze(1))
        self.register_buffer("base", (self.weights * raw).sum(dim=0))

    def forward(self, row: Tensor, part: Tensor) -> Tensor:
        """Shapes: (width,), () -> (outputs, width)."""
        shown, shares = (
            each.index_select(0, part.view(1))[0] for each in (self.shown, self.shares)
        )
        mixed = torch.where(shown.unsqueeze(1), row, self.background)
        raw: Tensor = self.network(mixed.flatten(0, 1)).view(*mixed.shape[:2], -1)
        worth = (raw * self.weights).sum(dim=1) - self.base
        return worth.t() @ shares


def exact_values(
    predict: Callable[[NDArray[Any]], NDArray[Any]],
    rows: NDArray[Any],
    background: NDArray[Any],
    weights: NDArray[Any],
) -> tuple[Floats, Floats]:
    """Exact values of any model's outputs, and its base value: an oracle.

    Args:
        predict: (R, columns) -> (R,) or (R, outputs).
        rows: (N, columns), of any type.
        background: (B, columns).
        weights: (B,), adding up to 1.

    Returns:
        Values (N, columns) or (N, columns, outputs); base () or (outputs,).

    Raises:
        TooLarge: more than 12 columns.
    """
    sets, shares = _game(rows.shape[1])
    base = np.tensordot(weights, np.asarray(predict(background), dtype=np.float64), 1)
    values = np.zeros((*rows.shape, *base.shape))
    size = _at_once(len(sets), len(background))
    for row, value in zip(rows, values, strict=True):
        for start in range(0, len(sets), size):
            some = slice(start, start + size)
            mixed = np.where(sets[some, np.newaxis], row, background)
            raw = np.asarray(predict(mixed.reshape(-1, len(row))), dtype=np.float64)
            worth = np.tensordot(raw.reshape(*mixed.shape[:2], *base.shape), weights, (1, 0))
            value += np.tensordot(shares[some], worth - base, (0, 0))
    return values, base


def _game(columns: int) -> tuple[NDArray[np.bool_], Floats]:
    """(2^columns, columns): which columns each set has, and what its worth counts for each."""
    if columns > COLUMNS:
        raise TooLarge(
            f"Exact Shapley values of {columns} columns take {2**columns:,} sets of columns; "
            f"at most {COLUMNS} columns are explained so.",
            where={"path": "explanation.method"},
            remedy="Set explanation.method to auto, or leave columns out.",
        )
    sets = (np.arange(2**columns)[:, np.newaxis] >> np.arange(columns) & 1).astype(np.bool_)
    chances = [1 / (columns * math.comb(columns - 1, size)) for size in range(columns)]
    size = sets.sum(axis=1, keepdims=True)
    have, lack = [0.0, *chances], [*chances, 0.0]
    return sets, np.where(sets, np.take(have, size), -np.take(lack, size))


def _at_once(sets: int, beside: int) -> int:
    """How many sets of columns are run together: a power of two, as their number is."""
    return min(sets, 1 << max(0, (_MIXED // beside).bit_length() - 1))
