"""The transformer's encoder, normalised before each block (Xiong et al., 2020)."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class SelfAttention(nn.Module):
    """(N, steps, width), real (N, steps) -> (N, steps, width): steps look at real steps only."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.taken = nn.Linear(width, 3 * width)  # queries, keys, values
        self.given = nn.Linear(width, width)

    def forward(self, hidden: Tensor, real: Tensor) -> Tensor:
        """Shapes: (N, steps, width), (N, steps) -> (N, steps, width)."""
        query, key, value = self._parts(hidden)
        seen = _seen(real)[:, None, None, :]
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        joined: Tensor = self.given(mixed.transpose(1, 2).flatten(2))
        return joined

    def weights(self, hidden: Tensor, real: Tensor) -> Tensor:
        """(N, heads, steps, steps): how much each step takes from each; rows add up to 1."""
        query, key, _ = self._parts(hidden)
        scores: Tensor = query @ key.transpose(2, 3) / float(query.shape[3]) ** 0.5
        return scores.masked_fill(~_seen(real)[:, None, None, :], -torch.inf).softmax(dim=3)

    def _parts(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Three times (N, heads, steps, width / heads)."""
        parts = self.taken(hidden).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        return parts[0], parts[1], parts[2]


class Block(nn.Module):
    """Attention, then two linear layers, each on a normalised copy that is added back."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.before_attention = nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads)
        self.between = nn.Dropout(dropout)
        self.dense = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 4 * width),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(4 * width, width),
            nn.Dropout(dropout),
        )

    def forward(self, hidden: Tensor, real: Tensor) -> Tensor:
        """Shapes: (N, steps, width), (N, steps) -> (N, steps, width)."""
        attended = self.attention(self.before_attention(hidden), real)
        hidden = hidden + self.between(attended)
        added: Tensor = hidden + self.dense(hidden)
        return added


class Encoder(nn.Module):
    """(N, steps, width), real (N, steps) -> (N, steps, width): blocks, and a last norm."""

    def __init__(self, width: int, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, hidden: Tensor, real: Tensor) -> Tensor:
        """Shapes: (N, steps, width), (N, steps) -> (N, steps, width)."""
        for block in self.blocks:
            hidden = block(hidden, real)
        normal: Tensor = self.norm(hidden)
        return normal


def _seen(real: Tensor) -> Tensor:
    """(N, steps): `real`, and the first step of all rows, as a row of none would divide 0 by 0."""
    first = torch.arange(real.shape[1], device=real.device) == 0
    return real | first
