"""Rows as tensors: what the loop trains on, resident on the device.

A data set that fits in memory is moved to the device once; a batch is then one gather, with no
loader processes and no transfers. `streaming` is for those that do not.
"""

from collections.abc import Iterator
from dataclasses import dataclass
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
    weights (N,) of mean 1."""

    inputs: Tensor
    targets: Tensor
    weights: Tensor | None = None

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one row's inputs."""
        return tuple(self.inputs.shape[1:])

    def to(self, device: torch.device) -> "Rows":
        """The same rows on a device."""
        weights = None if self.weights is None else self.weights.to(device)
        return Rows(self.inputs.to(device), self.targets.to(device), weights)

    def steps(self, batch_size: int) -> int:
        """How many batches an epoch has."""
        return -(-len(self) // batch_size)

    @property
    def bytes(self) -> int:
        """How much memory they take."""
        parts = (self.inputs, self.targets, self.weights)
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
        weights = None if self.weights is None else self.weights.index_select(0, at)
        return Rows(self.inputs.index_select(0, at), self.targets.index_select(0, at), weights)

    def part(self, start: int, end: int) -> "Rows":
        """The rows from one position up to another, as views."""
        weights = None if self.weights is None else self.weights[start:end]
        return Rows(self.inputs[start:end], self.targets[start:end], weights)

    def joined(self, other: "Rows") -> "Rows":
        """These rows, then others of the same kind."""
        weights = None
        if self.weights is not None and other.weights is not None:
            weights = torch.cat([self.weights, other.weights])
        inputs = torch.cat([self.inputs, other.inputs])
        return Rows(inputs, torch.cat([self.targets, other.targets]), weights)

    def sent(self, device: torch.device) -> "Rows":
        """The same on another device, copied while that computes."""

        def send(part: Tensor) -> Tensor:
            pinned = part.pin_memory() if device.type == "cuda" else part
            return pinned.to(device, non_blocking=True)

        weights = None if self.weights is None else send(self.weights)
        return Rows(send(self.inputs), send(self.targets), weights)

    def cut(self, sizes: list[int]) -> Iterator["Rows"]:
        """Batches of these sizes, as views."""
        weights = [None] * len(sizes) if self.weights is None else torch.split(self.weights, sizes)
        yield from map(
            Rows, torch.split(self.inputs, sizes), torch.split(self.targets, sizes), weights
        )


def even(count: int, batch_size: int) -> list[int]:
    """Sizes of batches that differ by one row at most, none over `batch_size`."""
    steps = -(-count // batch_size)
    each, longer = divmod(count, steps)
    return [each + 1] * longer + [each] * (steps - longer)
