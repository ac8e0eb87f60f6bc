"""Sequences of unequal length: which steps are real, and what is read off them.

Every layer here gives the same result however many empty steps follow the last one.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional


def trimmed(inputs: Tensor, real: Tensor) -> Tensor:
    """(N, steps, ...) without the steps that are empty in all rows; `real` is (N, steps) boolean.

    On the CPU only, where it costs nothing to know how many those are, and not in an export.
    """
    if inputs.device.type != "cpu" or torch.compiler.is_exporting():
        return inputs
    longest = max(1, int(real.any(dim=0).sum())) if len(real) else 1
    return inputs[:, :longest]


def parted(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """(N, steps, channels + 1) to the channels, zero where no step is, and real (N, steps)."""
    inputs = trimmed(inputs, inputs[..., -1] > 0.5)
    real = inputs[..., -1] > 0.5
    return inputs[..., :-1] * real.unsqueeze(2), real


def backwards(hidden: Tensor, real: Tensor) -> Tensor:
    """(N, steps, width) with the real steps in reverse order; its own inverse."""
    steps = torch.arange(hidden.shape[1], device=hidden.device)
    places = torch.where(real, real.sum(1, keepdim=True) - 1 - steps, steps)
    return hidden.gather(1, places.unsqueeze(2).expand(-1, -1, hidden.shape[2]))


def last(hidden: Tensor, real: Tensor) -> Tensor:
    """(N, steps, width) -> (N, width): the last real step; 0 where there is none."""
    count = real.sum(1)
    place = (count - 1).clamp(min=0).view(-1, 1, 1).expand(-1, 1, hidden.shape[2])
    return hidden.gather(1, place).squeeze(1) * (count > 0).unsqueeze(1)


def mean(hidden: Tensor, real: Tensor) -> Tensor:
    """(N, steps, width) -> (N, width): the mean of the real steps; 0 where there is none."""
    total = (hidden * real.unsqueeze(2)).sum(1)
    return total / real.sum(1, keepdim=True).clamp(min=1)


class Summary(nn.Module):
    """(N, steps, width) -> (N, 2 width): the last real step and the mean of all of them."""

    def forward(self, hidden: Tensor, real: Tensor) -> Tensor:
        """Shapes: (N, steps, width), (N, steps) -> (N, 2 width)."""
        return torch.cat([last(hidden, real), mean(hidden, real)], dim=1)


class Positions(nn.Module):
    """Adds a learnt vector for each position: (N, up to `steps`, width) -> the same."""

    def __init__(self, steps: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.02 * torch.randn(steps, width))

    def forward(self, hidden: Tensor) -> Tensor:
        """Shapes: (N, up to `steps`, width) -> the same."""
        return hidden + self.weight[: hidden.shape[1]]


class CausalConvolution(nn.Conv1d):
    """(N, channels, steps) -> (N, width, steps): a step sees itself and earlier ones only."""

    def __init__(self, channels: int, width: int, kernel: int, dilation: int) -> None:
        super().__init__(channels, width, kernel, dilation=dilation)
        self.before = (kernel - 1) * dilation

    def forward(self, hidden: Tensor) -> Tensor:
        """Shapes: (N, channels, steps) -> (N, width, steps)."""
        return super().forward(functional.pad(hidden, (self.before, 0)))
