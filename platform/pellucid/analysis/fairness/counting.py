"""Rows counted by group, truth, prediction and score: all that the metrics need.

A table of G groups holds 6 x bins numbers a group, however many rows it stands for. Tables over the
same groups add up, so that a month is the sum of its hours and ten million rows need no memory.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pellucid.analysis.calibration import BINS

Floats = NDArray[np.float64]
NO, YES, UNKNOWN = range(3)  # truths
_CHUNK = 2**16  # rows, whose arrays stay in the processor's cache


@dataclass(frozen=True, eq=False)
class Table:
    """Counts of a yes-or-no outcome; `YES` is the outcome that is looked at.

    Attributes:
        counts: (G, 3, 2, bins) rows by group, truth (`NO`, `YES`, `UNKNOWN`), whether YES was
            predicted, and bin of the score.
        scores: the same shape; sums of the scores, all 0 where there are none.
        squares: the same shape; sums of the squared scores.
    """

    counts: NDArray[np.int64]
    scores: Floats
    squares: Floats

    def __add__(self, other: Self) -> Self:
        return type(self)(
            self.counts + other.counts, self.scores + other.scores, self.squares + other.squares
        )

    def __len__(self) -> int:
        """Number of groups."""
        return len(self.counts)

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """(G,) rows of each group."""
        return np.asarray(self.counts.sum(axis=(1, 2, 3)))

    @cached_property
    def cells(self) -> NDArray[np.int64]:
        """(G, 3, 2) rows by group, truth and prediction."""
        return np.asarray(self.counts.sum(axis=3))

    @property
    def labelled(self) -> bool:
        """Whether the truth of any row is known."""
        return bool(self.cells[:, :UNKNOWN].any())

    @property
    def scored(self) -> bool:
        """Whether there are scores."""
        return bool(self.squares.any())

    def taken(self, groups: NDArray[np.int64]) -> Self:
        """The table of some groups, by their numbers."""
        return type(self)(self.counts[groups], self.scores[groups], self.squares[groups])

    def merged(self, groups: NDArray[np.int64], size: int) -> Self:
        """The table of coarser groups: group g becomes groups[g], below `size`."""

        def merge(part: NDArray[Any]) -> NDArray[Any]:
            found = np.zeros((size, *part.shape[1:]), part.dtype)
            np.add.at(found, groups, part)
            return found

        return type(self)(merge(self.counts), merge(self.scores), merge(self.squares))


def empty(groups: int, bins: int = BINS) -> Table:
    """The table of no rows."""
    shape = (groups, 3, 2, bins)
    return Table(np.zeros(shape, np.int64), np.zeros(shape), np.zeros(shape))


def count(
    codes: NDArray[np.integer[Any]],
    groups: int,
    predicted: NDArray[Any],
    truth: NDArray[Any] | None = None,
    score: NDArray[Any] | None = None,
    *,
    bins: int = BINS,
) -> Table:
    """Count rows, in chunks: the memory beside the arguments is a few megabytes.

    Args:
        codes: (N,) group of each row, from 0 to below `groups`.
        groups: G.
        predicted: (N,) whether the prediction is YES: booleans or 0 and 1.
        truth: (N,) `NO`, `YES` or `UNKNOWN`, or booleans; None: unknown of all rows.
        score: (N,) probability of YES, in [0, 1]; None: there is none.
        bins: of equal width, in which calibration compares scores and truths.

    Raises:
        ValueError: a code, a truth or a score is out of range, or lengths differ.
    """
    lengths = {len(each) for each in (codes, predicted, truth, score) if each is not None}
    if len(lengths) > 1:
        raise ValueError(f"arrays of different lengths: {sorted(lengths)}")
    size = groups * 6 * bins
    counts, sums, squares = np.zeros(size, np.int64), np.zeros(size), np.zeros(size)
    for start in range(0, len(codes), _CHUNK):
        part = slice(start, start + _CHUNK)
        group, true = codes[part], None if truth is None else truth[part]
        _check(group, groups, true)
        cell = group.astype(np.int64)
        cell *= 3
        cell += UNKNOWN if true is None else true.astype(np.int8)
        cell *= 2
        cell += predicted[part].astype(np.bool_)
        cell *= bins
        if score is not None:
            scores = score[part].astype(np.float64)
            if not (scores.min() >= 0 and scores.max() <= 1):  # NaN is neither
                raise ValueError("scores are probabilities, from 0 to 1")
            cell += np.minimum((scores * bins).astype(np.int64), bins - 1)
            sums += np.bincount(cell, scores, size)
            scores *= scores
            squares += np.bincount(cell, scores, size)
        counts += np.bincount(cell, minlength=size)
    shape = (groups, 3, 2, bins)
    return Table(counts.reshape(shape), sums.reshape(shape), squares.reshape(shape))


def _check(group: NDArray[Any], groups: int, true: NDArray[Any] | None) -> None:
    if group.min() < 0 or group.max() >= groups:
        raise ValueError(f"codes are from 0 to {groups - 1}")
    if true is not None and (true.min() < NO or true.max() > UNKNOWN):
        raise ValueError("truths are NO, YES or UNKNOWN")
