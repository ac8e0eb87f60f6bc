"""Shared layers, against what their formulas say in NumPy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pellucid_pipelines.layers.blockwise import ColumnTokens
from pellucid_pipelines.layers.ensembles import OwnLinear, SharedLinear, mean_prediction
from pellucid_pipelines.layers.numbers import PiecewiseLinear


def test_a_shared_linear_layer_is_one_matrix_for_each_member():
    torch.manual_seed(0)
    layer = SharedLinear(3, 4, 5)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter)
    r, s, b = (p.detach().view(5, -1).numpy() for p in (layer.r, layer.s, layer.bias))
    x = torch.randn(6, 5, 3)
    weights = s[:, :, None] * layer.weight.detach().numpy() * r[:, None, :]
    expected = np.einsum("koi,nki->nko", weights, x.numpy()) + b
    np.testing.assert_allclose(layer(x).detach().numpy(), expected, rtol=1e-4, atol=1e-5)
    assert layer(x[:, :1]).shape == (6, 5, 4), "one input for all members"


def test_members_own_weights_do_not_mix():
    layer = OwnLinear(3, 2, 4)
    x = torch.randn(5, 4, 3)
    changed = x.clone()
    changed[:, 1] += 1
    same = (layer(x) == layer(changed)).all(dim=2).all(dim=0)
    assert same.tolist() == [True, False, True, True]
    expected = torch.einsum("nki,kio->nko", x, layer.weight) + layer.bias.view(4, 2)
    torch.testing.assert_close(layer(x), expected)


@pytest.mark.parametrize("link", ["sigmoid", "softmax"])
def test_members_that_are_certain_give_no_infinities(link):
    raw = torch.tensor([[[1e4], [1e4]], [[-1e4], [1e4]], [[-200.0], [-300.0]]])
    raw = raw if link == "sigmoid" else torch.cat([raw, -raw, torch.zeros_like(raw)], dim=2)
    assert mean_prediction(raw, link).isfinite().all()


numbers = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 60), st.just(2)),
    elements=st.floats(-10, 10, width=32),
)


@given(sample=numbers, bins=st.integers(1, 8))
def test_an_embedding_starts_as_a_line_and_bends_only_inside_its_bins(sample, bins):
    torch.manual_seed(0)
    sample = torch.from_numpy(sample)
    layer = PiecewiseLinear(sample, bins, 3)
    x = torch.linspace(-12, 12, 9).unsqueeze(1).expand(-1, 2)
    line = x.unsqueeze(2) * layer.slope + layer.bias.view(2, 3)
    torch.testing.assert_close(layer(x), line)
    torch.nn.init.ones_(layer.weight)
    bent = (layer(x) - line)[:, :, 0]
    # Every bin that lies below x counts 1: none under the smallest, all above the largest.
    count = (layer.scale > 0).sum(dim=1)
    torch.testing.assert_close(bent[-1], count.float(), atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(bent[0], torch.zeros(2), atol=1e-3, rtol=1e-4)
    assert (bent.diff(dim=0) >= -1e-3).all()
    assert (count <= bins).all()


def test_the_edges_of_bins_are_quantiles():
    sample = torch.randn(1000, 1)
    layer = PiecewiseLinear(sample, 10, 2)
    expected = np.quantile(sample.numpy(), np.linspace(0, 1, 11))
    np.testing.assert_allclose(layer.left[0].numpy(), expected[:-1], rtol=1e-5)
    np.testing.assert_allclose(1 / layer.scale[0].numpy(), np.diff(expected), rtol=1e-3)


def test_a_token_is_its_columns_block_through_its_own_map():
    blocks = [slice(0, 1), slice(1, 4), slice(4, 6)]
    layer = ColumnTokens(blocks, 6, 5)
    x = torch.randn(7, 6)
    for i, block in enumerate(blocks):
        own = layer.weight[i, : block.stop - block.start]
        expected = x[:, block] @ own + layer.bias.view(3, 5)[i]
        torch.testing.assert_close(layer(x)[:, i], expected)
