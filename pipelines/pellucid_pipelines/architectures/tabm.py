"""TabM: an ensemble of perceptrons that share their weights (Gorishniy et al., ICLR 2025)."""

import torch
from torch import Tensor, nn

from pellucid import plan
from pellucid_pipelines.features import Features
from pellucid_pipelines.layers.activations import activation
from pellucid_pipelines.layers.ensembles import OwnLinear, SharedLinear, mean_prediction
from pellucid_pipelines.layers.numbers import PiecewiseLinear
from pellucid_pipelines.tensors import Link


class TabM(nn.Module):
    """(N, width) -> (N, members, outputs) in training, (N, outputs) in evaluation mode.

    Numbers are embedded (see `PiecewiseLinear`), the rest of the dense vector enters as it is.
    Members see the same rows and differ in how they weigh the raw columns: the first layer's r
    starts at a normal number per column and member, or at random signs without embeddings.
    """

    numeric: Tensor  # positions that are embedded
    others: Tensor

    def __init__(self, spec: plan.TabM, features: Features, outputs: int, link: Link) -> None:
        super().__init__()
        (width,) = features.shape
        self.link = link
        embedded = spec.bins and features.sample is not None
        numeric = list(features.numeric) if embedded else []
        others = sorted(set(range(width)) - set(numeric))
        self.register_buffer("numeric", torch.tensor(numeric, dtype=torch.int64))
        self.register_buffer("others", torch.tensor(others, dtype=torch.int64))
        self.embedding: nn.Module | None = None
        if numeric and features.sample is not None:
            sample = features.sample.index_select(1, self.numeric)
            self.embedding = PiecewiseLinear(sample, spec.bins, spec.embedding)
        entry = [position for position in numeric for _ in range(spec.embedding)] + others
        scale: Tensor | None = _first_scale(entry, features, spec.members, normal=bool(numeric))
        layers: list[nn.Module] = []
        before = len(entry)
        for _ in range(spec.depth):
            layers.append(SharedLinear(before, spec.width, spec.members, scale))
            layers.append(activation(spec.activation))
            if spec.dropout:
                layers.append(nn.Dropout(spec.dropout))
            before, scale = spec.width, None
        layers.append(OwnLinear(before, outputs, spec.members))
        self.layers = nn.Sequential(*layers)

    def forward(self, inputs: Tensor) -> Tensor:
        """Shapes: (N, width) -> (N, members, outputs), or (N, outputs) in evaluation mode."""
        if self.embedding is not None:
            embedded = self.embedding(inputs.index_select(1, self.numeric)).flatten(1)
            inputs = torch.cat([embedded, inputs.index_select(1, self.others)], dim=1)
        raw: Tensor = self.layers(inputs.unsqueeze(1))
        return raw if self.training else mean_prediction(raw, self.link)


def _first_scale(entry: list[int], features: Features, members: int, *, normal: bool) -> Tensor:
    """(members, len(entry)): what r starts from, one number for all that is of one raw column."""
    owner = torch.zeros(features.shape[0], dtype=torch.int64)
    for i, block in enumerate(features.blocks.values()):
        owner[block] = i
    drawn = torch.randn(members, len(features.blocks))
    return (drawn if normal else drawn.sign()).index_select(1, owner[torch.tensor(entry)])
