"""Rows on their way to a network: a few arrays per request, joined into a few per batch.

A table of 30 columns is 30 tensors to the graph. Held as one matrix from decoding to the run, and
cut into columns only there, a request of one row costs a few small arrays instead of 30.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from pellucid.bundle import Datatype, Input
from pellucid_api.engine.values import Values

_SMALL = 2**12  # bytes of an array that is joined with others as bytes

_NO_NUMBERS = np.empty((0, 0))
_NO_STRINGS = np.empty((0, 0), dtype=object)


@dataclass(slots=True)
class Feed:
    """Some rows of a model's inputs, as its `Layout` holds them."""

    rows: int
    numbers: Values  # (columns, rows) float64
    strings: Values  # (columns, rows) object
    tensors: tuple[Values, ...]  # each (rows, *shape)

    def cut(self, start: int, stop: int) -> Self:
        """Rows from `start` to before `stop`, as views."""
        return type(self)(
            stop - start,
            self.numbers[:, start:stop],
            self.strings[:, start:stop],
            tuple(tensor[start:stop] for tensor in self.tensors),
        )

    def take(self, rows: Sequence[int] | Values) -> Self:
        """The rows of these numbers, from 0 and in this order, as copies."""
        return type(self)(
            len(rows),
            _taken(self.numbers, rows),
            _taken(self.strings, rows),
            tuple(tensor[rows] for tensor in self.tensors),
        )

    @property
    def key(self) -> tuple[tuple[int, ...], ...]:
        """What feeds must have in common to be joined: the tensors' shapes after the rows."""
        tensors = self.tensors
        if len(tensors) == 1:  # as most have
            return (tensors[0].shape[1:],)
        return tuple([tensor.shape[1:] for tensor in tensors])


class Layout:
    """Which of a model's inputs are numbers, which strings, and which arrays of another kind."""

    def __init__(self, inputs: Sequence[Input]) -> None:
        scalars = [each for each in inputs if each.scalar]
        self.numbers = tuple(i.name for i in scalars if i.datatype is Datatype.FP64)
        self.strings = tuple(i.name for i in scalars if i.datatype is Datatype.BYTES)
        self.tensors = tuple(i.name for i in inputs if not i.scalar)
        self.ragged = any(-1 in each.shape for each in inputs)  # feeds of several keys
        self._only_tensors = not scalars
        self.row_bytes = 8 * len(self.numbers) + 64 * len(self.strings)  # about; without tensors

    def pack(self, arrays: Mapping[str, Values]) -> Feed:
        """One array (rows, *shape) per input -> a feed."""
        rows = len(next(iter(arrays.values())))
        if self._only_tensors:
            return of_tensors(rows, tuple(arrays[name] for name in self.tensors))
        numbers = np.empty((len(self.numbers), rows))
        for i, name in enumerate(self.numbers):
            numbers[i] = arrays[name]
        strings = np.empty((len(self.strings), rows), dtype=object)
        for i, name in enumerate(self.strings):
            strings[i] = arrays[name]
        return Feed(rows, numbers, strings, tuple(arrays[name] for name in self.tensors))

    def unpack(self, feed: Feed) -> dict[str, Values]:
        """A feed -> one array (rows, *shape) per input, each contiguous."""
        if self._only_tensors:
            return dict(zip(self.tensors, feed.tensors, strict=True))
        arrays = dict(zip(self.numbers, np.ascontiguousarray(feed.numbers), strict=True))
        arrays.update(zip(self.strings, np.ascontiguousarray(feed.strings), strict=True))
        arrays.update(zip(self.tensors, feed.tensors, strict=True))
        return arrays


def of_tensors(rows: int, tensors: tuple[Values, ...]) -> Feed:
    """The feed of a model without scalar inputs."""
    return Feed(rows, _NO_NUMBERS, _NO_STRINGS, tensors)


def join(feeds: Sequence[Feed]) -> Feed:
    """Feeds of one `key`, one after the other."""
    if len(feeds) == 1:
        return feeds[0]
    counts = [feed.rows for feed in feeds]
    tensors = tuple(concatenated(each) for each in zip(*[f.tensors for f in feeds], strict=True))
    if feeds[0].numbers is _NO_NUMBERS:
        return of_tensors(sum(counts), tensors)
    return Feed(
        sum(counts),
        _beside([feed.numbers for feed in feeds], counts),
        _beside([feed.strings for feed in feeds], counts),
        tensors,
    )


def concatenated(arrays: Sequence[Values]) -> Values:
    """Arrays (rows, *shape) of one type and shape to one of all rows, which may be read-only.

    As `np.concatenate`, at a quarter of its time for many that are small.
    """
    first = arrays[0]
    if len(arrays) == 1:
        return first
    if first.dtype.kind in "OV" or first.nbytes > _SMALL:  # no buffer of bytes; no gain
        return np.concatenate(arrays)
    try:
        content = b"".join(arrays)  # type: ignore[arg-type]  # arrays are buffers; most of them
    except (BufferError, TypeError, ValueError):  # one is a view with gaps
        return np.concatenate(arrays)
    return np.frombuffer(content, first.dtype).reshape(-1, *first.shape[1:])


def _taken(matrix: Values, rows: Sequence[int] | Values) -> Values:
    """Some rows of a matrix (columns, rows), which may have no columns."""
    return matrix[:, rows] if len(matrix) else matrix


def _beside(matrices: Sequence[Values], counts: Sequence[int]) -> Values:
    """Matrices (columns, rows) to one of all rows; most models have none of one kind."""
    if not len(matrices[0]):
        return np.empty((0, sum(counts)), matrices[0].dtype)
    if min(counts) == max(counts) == 1:  # one row each, which can stand one below the other
        return concatenated(matrices).reshape(len(counts), -1).T
    return np.concatenate(matrices, axis=1)
