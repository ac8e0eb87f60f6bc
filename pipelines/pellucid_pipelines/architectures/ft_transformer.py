"""The feature tokenizer + transformer (Gorishniy et al., NeurIPS 2021)."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from pellucid import plan
from pellucid.errors import InvalidPlan
from pellucid_pipelines.features import Features
from pellucid_pipelines.layers.blockwise import ColumnTokens
from pellucid_pipelines.layers.ensembles import uniform
from pellucid_pipelines.tensors import Link


class FtTransformer(nn.Module):
    """(N, width) -> (N, outputs): attention among one token per raw column and [CLS].

    Normalised before each block; the answer is read from [CLS].

    Raises:
        InvalidPlan: the width is no multiple of the heads.
    """

    def __init__(
        self, spec: plan.FtTransformer, features: Features, outputs: int, _link: Link
    ) -> None:
        super().__init__()
        if spec.width % spec.heads:
            raise InvalidPlan(
                f"A width of {spec.width} cannot be shared out among {spec.heads} heads.",
                where={"path": "model.heads"},
                remedy="Make model.width a multiple of model.heads.",
            )
        (width,) = features.shape
        self.tokens = ColumnTokens(features.blocks.values(), width, spec.width)
        self.start = uniform(spec.width, fan_in=spec.width)  # [CLS]
        self.blocks = nn.Sequential(*(_Block(spec) for _ in range(spec.depth)))
        self.head = nn.Sequential(
            nn.LayerNorm(spec.width), nn.ReLU(), nn.Linear(spec.width, outputs)
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Shapes: (N, width) -> (N, outputs)."""
        tokens = self.tokens(inputs)
        start = self.start.expand(tokens.shape[0], 1, -1)
        read = self.blocks(torch.cat([start, tokens], dim=1))[:, 0]
        raw: Tensor = self.head(read)
        return raw


class _Block(nn.Module):
    """(N, tokens, width) -> (N, tokens, width)."""

    def __init__(self, spec: plan.FtTransformer) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.LayerNorm(spec.width), _Attention(spec))
        self.mixing = nn.Sequential(nn.LayerNorm(spec.width), _Mixing(spec))

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attention(tokens)
        mixed: Tensor = tokens + self.mixing(tokens)
        return mixed


class _Attention(nn.Module):
    """(N, tokens, width) -> (N, tokens, width): self-attention in several heads."""

    def __init__(self, spec: plan.FtTransformer) -> None:
        super().__init__()
        self.heads, self.dropout = spec.heads, spec.dropout
        self.asks = nn.Linear(spec.width, 3 * spec.width)  # queries, keys, values
        self.out = nn.Linear(spec.width, spec.width)

    def forward(self, tokens: Tensor) -> Tensor:
        count, length, width = tokens.shape
        three = self.asks(tokens).view(count, length, 3, self.heads, width // self.heads)
        query, key, value = three.permute(2, 0, 3, 1, 4).unbind(0)  # (N, heads, tokens, size)
        dropout = self.dropout if self.training else 0.0
        heads = functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        mixed: Tensor = self.out(heads.transpose(1, 2).reshape(count, length, width))
        return mixed


class _Mixing(nn.Module):
    """(N, tokens, width) -> (N, tokens, width): a gated hidden layer, ReGLU (Shazeer, 2020)."""

    def __init__(self, spec: plan.FtTransformer) -> None:
        super().__init__()
        hidden = max(1, spec.width * 4 // 3)
        self.first = nn.Linear(spec.width, 2 * hidden)
        self.activation = nn.ReLU()
        self.dropout = nn.Dropout(spec.dropout)
        self.second = nn.Linear(hidden, spec.width)

    def forward(self, tokens: Tensor) -> Tensor:
        value, gate = self.first(tokens).chunk(2, dim=-1)
        mixed: Tensor = self.second(self.dropout(value * self.activation(gate)))
        return mixed
