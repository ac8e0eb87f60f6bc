"""The multilayer perceptron."""

from collections.abc import Callable

from torch import Tensor, nn

from pellucid import plan

_ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}
_NORMS: dict[str, Callable[[int], nn.Module]] = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}


class Mlp(nn.Module):
    """(N, width) -> (N, outputs): for each hidden width linear, norm, activation, dropout.

    Every activation is a module of its own, since DeepSHAP attributes module by module.
    """

    def __init__(self, spec: plan.Mlp, width: int, outputs: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for hidden in spec.widths:
            layers.append(nn.Linear(width, hidden))  # (N, width) -> (N, hidden)
            if spec.norm != "none":
                layers.append(_NORMS[spec.norm](hidden))
            layers.append(_ACTIVATIONS[spec.activation]())
            if spec.dropout:
                layers.append(nn.Dropout(spec.dropout))
            width = hidden
        layers.append(nn.Linear(width, outputs))  # (N, width) -> (N, outputs)
        self.layers = nn.Sequential(*layers)

    def forward(self, inputs: Tensor) -> Tensor:
        """Shapes: (N, width) -> (N, outputs)."""
        raw: Tensor = self.layers(inputs)
        return raw
