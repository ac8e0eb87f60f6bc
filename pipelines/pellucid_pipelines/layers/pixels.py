"""What every network of images begins with."""

import torch
from torch import Tensor, nn

from pellucid_pipelines.features import Features


class Normalise(nn.Module):
    """(N, ..., channels, height, width) pixels -> the same shape, float, standardised.

    Mean and deviation of each channel are those of the sample of training rows. Takes pixels as
    uint8 or as floating-point numbers, so that one can take gradients with respect to them.
    """

    mean: Tensor  # (channels, 1, 1)
    scale: Tensor  # (channels, 1, 1): one over the deviation

    def __init__(self, features: Features) -> None:
        super().__init__()
        channels = features.shape[-3]
        mean, deviation = torch.full((channels,), 127.5), torch.full((channels,), 63.75)
        if features.sample is not None:
            by_channel = features.sample.movedim(-3, 0).flatten(1).double()
            mean, deviation = by_channel.mean(dim=1), by_channel.std(dim=1, correction=0)
        self.register_buffer("mean", mean.float().view(-1, 1, 1))
        self.register_buffer("scale", 1 / deviation.clamp(min=1.0).float().view(-1, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """Shapes: (N, ..., channels, height, width) -> the same."""
        return (pixels.to(self.mean.dtype) - self.mean) * self.scale
