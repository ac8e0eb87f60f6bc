"""fastText's classifier."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from pellucid import plan
from pellucid.raw.texts import UNKNOWN
from pellucid_pipelines.features import Features
from pellucid_pipelines.layers.steps import trimmed
from pellucid_pipelines.tensors import Link

_FIRST, _SECOND = 1_000_003, 8_191  # primes; token numbers times them stay far below 2^63


class BagOfWords(nn.Module):
    """(N, tokens) int64 -> (N, outputs): the mean embedding of tokens and pairs, then linear.

    A pair of neighbours has the embedding of the bucket that it is hashed into.
    """

    def __init__(self, spec: plan.BagOfWords, features: Features, outputs: int, link: Link) -> None:
        super().__init__()
        self.buckets = spec.buckets
        self.tokens = _embedding(features.vocabulary, spec.width, padding=0)
        with torch.no_grad():
            self.tokens.weight[UNKNOWN] = 0.0  # training never shows it
        self.pairs = None
        if spec.buckets:  # the last one stands for no pair
            self.pairs = _embedding(spec.buckets + 1, spec.width, padding=spec.buckets)
        self.head = nn.Sequential(nn.Dropout(spec.dropout), nn.Linear(spec.width, outputs))

    def forward(self, inputs: Tensor) -> Tensor:
        """Shapes: (N, tokens) -> (N, outputs)."""
        inputs = trimmed(inputs, inputs != 0)
        return self.from_embedding(self.embed(inputs), inputs)

    def embed(self, inputs: Tensor) -> Tensor:
        """Shapes: (N, tokens) -> (N, tokens, width): a token, and the pair that it ends."""
        embedded: Tensor = self.tokens(inputs)
        if self.pairs is not None:
            embedded = embedded + self.pairs(self._hashed(inputs))
        return embedded * (inputs != 0).unsqueeze(2)

    def from_embedding(self, embedded: Tensor, inputs: Tensor) -> Tensor:
        """Shapes: (N, tokens, width), (N, tokens) -> (N, outputs)."""
        count = (inputs != 0).sum(1, keepdim=True)
        if self.pairs is not None:
            count = 2 * count - 1
        raw: Tensor = self.head(embedded.sum(1) / count.clamp(min=1))
        return raw

    def _hashed(self, inputs: Tensor) -> Tensor:
        """(N, tokens) -> (N, tokens): the bucket of each token and the one before it."""
        before = functional.pad(inputs, (1, 0))[:, :-1]
        hashed = (before * _FIRST + inputs * _SECOND) % self.buckets
        return torch.where((before != 0) & (inputs != 0), hashed, self.buckets)


def _embedding(count: int, width: int, padding: int) -> nn.Embedding:
    """Small at first, so that what is rare says little; 0 for padding, always."""
    embedding = nn.Embedding(count, width, padding_idx=padding)
    nn.init.normal_(embedding.weight, std=0.1 * width**-0.5)
    with torch.no_grad():
        embedding.weight[padding] = 0.0
    return embedding
