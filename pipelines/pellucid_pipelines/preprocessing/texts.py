"""A text column to tokens, by a tokenizer that is trained on the training rows only."""

from collections.abc import Sequence
from typing import Self

import pyarrow as pa
import torch
from torch import Tensor

from pellucid import plan
from pellucid.bundle import Input
from pellucid.errors import InvalidData, InvalidPlan
from pellucid.raw.texts import UNKNOWN, Tokenizer
from pellucid.schema import Column, Kind
from pellucid_pipelines.features import Features
from pellucid_pipelines.preprocessing.contract import Feed, Preprocessing


class Texts(Preprocessing):
    """One column of strings to (N, tokens) int64, 0 after the last one; missing ones are empty.

    Attributes:
        tokenizer: what `encode` uses, and serving too: the bundle carries it.
    """

    tokenizer: Tokenizer

    def __init__(self, name: str, tokenizer: Tokenizer, length: int) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.inputs = (Input.of(name, Kind.TEXT, shape=(length,)),)
        self.features = Features("text", (length,), vocabulary=tokenizer.vocabulary)
        self.feeds = (Feed("tokens", (name,), stacked=False),)

    @classmethod
    def fit(cls, table: pa.Table, columns: Sequence[Column], spec: plan.Preprocessing) -> Self:
        """Train the tokenizer; texts are as long as the longest one, or as the plan allows.

        Raises:
            InvalidPlan: there is more than one column.
            InvalidData: no training row has a text.
        """
        if len(columns) != 1:
            raise InvalidPlan(
                f"A text model reads one column, not {len(columns)}.",
                where={"path": "data.roles"},
                remedy="Give the others the role ignore.",
            )
        name = columns[0].name
        texts = table[name].to_pylist()
        tokenizer = Tokenizer.train(texts, spec.text)
        length = int(tokenizer.lengths(texts, spec.text.length).max(initial=0))
        if tokenizer.vocabulary <= UNKNOWN + 1 or not length:
            raise InvalidData("No training row has a text.", where={"column": name})
        return cls(name, tokenizer, length)

    def encode(self, table: pa.Table) -> dict[str, Tensor]:
        """Raw column -> (N, tokens) int64."""
        (each,) = self.inputs
        texts = table[each.name].to_pylist()
        return {each.name: torch.from_numpy(self.tokenizer.encode(texts, *each.shape))}

    def dense(self, *matrices: Tensor | None) -> Tensor:
        """(N, tokens) int64, as it is."""
        (tokens,) = matrices
        assert tokens is not None, "there is a text"
        return tokens
