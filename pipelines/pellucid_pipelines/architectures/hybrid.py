"""Convolutions over each frame or patch, then a network over their sequence."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from pellucid import plan
from pellucid_pipelines.features import Features
from pellucid_pipelines.layers.attention import Encoder
from pellucid_pipelines.layers.convolutions import Convolution, channels_last
from pellucid_pipelines.layers.pixels import Normalise
from pellucid_pipelines.layers.recurrent import Recurrent
from pellucid_pipelines.layers.steps import Positions, mean
from pellucid_pipelines.tensors import Link

_ROWS = 7  # pixels: height of a patch where the plan does not say
_SIDE = 8  # pixels: longer sides of a patch are halved until they are this short
_HEADS, _LAYERS = 4, 2


class Hybrid(nn.Module):
    """(N, [frames,] channels, height, width) uint8 -> (N, outputs).

    Each frame is cut into patches, or is one patch; row by row and frame after frame they are the
    steps of a sequence. The same convolutions turn each into a vector, which keeps what lies where.
    """

    def __init__(self, spec: plan.Hybrid, features: Features, outputs: int, link: Link) -> None:
        super().__init__()
        *frames, channels, height, width = features.shape
        whole = (height, width) if frames else (min(_ROWS, height), width)
        patch = spec.patch or whole
        self.patch = (min(patch[0], height), min(patch[1], width))
        self.padding = (-width % self.patch[1], -height % self.patch[0])
        self.grid = (-(-height // self.patch[0]), -(-width // self.patch[1]))
        self.steps = (frames[0] if frames else 1) * self.grid[0] * self.grid[1]
        self.width = spec.width
        self.normalise = Normalise(features)
        self.look = _Look(channels, self.patch, spec)
        self.reader: nn.Module
        if spec.over == "transformer":
            self.reader, read = _Transformer(spec, self.steps), spec.width
        else:
            recurrent = Recurrent(spec.over, spec.width, spec.width // 2 or 1)
            self.reader, read = recurrent, 2 * recurrent.wide
        self.head = nn.Sequential(nn.Dropout(spec.dropout), nn.Linear(read, outputs))

    def forward(self, inputs: Tensor) -> Tensor:
        """Shapes: (N, [frames,] channels, height, width) -> (N, outputs)."""
        pixels = self.normalise(inputs)
        patches = self.patches(pixels.unsqueeze(1) if pixels.ndim == 4 else pixels)
        steps = self.look(patches).view(inputs.shape[0], self.steps, self.width)
        real = torch.ones(steps.shape[:2], dtype=torch.bool, device=steps.device)
        raw: Tensor = self.head(self.reader(steps, real))
        return raw

    def patches(self, frames: Tensor) -> Tensor:
        """(N, frames, channels, H, W) -> (N x steps, channels, height, width) of a patch."""
        padded = functional.pad(frames, (0, self.padding[0], 0, self.padding[1]))
        (down, across), (height, width) = self.grid, self.patch
        cut = padded.view(*padded.shape[:3], down, height, across, width)
        return cut.permute(0, 1, 3, 5, 2, 4, 6).flatten(0, 3)


class _Look(nn.Module):
    """(N, channels, height, width) of a patch -> (N, width): convolutions, then all places."""

    def __init__(self, channels: int, patch: tuple[int, int], spec: plan.Hybrid) -> None:
        super().__init__()
        (height, width), wide = patch, 2 * spec.channels
        layers: list[nn.Module] = [Convolution(channels, spec.channels)]
        before = spec.channels
        while before < wide or max(height, width) > _SIDE:
            stride = (2 if height > _SIDE // 2 else 1, 2 if width > _SIDE // 2 else 1)
            height, width = -(-height // stride[0]), -(-width // stride[1])
            layers.append(Convolution(before, wide, stride=stride))
            before = wide
        self.layers = nn.Sequential(*layers)
        channels_last(self.layers)
        self.end = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(spec.dropout),
            nn.Linear(before * height * width, spec.width),
            nn.LayerNorm(spec.width),
            nn.ReLU(),
        )

    def forward(self, patches: Tensor) -> Tensor:
        """Shapes: (N, channels, height, width) -> (N, width)."""
        maps = self.layers(patches.contiguous(memory_format=torch.channels_last))
        vectors: Tensor = self.end(maps)
        return vectors


class _Transformer(nn.Module):
    """(N, steps, width) -> (N, width): positions, encoder, mean."""

    def __init__(self, spec: plan.Hybrid, steps: int) -> None:
        super().__init__()
        heads = next(n for n in range(_HEADS, 0, -1) if spec.width % n == 0)
        self.positions = Positions(steps, spec.width)
        self.encoder = Encoder(spec.width, _LAYERS, heads, spec.dropout)

    def forward(self, steps: Tensor, real: Tensor) -> Tensor:
        """Shapes: (N, steps, width), (N, steps) -> (N, width)."""
        return mean(self.encoder(self.positions(steps), real), real)
