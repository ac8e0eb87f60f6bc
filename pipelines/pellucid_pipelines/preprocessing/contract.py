"""What every preprocessing does, so that training, export and explanation need not ask which."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import pyarrow as pa
import torch
from torch import Tensor, nn

from pellucid import plan
from pellucid.bundle import Input
from pellucid.raw.texts import Tokenizer
from pellucid.schema import Column
from pellucid_pipelines.features import Features


@dataclass(frozen=True)
class Feed:
    """One tensor that the exported core takes.

    `stacked`: the columns (N, *shape) lie side by side on a new last axis; otherwise there is one
    column, taken as it is.
    """

    name: str
    columns: tuple[str, ...]
    stacked: bool = True


class Preprocessing(nn.Module):
    """Raw columns to (N, *features.shape); all that was learnt is in buffers.

    Attributes:
        inputs: the raw columns, in order.
        features: what networks get.
        feeds: what `dense` takes, in order.
        tokenizer: of texts; the bundle carries it.
    """

    inputs: tuple[Input, ...]
    features: Features
    feeds: tuple[Feed, ...]
    tokenizer: Tokenizer | None = None

    @classmethod
    def fit(cls, table: pa.Table, columns: Sequence[Column], spec: plan.Preprocessing) -> Self:
        """Learn from the training rows."""
        raise NotImplementedError

    def encode(self, table: pa.Table) -> dict[str, Tensor]:
        """Raw column -> (N, *shape) as the exported core takes it.

        Of an input that has a shape, this is what `pellucid.raw.columns.read` gives.
        """
        raise NotImplementedError

    def dense(self, *matrices: Tensor | None) -> Tensor:
        """The feeds, in order, to (N, *features.shape)."""
        raise NotImplementedError

    def stack(self, columns: Mapping[str, Tensor]) -> tuple[Tensor | None, ...]:
        """Encoded columns to the tensors that `dense` takes; None for a feed of no columns."""

        def one(feed: Feed) -> Tensor | None:
            parts = [columns[name] for name in feed.columns]
            if not parts:
                return None
            return torch.stack(parts, dim=-1) if feed.stacked else parts[0]

        return tuple(one(feed) for feed in self.feeds)

    def forward(self, columns: Mapping[str, Tensor]) -> Tensor:
        """Encoded columns to (N, *features.shape); finite for any input."""
        return self.dense(*self.stack(columns))
