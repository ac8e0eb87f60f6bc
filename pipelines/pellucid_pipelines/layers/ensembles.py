"""Networks in one: linear layers of an ensemble's members, and the mean of what they predict."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from pellucid_pipelines.tensors import Link


def uniform(*shape: int, fan_in: int) -> nn.Parameter:
    """Uniform within 1 / sqrt(fan_in), as `nn.Linear` starts."""
    limit = 1 / math.sqrt(max(1, fan_in))
    return nn.Parameter(torch.empty(*shape).uniform_(-limit, limit))


class SharedLinear(nn.Module):
    """(N, members, inputs) -> (N, members, outputs): one weight matrix, scaled by each member.

    Member i computes s_i * (W (r_i * x)) + b_i (BatchEnsemble; Wen et al., 2020). The vectors of
    all members are kept flat: like biases, and unlike matrices, they do not decay.

    Args:
        inputs, outputs, members: sizes.
        scale: (members, inputs) that r starts from. Default: ones.
    """

    def __init__(
        self, inputs: int, outputs: int, members: int, scale: Tensor | None = None
    ) -> None:
        super().__init__()
        self.members = members
        self.weight = uniform(outputs, inputs, fan_in=inputs)
        scale = torch.ones(members, inputs) if scale is None else scale
        self.r = nn.Parameter(scale.flatten().clone())  # (members x inputs,)
        self.s = nn.Parameter(torch.ones(members * outputs))
        start = uniform(outputs, fan_in=inputs).detach()  # the same for every member
        self.bias = nn.Parameter(start.repeat(members))

    def forward(self, inputs: Tensor) -> Tensor:
        """Shapes: (N, members or 1, inputs) -> (N, members, outputs)."""
        outputs = functional.linear(inputs * self.r.view(self.members, -1), self.weight)
        scaled: Tensor = outputs * self.s.view(self.members, -1)
        return scaled + self.bias.view(self.members, -1)


class OwnLinear(nn.Module):
    """(N, members, inputs) -> (N, members, outputs): weights of its own for each member."""

    def __init__(self, inputs: int, outputs: int, members: int) -> None:
        super().__init__()
        self.members = members
        self.weight = uniform(members, inputs, outputs, fan_in=inputs)
        self.bias = nn.Parameter(uniform(members * outputs, fan_in=inputs).detach())

    def forward(self, inputs: Tensor) -> Tensor:
        """Shapes: (N, members, inputs) -> (N, members, outputs)."""
        outputs = batched(inputs, self.weight)
        return outputs + self.bias.view(self.members, -1)


def batched(inputs: Tensor, weight: Tensor) -> Tensor:
    """(N, M, inputs), (M, inputs, outputs) -> (N, M, outputs): each of M by its own matrix."""
    if torch.compiler.is_exporting():
        # ONNX Runtime 1.31 fuses a plain transposition with the product, and then dies of 0 rows.
        turned = inputs.unsqueeze(1).permute(2, 1, 0, 3).squeeze(1)
    else:
        turned = inputs.transpose(0, 1)
    return torch.bmm(turned, weight).transpose(0, 1)


def mean_prediction(raw: Tensor, link: Link) -> Tensor:
    """(N, members, outputs) -> (N, outputs): what `link` maps to the mean of the predictions.

    In logarithms throughout, so that members that are certain give no infinities.
    """
    if link == "identity":
        return raw.mean(dim=1)
    if link == "sigmoid":
        yes, no = functional.logsigmoid(raw), functional.logsigmoid(-raw)
        return torch.logsumexp(yes, dim=1) - torch.logsumexp(no, dim=1)
    return torch.logsumexp(torch.log_softmax(raw, dim=2), dim=1) - math.log(raw.shape[1])
