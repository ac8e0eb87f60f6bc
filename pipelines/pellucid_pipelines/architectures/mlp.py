"""The multilayer perceptron."""

from torch import Tensor, nn

from pellucid import plan
from pellucid_pipelines.features import Features
from pellucid_pipelines.layers.activations import activation
from pellucid_pipelines.layers.norms import norm
from pellucid_pipelines.tensors import Link


class Mlp(nn.Module):
    """(N, width) -> (N, outputs): for each hidden width linear, norm, activation, dropout.

    Every activation is a module of its own, since DeepSHAP attributes module by module.
    """

    def __init__(self, spec: plan.Mlp, features: Features, outputs: int, _link: Link) -> None:
        super().__init__()
        (width,) = features.shape
        layers: list[nn.Module] = []
        for hidden in spec.widths:
            if spec.residual and hidden == width:
                layers.append(_Residual(_hidden(spec, width, hidden)))
            else:
                layers += _hidden(spec, width, hidden)
            width = hidden
        layers.append(nn.Linear(width, outputs))  # (N, width) -> (N, outputs)
        self.layers = nn.Sequential(*layers)

    def forward(self, inputs: Tensor) -> Tensor:
        """Shapes: (N, width) -> (N, outputs)."""
        raw: Tensor = self.layers(inputs)
        return raw


class _Residual(nn.Module):
    """(N, width) -> (N, width): the input plus what the layers make of it (He et al., 2016)."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, inputs: Tensor) -> Tensor:
        added: Tensor = self.layers(inputs)
        return inputs + added


def _hidden(spec: plan.Mlp, width: int, hidden: int) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Linear(width, hidden)]  # (N, width) -> (N, hidden)
    if spec.norm != "none":
        layers.append(norm(spec.norm, hidden))
    layers.append(activation(spec.activation))
    if spec.dropout:
        layers.append(nn.Dropout(spec.dropout))
    return layers
