import math

import pytest
import torch
from torch import nn

from pellucid.errors import InvalidPlan
from pellucid_pipelines.initialization import initialize


def a_layer(name):
    torch.manual_seed(0)
    layer = nn.Linear(400, 300)
    initialize(layer, name, torch.randn(64, 400))
    return layer


def test_default_leaves_the_architectures_own():
    torch.manual_seed(0)
    before = nn.Linear(400, 300).weight
    assert torch.equal(a_layer("default").weight, before)


@pytest.mark.parametrize(
    ("name", "deviation"),
    [
        ("xavier_uniform", math.sqrt(2 / 700)),
        ("xavier_normal", math.sqrt(2 / 700)),
        ("he_uniform", math.sqrt(2 / 400)),
        ("he_normal", math.sqrt(2 / 400)),
    ],
)
def test_the_deviation_is_that_of_the_paper(name, deviation):
    layer = a_layer(name)
    assert layer.weight.std().item() == pytest.approx(deviation, rel=0.01)
    assert not layer.bias.any()
    uniform = layer.weight.abs().max().item() < deviation * math.sqrt(3) * 1.001
    assert uniform == name.endswith("uniform")


def test_orthogonal_rows():
    weight = a_layer("orthogonal").weight
    torch.testing.assert_close(weight @ weight.T, torch.eye(300), atol=1e-5, rtol=0)


def test_lsuv_gives_every_layer_outputs_of_variance_1():
    torch.manual_seed(0)
    rows = 3 * torch.randn(256, 1, 12, 12) + 5
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.Sigmoid(), nn.Flatten(), nn.Linear(400, 16), nn.Tanh(),
        nn.Linear(16, 3),
    )  # fmt: skip
    initialize(network, "lsuv", rows)
    for layer in network:
        rows = layer(rows)
        if isinstance(layer, nn.Conv2d | nn.Linear):
            assert rows.var().item() == pytest.approx(1, abs=0.03)


def test_recurrent_layers_are_set_gate_by_gate():
    torch.manual_seed(0)
    network = nn.LSTM(16, 8)
    initialize(network, "orthogonal", None)
    for gate in network.weight_hh_l0.split(8):
        torch.testing.assert_close(gate @ gate.T, torch.eye(8), atol=1e-5, rtol=0)
    assert not network.bias_hh_l0.any()


def test_a_network_without_such_weights_is_refused():
    with pytest.raises(InvalidPlan) as caught:
        initialize(nn.Embedding(3, 2), "he_normal", None)
    assert caught.value.where == {"path": "initialization"}
