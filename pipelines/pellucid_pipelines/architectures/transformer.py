"""The transformer's encoder over steps or over tokens."""

from torch import Tensor, nn

from pellucid import plan
from pellucid.errors import InvalidPlan
from pellucid_pipelines.features import Features
from pellucid_pipelines.layers.attention import Encoder
from pellucid_pipelines.layers.steps import Positions, mean, parted, trimmed
from pellucid_pipelines.tensors import Link


class _Reader(nn.Module):
    """(N, steps, width), real (N, steps) -> (N, outputs): positions, encoder, mean, linear."""

    def __init__(self, spec: plan.Transformer, steps: int, outputs: int) -> None:
        super().__init__()
        if spec.width % spec.heads:
            raise InvalidPlan(
                f"{spec.heads} heads cannot share a width of {spec.width}.",
                where={"path": "model.heads"},
                remedy="Choose a width that is a multiple of the heads.",
            )
        self.positions = Positions(steps, spec.width)
        self.dropout = nn.Dropout(spec.dropout)
        self.encoder = Encoder(spec.width, spec.layers, spec.heads, spec.dropout)
        self.head = nn.Linear(spec.width, outputs)

    def forward(self, hidden: Tensor, real: Tensor) -> Tensor:
        hidden = self.encoder(self.dropout(self.positions(hidden)), real)
        raw: Tensor = self.head(mean(hidden, real))
        return raw


class SequenceTransformer(nn.Module):
    """(N, steps, channels + 1) -> (N, outputs)."""

    def __init__(self, spec: plan.Transformer, features: Features, outputs: int) -> None:
        super().__init__()
        steps, channels = features.shape
        self.entry = nn.Linear(channels - 1, spec.width)
        self.reader = _Reader(spec, steps, outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Shapes: (N, steps, channels + 1) -> (N, outputs)."""
        values, real = parted(inputs)
        raw: Tensor = self.reader(self.entry(values), real)
        return raw


class TextTransformer(nn.Module):
    """(N, tokens) int64 -> (N, outputs).

    Before the encoder a convolution adds to each token what its two neighbours say (as the
    convolutional tokenizer of Hassani et al., 2021, does for images): from a few thousand texts,
    attention alone hardly learns what stands beside what.
    """

    def __init__(self, spec: plan.Transformer, features: Features, outputs: int) -> None:
        super().__init__()
        (tokens,) = features.shape
        self.tokens = nn.Embedding(features.vocabulary, spec.width, padding_idx=0)
        nn.init.normal_(self.tokens.weight, std=spec.width**-0.5)
        nn.init.zeros_(self.tokens.weight[:2])  # what training never shows means nothing
        self.neighbours = nn.Conv1d(spec.width, spec.width, 3, padding=1)
        self.reader = _Reader(spec, tokens, outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Shapes: (N, tokens) -> (N, outputs)."""
        inputs = trimmed(inputs, inputs != 0)
        return self.from_embedding(self.embed(inputs), inputs)

    def embed(self, inputs: Tensor) -> Tensor:
        """Shapes: (N, tokens) -> (N, tokens, width)."""
        embedded: Tensor = self.tokens(inputs)
        return embedded

    def from_embedding(self, embedded: Tensor, inputs: Tensor) -> Tensor:
        """Shapes: (N, tokens, width), (N, tokens) -> (N, outputs)."""
        real = inputs != 0
        nearby = self.neighbours((embedded * real.unsqueeze(-1)).transpose(1, 2)).transpose(1, 2)
        raw: Tensor = self.reader(embedded + nearby.relu(), real)
        return raw


def transformer(spec: plan.Transformer, features: Features, outputs: int, _link: Link) -> nn.Module:
    """The transformer over what the features are: steps or tokens."""
    kind = TextTransformer if features.modality == "text" else SequenceTransformer
    return kind(spec, features, outputs)
