"""The perceptron: logistic, softmax or linear regression, fitted by gradient descent."""

from torch import Tensor, nn

from pellucid import plan
from pellucid_pipelines.features import Features
from pellucid_pipelines.tensors import Link


class Perceptron(nn.Module):
    """(N, width) -> (N, outputs): one linear layer."""

    def __init__(
        self, _spec: plan.Perceptron, features: Features, outputs: int, _link: Link
    ) -> None:
        super().__init__()
        (width,) = features.shape
        self.linear = nn.Linear(width, outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Shapes: (N, width) -> (N, outputs)."""
        raw: Tensor = self.linear(inputs)
        return raw
