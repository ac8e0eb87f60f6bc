"""DeepSHAP against shap's DeepExplainer in float64, and against what it must add up to."""

import numpy as np
import pytest
import shap
import torch
from torch import nn
from torch.nn import functional

from pellucid import plan
from pellucid_pipelines import architectures
from pellucid_pipelines.explain.deepshap import DeepShap
from pellucid_pipelines.features import Features

WIDTH, BESIDE, ROWS = 7, 20, 6


def rows(seed=0, count=ROWS):
    return torch.randn(count, WIDTH, dtype=torch.float64, generator=torch.manual_seed(seed))


def frozen(network):
    network = network.double().eval().requires_grad_(False)
    for parameter in network.parameters():  # what starts at zero would hide mistakes
        if not parameter.any():
            parameter.copy_(0.1 * torch.randn_like(parameter))
    return network


def built(spec, outputs=3, link="softmax"):
    torch.manual_seed(0)
    features = Features.tabular(WIDTH).with_sample(rows(1, 200).float())
    return frozen(architectures.build(spec, features, outputs, link))


def attributed(network, background=None, weights=None):
    background = rows(2, BESIDE) if background is None else background
    weights = torch.full((len(background),), 1 / len(background)) if weights is None else weights
    return DeepShap(network, Features.tabular(WIDTH), background, weights.double())(rows())


@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "elu", "gelu", "tanh", "sigmoid"])
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_shap_gives_the_same_values(activation, norm):
    network = built(plan.Mlp(widths=(16, 8), activation=activation, norm=norm))
    _, values, base = attributed(network)
    explainer = shap.DeepExplainer(network, rows(2, BESIDE))
    expected = explainer.shap_values(rows(), check_additivity=False)
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(base, explainer.expected_value, rtol=1e-6)


class Reused(nn.Module):
    """One activation for two layers, which breaks shap (shap#1479), and one that is no module."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(WIDTH, 9), nn.Linear(9, 9), nn.Linear(9, 2)
        self.relu = nn.ReLU()

    def forward(self, inputs):
        hidden = self.relu(self.second(self.relu(self.first(inputs))))
        return self.last(hidden + functional.gelu(hidden))


class Separate(Reused):
    """The same, as shap can do it."""

    def __init__(self):
        super().__init__()
        self.other, self.gelu = nn.ReLU(), nn.GELU()

    def forward(self, inputs):
        return self.last(self.other(self.second(self.relu(self.first(inputs)))))


def test_activations_may_be_used_twice_and_be_functions():
    torch.manual_seed(0)
    once = frozen(Separate())
    twice = frozen(Reused())
    twice.load_state_dict(once.state_dict())
    raw, values, base = attributed(twice)
    torch.testing.assert_close(base + values.sum(dim=1), raw, rtol=1e-6, atol=1e-7)

    expected = shap.DeepExplainer(once, rows(2, BESIDE)).shap_values(rows(), check_additivity=False)
    twice.forward = lambda inputs: twice.last(
        twice.relu(twice.second(twice.relu(twice.first(inputs))))
    )
    np.testing.assert_allclose(attributed(twice)[1], expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize(
    ("spec", "outputs", "link"),
    [
        (plan.Perceptron(), 3, "softmax"),
        (plan.Mlp(widths=(WIDTH, WIDTH), residual=True, activation="silu"), 3, "softmax"),
        (plan.TabM(members=3, width=8, bins=4, embedding=3), 1, "identity"),
        (plan.TabM(members=3, width=8, bins=4, embedding=3), 1, "sigmoid"),
        (plan.TabM(members=3, width=8, bins=4, embedding=3), 3, "softmax"),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_values_add_up(spec, outputs, link, dtype):
    network = built(spec, outputs, link).to(dtype)
    weights = torch.full((BESIDE,), 1 / BESIDE)
    found = DeepShap(network, Features.tabular(WIDTH), rows(2, BESIDE).to(dtype), weights)
    raw, values, base = found(rows().to(dtype))
    assert values.shape == (ROWS, WIDTH, outputs)
    away = (raw - base).abs().mean()
    assert (base + values.sum(dim=1) - raw).abs().max() < 1e-4 * away


def test_weights_stand_for_repeated_rows():
    network = built(plan.Mlp(widths=(8,)))
    background = rows(2, 2)
    repeated = background[[0, 0, 0, 1]]
    weighted = attributed(network, background, torch.tensor([0.75, 0.25], dtype=torch.float64))
    for found, expected in zip(weighted, attributed(network, repeated), strict=True):
        torch.testing.assert_close(found, expected)


def test_a_row_of_the_background_itself():
    """Differences of zero are not divided by."""
    network = built(plan.Mlp(widths=(8, 8), activation="gelu"))
    raw, values, base = attributed(network, rows())
    assert values.isfinite().all()
    torch.testing.assert_close(base + values.sum(dim=1), raw, rtol=1e-6, atol=1e-7)


def test_columns_that_change_nothing_have_no_value():
    network = built(plan.Mlp(widths=(8, 8)))
    network.layers[0].weight[:, 3] = 0
    assert not attributed(network)[1][:, 3].any()


def test_one_output_of_an_image():
    torch.manual_seed(0)
    features = Features("image", (2, 9, 8))
    network = architectures.build(plan.Cnn(widths=(4, 6), blocks=1), features, 3, "softmax")
    network = frozen(network)
    pixels = torch.randint(0, 256, (5, 2, 9, 8), dtype=torch.uint8)
    found = DeepShap(network, features, pixels[:3], torch.full((3,), 1 / 3))
    chosen = torch.tensor([2, 0])
    raw, values, base = found(pixels[3:], chosen)
    assert values.shape == (2, 9, 8)
    away = (raw - base).gather(1, chosen.unsqueeze(1)).squeeze(1)
    torch.testing.assert_close(values.sum(dim=(1, 2)), away, rtol=1e-5, atol=1e-9)
