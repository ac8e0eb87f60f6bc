"""The convolutional network."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from pellucid import plan
from pellucid_pipelines.features import Features
from pellucid_pipelines.layers.convolutions import (
    Convolution,
    ResidualBlock,
    Strides,
    channels_last,
)
from pellucid_pipelines.layers.pixels import Normalise
from pellucid_pipelines.tensors import Link

_LARGE = 64  # pixels: sides that are halved by the first convolution
_LEAST = 4  # pixels: shorter sides are not halved between stages


class Cnn(nn.Module):
    """(N, channels, height, width) uint8 -> (N, outputs): stages, global mean, linear.

    A plain stage is `blocks` convolutions. A residual network is one convolution, then stages of
    `blocks` residual blocks. Each stage but the first halves height and width by a stride of 2 at
    its start. Frames, where there are some, are taken as channels.
    """

    def __init__(self, spec: plan.Cnn, features: Features, outputs: int, link: Link) -> None:
        super().__init__()
        self.normalise = Normalise(features)
        self.stages = nn.Sequential(*_stages(spec, features.shape))
        self.dropout = nn.Dropout(spec.dropout)
        self.head = nn.Linear(spec.widths[-1], outputs)  # (N, width) -> (N, outputs)
        channels_last(self.stages)

    def forward(self, inputs: Tensor) -> Tensor:
        """Shapes: (N, [frames,] channels, height, width) -> (N, outputs)."""
        pixels = self.normalise(inputs).flatten(1, -3)
        maps = self.stages(pixels.contiguous(memory_format=torch.channels_last))
        raw: Tensor = self.head(self.dropout(maps.mean(dim=(2, 3))))
        return raw


def _stages(spec: plan.Cnn, shape: tuple[int, ...]) -> Iterator[nn.Module]:
    *planes, height, width = shape
    before = torch.Size(planes).numel()
    for stage, channels in enumerate(spec.widths):
        least = _LEAST if stage else _LARGE
        stride = (2 if height >= least else 1, 2 if width >= least else 1)
        height, width = -(-height // stride[0]), -(-width // stride[1])
        if spec.residual and not stage:
            yield _convolution(spec, before, channels, stride)
            before, stride = channels, (1, 1)
        for _ in range(spec.blocks):
            build = _block if spec.residual else _convolution
            yield build(spec, before, channels, stride)
            before, stride = channels, (1, 1)


def _convolution(spec: plan.Cnn, before: int, width: int, stride: Strides) -> nn.Module:
    return Convolution(
        before,
        width,
        kernel=spec.kernel,
        stride=stride,
        norm=spec.norm,
        function=spec.activation,
    )


def _block(spec: plan.Cnn, before: int, width: int, stride: Strides) -> nn.Module:
    return ResidualBlock(
        before,
        width,
        kernel=spec.kernel,
        stride=stride,
        norm=spec.norm,
        function=spec.activation,
    )
