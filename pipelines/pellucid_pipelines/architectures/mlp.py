"""The multilayer perceptron."""

from collections.abc import Callable

from torch import Tensor, nn

from pellucid import plan
from pellucid_pipelines.features import Features
from pellucid_pipelines.layers.activations import activation
from pellucid_pipelines.tensors import Link

_NORMS: dict[str, Callable[[int], nn.Module]] = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}


class Mlp(nn.Module):
    """(N, width) -> (N, outputs): for each hidden width linear, norm, activation, dropout.

    Every activation is a module of its own, since DeepSHAP attributes module by module.
    """

    def __init__(self, spec: plan.Mlp, features: Features, outputs: int, link: Link) -> None:
        super().__init__()
        (width,) = features.shape
        layers: list[nn.Module] = []
        for hidden in spec.widths:
            layers.append(nn.Linear(width, hidden))  # (N, width) -> (N, hidden)
            if spec.norm != "none":
                layers.append(_NORMS[spec.norm](hidden))
            layers.append(activation(spec.activation))
            if spec.dropout:
                layers.append(nn.Dropout(spec.dropout))
            width = hidden
        layers.append(nn.Linear(width, outputs))  # (N, width) -> (N, outputs)
        self.layers = nn.Sequential(*layers)

    def forward(self, inputs: Tensor) -> Tensor:
        """Shapes: (N, width) -> (N, outputs)."""
        raw: Tensor = self.layers(inputs)
        return raw
