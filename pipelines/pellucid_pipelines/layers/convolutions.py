"""Convolutions with their norm and activation."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from pellucid import plan
from pellucid_pipelines.layers.activations import activation
from pellucid_pipelines.layers.norms import GroupNorm

Strides = tuple[int, int]


_NORMS: dict[plan.Norm, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "layer": lambda width: GroupNorm(1, width),  # over channels and places
    "group": GroupNorm.of,
}


class Convolution(nn.Sequential):
    """(N, before, H, W) -> (N, width, H / stride, W / stride), rounded up.

    Starts so that variances neither grow nor shrink from layer to layer (He et al., 2015).

    Args:
        before: channels of the input.
        width: channels of the output.
        kernel: side of the window, odd.
        stride: of height and width.
        norm: after the convolution, which then has no bias of its own.
        function: the activation at the end, if any.
    """

    def __init__(
        self,
        before: int,
        width: int,
        *,
        kernel: int = 3,
        stride: Strides = (1, 1),
        norm: plan.Norm = "batch",
        function: plan.Activation | None = "relu",
    ) -> None:
        layer = nn.Conv2d(before, width, kernel, stride, kernel // 2, bias=norm == "none")
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        parts: list[nn.Module] = [layer]
        if norm != "none":
            parts.append(_NORMS[norm](width))
        if function is not None:
            parts.append(activation(function))
        super().__init__(*parts)


class ResidualBlock(nn.Module):
    """(N, before, H, W) -> (N, width, H / stride, W / stride): two convolutions, and a shortcut.

    The basic block of He et al. (2016). Its last norm starts at zero, so that the block starts as
    its shortcut (Goyal et al., 2017).
    """

    def __init__(
        self,
        before: int,
        width: int,
        *,
        kernel: int,
        stride: Strides,
        norm: plan.Norm,
        function: plan.Activation,
    ) -> None:
        super().__init__()
        first = Convolution(
            before, width, kernel=kernel, stride=stride, norm=norm, function=function
        )
        second = Convolution(width, width, kernel=kernel, norm=norm, function=None)
        if norm != "none":
            nn.init.zeros_(second[1].get_parameter("weight"))
        self.branch = nn.Sequential(first, second)
        self.shortcut: nn.Module = nn.Identity()
        if before != width or max(stride) > 1:
            self.shortcut = Convolution(
                before, width, kernel=1, stride=stride, norm=norm, function=None
            )
        self.end = activation(function)

    def forward(self, inputs: Tensor) -> Tensor:
        """Shapes: (N, before, H, W) -> (N, width, H / stride, W / stride)."""
        outputs: Tensor = self.end(self.branch(inputs) + self.shortcut(inputs))
        return outputs


def channels_last(network: nn.Module) -> None:
    """Keep the channels of a place side by side: a quarter faster, on a CPU too."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
