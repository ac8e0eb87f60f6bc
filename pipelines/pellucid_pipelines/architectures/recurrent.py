"""Recurrent networks: Elman's, LSTM and GRU."""

from torch import Tensor, nn

from pellucid import plan
from pellucid_pipelines.features import Features
from pellucid_pipelines.layers.recurrent import Recurrent
from pellucid_pipelines.layers.steps import parted
from pellucid_pipelines.tensors import Link


class RecurrentNetwork(nn.Module):
    """(N, steps, channels + 1) -> (N, outputs): recurrent layers, then a linear one.

    It reads the last states, of both directions, and the mean of all of them.
    """

    def __init__(
        self, spec: plan.Rnn | plan.Lstm | plan.Gru, features: Features, outputs: int, link: Link
    ) -> None:
        super().__init__()
        channels = features.shape[1] - 1
        self.recurrent = Recurrent(
            spec.kind,
            channels,
            spec.width,
            spec.layers,
            bidirectional=spec.bidirectional,
            dropout=spec.dropout,
        )
        self.head = nn.Sequential(
            nn.Dropout(spec.dropout), nn.Linear(2 * self.recurrent.wide, outputs)
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Shapes: (N, steps, channels + 1) -> (N, outputs)."""
        raw: Tensor = self.head(self.recurrent(*parted(inputs)))
        return raw
