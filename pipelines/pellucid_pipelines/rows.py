"""Rows as tensors: what the loop trains on, resident on the device.

A data set that fits in memory is moved to the device once; a batch is then one gather, with no
loader processes and no transfers. `streaming` is for those that do not.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import repeat
from typing import Protocol

import torch
from torch import Tensor

from pellucid_pipelines.tensors import seed_of

_GATHERED = 32  # batches that are gathered at once


class Source(Protocol):
    """Rows to learn from, wherever their inputs are: `Rows`, or `streaming.Streamed`."""

    @property
    def targets(self) -> Tensor:
        """(N,) or (N, steps ahead)."""
        ...

    @property
    def weights(self) -> Tensor | None:
        """(N,) of mean 1."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one row's inputs."""
        ...

    @property
    def bytes(self) -> int:
        """How much memory they take."""
        ...

    def __len__(self) -> int: ...

    def to(self, device: torch.device) -> "Source":
        """The same rows for a device."""
        ...

    def steps(self, batch_size: int) -> int:
        """How many batches an epoch has."""
        ...

    def take(self, at: Tensor) -> "Rows":
        """Some of the rows, by their positions."""
        ...

    def order(self, seed: int, epoch: int) -> Tensor:
        """What decides the order of an epoch."""
        ...

    def batches(
        self, batch_size: int, *, seed: int, epoch: int, device: torch.device | None = None
    ) -> Iterator["Rows"]:
        """An epoch's batches, in an order that depends on nothing but seed and epoch."""
        ...


@dataclass(frozen=True)
class Rows:
    """Rows on the device: inputs (N, ...) as `Features` says, targets (N,) or (N, steps ahead),
    weights (N,) of mean 1, groups (N,) int64 as `mitigation.Groups` numbers them."""

    inputs: Tensor
    targets: Tensor
    weights: Tensor | None = None
    groups: Tensor | None = None

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one row's inputs."""
        return tuple(self.inputs.shape[1:])

    def to(self, device: torch.device) -> "Rows":
        """The same rows on a device."""
        return self._each(lambda part: part.to(device))

    def steps(self, batch_size: int) -> int:
        """How many batches an epoch has."""
        return -(-len(self) // batch_size)

    @property
    def bytes(self) -> int:
        """How much memory they take."""
        parts = (self.inputs, self.targets, self.weights, self.groups)
        return sum(part.nbytes for part in parts if part is not None)

    def batches(
        self, batch_size: int, *, seed: int, epoch: int, device: torch.device | None = None
    ) -> Iterator["Rows"]:
        """An epoch's batches, in an order that depends on nothing but seed and epoch.

        They are on the `device`, by default where the rows are. Sizes differ by one row at most,
        so no epoch ends in a tiny batch.
        """
        order = self.order(seed, epoch).to(self.inputs.device)
        sizes = even(len(self), batch_size)
        done = 0
        for first in range(0, len(sizes), _GATHERED):  # one gather for many batches, then views
            chunk = sizes[first : first + _GATHERED]
            rows = self.take(order[done : done + sum(chunk)])
            done += len(rows)
            if device is not None and device.type != self.inputs.device.type:
                rows = rows.sent(device)
            yield from rows.cut(chunk)

    def order(self, seed: int, epoch: int) -> Tensor:
        """(N,) the rows in the order of an epoch."""
        generator = torch.Generator().manual_seed(seed_of("order", seed, epoch))
        return torch.randperm(len(self), generator=generator)

    def take(self, at: Tensor) -> "Rows":
        """Some of the rows, by their positions."""
        return self._each(lambda part: part.index_select(0, at))

    def part(self, start: int, end: int) -> "Rows":
        """The rows from one position up to another, as views."""
        return self._each(lambda part: part[start:end])

    def joined(self, other: "Rows") -> "Rows":
        """These rows, then others of the same kind."""

        def both(mine: Tensor | None, others: Tensor | None) -> Tensor | None:
            return None if mine is None or others is None else torch.cat([mine, others])

        return Rows(
            torch.cat([self.inputs, other.inputs]),
            torch.cat([self.targets, other.targets]),
            both(self.weights, other.weights),
            both(self.groups, other.groups),
        )

    def sent(self, device: torch.device) -> "Rows":
        """The same on another device, copied while that computes."""

        def send(part: Tensor) -> Tensor:
            pinned = part.pin_memory() if device.type == "cuda" else part
            return pinned.to(device, non_blocking=True)

        return self._each(send)

    def cut(self, sizes: list[int]) -> Iterator["Rows"]:
        """Batches of these sizes, as views."""

        def parts(whole: Tensor | None) -> Iterable[Tensor | None]:
            return repeat(None) if whole is None else torch.split(whole, sizes)

        inputs, targets = torch.split(self.inputs, sizes), torch.split(self.targets, sizes)
        yield from map(Rows, inputs, targets, parts(self.weights), parts(self.groups))

    def _each(self, change: Callable[[Tensor], Tensor]) -> "Rows":
        weights = None if self.weights is None else change(self.weights)
        groups = None if self.groups is None else change(self.groups)
        return Rows(change(self.inputs), change(self.targets), weights, groups)


def even(count: int, batch_size: int) -> list[int]:
    """Sizes of batches that differ by one row at most, none over `batch_size`."""
    steps = -(-count // batch_size)
    each, longer = divmod(count, steps)
    return [each + 1] * longer + [each] * (steps - longer)
