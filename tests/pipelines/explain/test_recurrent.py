"""Recurrent layers as scans: the same outputs and gradients as PyTorch's, there and in ONNX."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pellucid import plan
from pellucid_pipelines.architectures.hybrid import Hybrid
from pellucid_pipelines.architectures.mlp import Mlp
from pellucid_pipelines.architectures.recurrent import RecurrentNetwork
from pellucid_pipelines.explain.recurrent import ScannedRecurrent, explainable
from pellucid_pipelines.explain.scan import TRANSLATIONS
from pellucid_pipelines.explain.tracing import traced
from pellucid_pipelines.features import Features
from pellucid_pipelines.layers.recurrent import Recurrent

pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")  # of the exporter

SPECS = {"rnn": plan.Rnn, "lstm": plan.Lstm, "gru": plan.Gru}
CHANNELS = 3


class Slopes(nn.Module):
    """(N, steps, channels + 1) -> what a network gives, and its gradient by the inputs."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            raw = self.network(inputs)
        points = inputs.detach().requires_grad_()
        with torch.enable_grad():
            total = self.network(points).square().sum()
        return raw, torch.autograd.grad(total, points)[0]


def rows(count: int, steps: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Sequences of every length, none among them."""
    inputs = torch.randn(count, steps, CHANNELS + 1, dtype=dtype)
    lengths = torch.linspace(steps, 0, count).round()
    inputs[..., -1] = (torch.arange(steps) < lengths.unsqueeze(1)).to(dtype)
    return inputs


def network(kind: str, steps: int, **spec: object) -> nn.Module:
    torch.manual_seed(0)
    features = Features("sequence", (steps, CHANNELS + 1))
    found = RecurrentNetwork(SPECS[kind](width=5, **spec), features, 2, "softmax")
    for parameter in found.parameters():
        nn.init.normal_(parameter)  # biases, which start as 0, must count
    return found.eval().requires_grad_(False)


@settings(max_examples=30)
@given(
    kind=st.sampled_from(sorted(SPECS)),
    layers=st.integers(1, 3),
    bidirectional=st.booleans(),
    steps=st.integers(1, 9),
    count=st.integers(0, 5),
)
def test_outputs_and_gradients_are_those_of_pytorch(kind, layers, bidirectional, steps, count):
    expected = network(kind, steps, layers=layers, bidirectional=bidirectional).double()
    inputs = rows(count, steps, torch.float64)
    found = Slopes(explainable(expected))(inputs)
    torch.testing.assert_close(found, Slopes(expected)(inputs), rtol=1e-9, atol=1e-9)


def test_only_recurrent_layers_are_replaced_and_only_in_the_copy():
    features = Features("image", (1, 9, 6), sample=torch.zeros(2, 1, 9, 6, dtype=torch.uint8))
    hybrid = Hybrid(plan.Hybrid(over="gru", width=6, channels=2), features, 2, "softmax").eval()
    found = explainable(hybrid)
    assert isinstance(hybrid.reader, Recurrent)
    assert isinstance(found.reader, ScannedRecurrent)
    pixels = torch.randint(0, 256, (3, 1, 9, 6), dtype=torch.uint8)
    torch.testing.assert_close(found(pixels), hybrid(pixels))
    mlp = Mlp(plan.Mlp(), Features.tabular(3), 1, "sigmoid")
    copied = explainable(mlp)
    assert copied is not mlp
    assert [type(each) for each in copied.modules()] == [type(each) for each in mlp.modules()]
    assert isinstance(explainable(hybrid.reader), ScannedRecurrent), "or the network itself"


def exported(module: nn.Module, steps: int) -> onnx.ModelProto:
    example = rows(3, steps)
    many = {0: torch.export.Dim.DYNAMIC}
    graph = traced(module, [example])
    program = torch.onnx.export(
        torch.export.export(graph, (example,), dynamic_shapes=(many,), strict=False),
        dynamo=True,
        opset_version=20,
        external_data=False,
        verbose=False,
        custom_translation_table=TRANSLATIONS,
    )
    onnx.checker.check_model(program.model_proto, full_check=True)
    return program.model_proto


@pytest.mark.parametrize(
    ("kind", "steps", "layers"), [("rnn", 6, 2), ("gru", 6, 1), ("lstm", 200, 1)]
)
def test_the_gradient_is_a_small_onnx_graph_for_any_number_of_rows(kind, steps, layers):
    module = Slopes(explainable(network(kind, steps, layers=layers)))
    model = exported(module, steps)
    scans = [node for node in model.graph.node if node.op_type == "Scan"]
    assert len(scans) == 2 * layers * 3, "both directions: outputs, outputs and slopes, gradient"
    assert len(model.SerializeToString()) < 200_000
    session = onnxruntime.InferenceSession(model.SerializeToString())
    for count in (0, 1, 7):
        inputs = rows(count, steps)
        found = session.run(None, {session.get_inputs()[0].name: inputs.numpy()})
        for given_, expected in zip(found, module(inputs), strict=True):
            assert given_.shape == tuple(expected.shape)
            scale = float(expected.abs().max()) if count else 1.0
            np.testing.assert_allclose(given_, expected.numpy(), rtol=1e-5, atol=1e-5 * scale)
