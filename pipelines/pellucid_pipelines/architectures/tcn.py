"""The temporal convolutional network."""

from torch import Tensor, nn

from pellucid import plan
from pellucid_pipelines.features import Features
from pellucid_pipelines.layers.steps import CausalConvolution, Summary, parted
from pellucid_pipelines.tensors import Link


class _ChannelNorm(nn.LayerNorm):
    """(N, width, steps) -> the same: each step's channels to mean 0 and variance 1."""

    def forward(self, hidden: Tensor) -> Tensor:
        return super().forward(hidden.transpose(1, 2)).transpose(1, 2)


class _Block(nn.Module):
    """(N, channels, steps) -> (N, width, steps): two causal convolutions, added to the input.

    Norms are over a step's channels, not over a batch: empty steps take no part in them.
    """

    def __init__(self, channels: int, width: int, kernel: int, dilation: int, drop: float) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for size in (channels, width):
            layers += [
                CausalConvolution(size, width, kernel, dilation),
                _ChannelNorm(width),
                nn.ReLU(),
                nn.Dropout(drop),
            ]
        self.layers = nn.Sequential(*layers)
        self.skip = nn.Identity() if channels == width else nn.Conv1d(channels, width, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        added: Tensor = self.skip(hidden) + self.layers(hidden)
        return added


class Tcn(nn.Module):
    """(N, steps, channels + 1) -> (N, outputs): blocks whose dilation doubles, then a linear layer.

    It reads the last step and the mean of all steps.
    """

    def __init__(self, spec: plan.Tcn, features: Features, outputs: int, link: Link) -> None:
        super().__init__()
        sizes = [features.shape[1] - 1] + [spec.width] * spec.layers
        self.blocks = nn.Sequential(
            *(
                _Block(sizes[i], spec.width, spec.kernel, 2**i, spec.dropout)
                for i in range(spec.layers)
            )
        )
        self.summary = Summary()
        self.head = nn.Sequential(nn.Dropout(spec.dropout), nn.Linear(2 * spec.width, outputs))

    def forward(self, inputs: Tensor) -> Tensor:
        """Shapes: (N, steps, channels + 1) -> (N, outputs)."""
        values, real = parted(inputs)
        hidden: Tensor = self.blocks(values.transpose(1, 2)).transpose(1, 2)
        raw: Tensor = self.head(self.summary(hidden, real))
        return raw
