"""Rows that are encoded while the network trains, from a table that need not fit in memory.

An epoch reads the table's blocks in a random order, a window of many blocks at a time, and shuffles
the rows within each window. So reading stays near-sequential, and the batches depend on nothing but
the seed, the epoch and the data. A thread prepares the next window while the network learns from
this one; at most three windows exist at any time.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pellucid_pipelines.rows import Rows, even
from pellucid_pipelines.tensors import seed_of

_BLOCKS = 256  # of a window
_BYTES = 2**27  # of a window's inputs, in memory
_T = TypeVar("_T")


@dataclass(frozen=True)
class Streamed:
    """Rows with the interface of `rows.Rows`; targets and weights alone are in memory.

    Attributes:
        read: row numbers of the table, ascending -> inputs (n, *shape), on the CPU.
        places: (N,) row numbers of the table, ascending.
        block: as many rows of the table lie together.
        targets: (N,) or (N, steps ahead), on the CPU.
        weights: (N,) of mean 1, on the CPU, or None.
        groups: (N,), on the CPU, or None.
        device: where batches go.
    """

    read: Callable[[npt.NDArray[np.int64]], Tensor]
    places: npt.NDArray[np.int64]
    block: int
    targets: Tensor
    weights: Tensor | None = None
    groups: Tensor | None = None
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def __len__(self) -> int:
        return len(self.places)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one row's inputs."""
        return tuple(self._first.shape[1:])

    @property
    def bytes(self) -> int:
        """How much memory they take before they are read."""
        parts = (self.targets, self.weights, self.groups)
        return sum(part.nbytes for part in parts if part is not None)

    def to(self, device: torch.device) -> "Streamed":
        """The same rows, whose batches go to a device."""
        return replace(self, device=device)

    def steps(self, batch_size: int) -> int:
        """How many batches an epoch has."""
        return -(-len(self) // batch_size)

    def take(self, at: Tensor) -> Rows:
        """Some of the rows, by their positions among these, on the CPU."""
        ascending, order = at.sort()
        inputs = self.read(self.places[ascending.numpy()])
        if not torch.equal(ascending, at):
            inputs = inputs[torch.argsort(order)]
        return self._with(inputs, at)

    def order(self, seed: int, epoch: int) -> Tensor:
        """The blocks in the order of an epoch."""
        generator = torch.Generator().manual_seed(seed_of("order", seed, epoch))
        return torch.randperm(len(self._bounds) - 1, generator=generator)

    def batches(
        self, batch_size: int, *, seed: int, epoch: int, device: torch.device | None = None
    ) -> Iterator[Rows]:
        """An epoch's batches, in an order that depends on nothing but seed and epoch.

        Sizes differ by one row at most, as those of `Rows`.
        """
        place = device or self.device
        chunks = self._whole(even(len(self), batch_size), self._windows(seed, epoch))
        for rows, sizes in ahead(chunks):
            sent = rows if place.type == "cpu" else rows.sent(place)
            yield from sent.cut(sizes)

    def _windows(self, seed: int, epoch: int) -> Iterator[Rows]:
        generator = torch.Generator().manual_seed(seed_of("windows", seed, epoch))
        for blocks in torch.split(self.order(seed, epoch), self._window):
            each = [np.arange(*self._bounds[b : b + 2]) for b in sorted(blocks.tolist())]
            at = torch.from_numpy(np.concatenate(each))
            shuffle = torch.randperm(len(at), generator=generator)
            inputs = self._first.new_empty(len(at), *self.shape)
            for rows, to in zip(each, torch.split(shuffle, [len(r) for r in each]), strict=True):
                inputs[to] = self.read(self.places[rows])
            at[shuffle] = at.clone()
            yield self._with(inputs, at)

    def _with(self, inputs: Tensor, at: Tensor) -> Rows:
        weights = None if self.weights is None else self.weights[at]
        groups = None if self.groups is None else self.groups[at]
        return Rows(inputs, self.targets[at], weights, groups)

    def _whole(self, sizes: list[int], windows: Iterable[Rows]) -> Iterator[tuple[Rows, list[int]]]:
        """Whole batches, as many as each window completes, and their sizes."""
        rest, begun = None, 0
        for window in windows:
            rows = window if rest is None else rest.joined(window)
            ends = np.cumsum(sizes[begun:])
            count = int(np.searchsorted(ends, len(rows), side="right"))
            done = int(ends[count - 1]) if count else 0
            if count:
                yield rows.part(0, done), sizes[begun : begun + count]
            rest, begun = rows.part(done, len(rows)), begun + count

    @cached_property
    def _bounds(self) -> npt.NDArray[np.int64]:
        """(blocks + 1,) where each block's rows begin among these, and the end of the last one."""
        changes = np.flatnonzero(np.diff(self.places // self.block)) + 1
        return np.concatenate([[0], changes, [len(self)]]).astype(np.int64)

    @cached_property
    def _first(self) -> Tensor:
        return self.read(self.places[:1])

    @property
    def _window(self) -> int:
        """How many blocks a window has."""
        each = max(1, self._first.nbytes * len(self) // (len(self._bounds) - 1))
        return max(1, min(_BLOCKS, _BYTES // each))


def ahead(items: Iterator[_T]) -> Iterator[_T]:
    """The same items, each made by another thread while the one before it is in use."""
    with ThreadPoolExecutor(1, "rows") as thread:
        coming = thread.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = thread.submit(next, items, None)
            yield item
