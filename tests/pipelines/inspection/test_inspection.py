"""Looking into networks, and the learning rate range test."""

import numpy as np
import pytest
import torch
from torch import nn

from pellucid_pipelines import architectures, losses
from pellucid_pipelines.features import Features
from pellucid_pipelines.inspection import captures, figures, landscape
from pellucid_pipelines.inspection.inspect import Rebuilt, draw
from pellucid_pipelines.inspection.lr_range import measure
from pellucid_pipelines.layers.attention import SelfAttention
from pellucid_pipelines.rows import Rows
from support.faults import pictures, prepared, table, waves
from support.training import WIDTH, a_plan, toy_rows


@pytest.fixture
def network():
    torch.manual_seed(0)
    return architectures.build(a_plan().model, Features.tabular(WIDTH), 1).eval()


def test_the_landscape_has_the_network_in_its_middle_and_leaves_it_alone(network):
    rows = toy_rows(80)
    before = [p.clone() for p in network.parameters()]
    told = []
    steps, found = landscape.surface(
        network,
        losses.binary_cross_entropy,
        rows,
        seed=0,
        points=5,
        progress=lambda done, total: told.append((done, total)),
    )
    expected = losses.binary_cross_entropy(network(rows.inputs), rows.targets).mean().item()
    assert steps.tolist() == [-1, -0.5, 0, 0.5, 1]
    assert found[2, 2] == pytest.approx(expected, rel=1e-6)
    assert np.isfinite(found).all()
    assert len(np.unique(found)) == found.size
    assert told[-1] == (25, 25)
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_a_direction_is_as_long_as_each_filter(network):
    for parameter, d in zip(network.parameters(), landscape.direction(network, 3), strict=True):
        if parameter.ndim < 2:
            assert not d.any()
        else:
            torch.testing.assert_close(d.norm(dim=1), parameter.detach().norm(dim=1))


def test_attention_is_what_the_layer_says():
    torch.manual_seed(0)
    layer = SelfAttention(8, 2)
    real = torch.arange(5) < torch.tensor([[5], [3], [1]])

    class Around(nn.Module):
        def forward(self, inputs):
            return layer(inputs, real)

    inputs = torch.randn(3, 5, 8)
    (found,) = captures.attention_maps(Around(), inputs)
    torch.testing.assert_close(found, layer.weights(inputs, real))
    torch.testing.assert_close(found.sum(dim=3), torch.ones(3, 2, 5))


def test_embeddings_enter_the_last_linear_layer(network):
    inputs = toy_rows(10).inputs
    last = [m for m in network.modules() if isinstance(m, nn.Linear)][-1]
    points = captures.embeddings(network, inputs)
    torch.testing.assert_close(last(points), network(inputs))


def test_gradients_are_those_of_the_loss(network):
    rows = toy_rows(20)
    found = captures.gradients(network, losses.binary_cross_entropy, rows)
    losses.binary_cross_entropy(network(rows.inputs), rows.targets).mean().backward()
    torch.testing.assert_close(found["layers.0"], network.layers[0].weight.grad.abs())


@pytest.mark.parametrize(
    ("columns", "parts", "extra"),
    [
        (table(rows=120), {"model": {"kind": "mlp", "widths": [8]}}, set()),
        (table("regression", rows=120), {"model": {"kind": "perceptron"}}, set()),
        (
            table("multiclass", rows=120),
            {"model": {"kind": "ft_transformer", "width": 8, "depth": 2, "heads": 2}},
            {"attention_1.png", "attention_2.png"},
        ),
        (
            pictures(100),
            {"model": {"kind": "cnn", "widths": [4], "blocks": 1}},
            {"filters.png"},
        ),
        (waves(100, 8), {"model": {"kind": "lstm", "width": 8}}, set()),
    ],
    ids=["mlp", "perceptron", "ft_transformer", "cnn", "lstm"],
)
def test_every_network_is_drawn(tmp_path, monkeypatch, columns, parts, extra):
    surface = landscape.surface
    monkeypatch.setattr(
        landscape, "surface", lambda *a, **named: surface(*a, **(named | {"points": 3}))
    )
    spec, _, examples = prepared(columns, **parts)
    features, target = examples.features(0), examples.target
    network = architectures.build(spec.model, features, target.outputs, target.link).eval()
    chosen = examples.parts.validation
    rebuilt = Rebuilt(spec, network, examples, examples.rows(chosen), examples.truth(chosen))
    names = {path.name for path in draw(rebuilt, tmp_path)}
    usual = {"weights.png", "gradients.png", "embeddings.png", "loss_landscape.png"}
    assert usual | extra <= names
    assert all((tmp_path / name).stat().st_size > 1000 for name in names)


def test_a_range_test_finds_a_rate_that_learns_and_one_that_does_not():
    spec, _, examples = prepared(table(), model={"kind": "mlp", "widths": [32]})
    found = measure(spec, examples, steps=120, high=100.0)
    assert (np.diff(found.rates) > 0).all()
    assert found.diverged is not None
    assert 1e-4 < found.suggested < 0.5
    assert found.suggested <= found.diverged / 10


def test_a_range_test_is_repeatable_and_drawn(tmp_path):
    spec, _, examples = prepared(table(rows=200), model={"kind": "mlp", "widths": [8]})
    one, two = (measure(spec, examples, steps=30) for _ in range(2))
    assert np.array_equal(one.losses, two.losses)
    figures.lr_range(one.rates, one.losses, one.suggested, tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 1000


def test_weights_of_rows_count(network):
    rows = toy_rows(20)
    weighted = Rows(rows.inputs, rows.targets, torch.full((20,), 1.0))
    one = captures.gradients(network, losses.binary_cross_entropy, rows)
    two = captures.gradients(network, losses.binary_cross_entropy, weighted)
    torch.testing.assert_close(one["layers.0"], two["layers.0"])
