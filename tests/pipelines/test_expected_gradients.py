"""Expected gradients against closed forms, and adding up."""

import numpy as np
import pytest
import torch
from torch import nn

from pellucid import plan
from pellucid_pipelines import architectures
from pellucid_pipelines.expected_gradients import expected_gradients
from pellucid_pipelines.features import Features


def frozen(network: nn.Module) -> nn.Module:
    return network.eval().requires_grad_(False)


def both(count: int) -> torch.Tensor:
    return torch.arange(2).expand(count, 2)


def test_a_linear_network_has_its_closed_form():
    torch.manual_seed(0)
    network = frozen(nn.Linear(5, 2).double())
    background, rows = torch.randn(7, 5).double(), torch.randn(4, 5).double()
    found = expected_gradients(network, Features.tabular(5), background, rows, both(4))
    moved = rows - background.mean(dim=0)
    expected = moved.unsqueeze(2) * network.weight.T
    np.testing.assert_allclose(found.values, expected.numpy(), atol=1e-12)
    np.testing.assert_allclose(found.base, network(background).mean(dim=0).numpy())
    assert abs(found.error).max() < 1e-12


def test_a_product_is_shared_evenly():
    class Product(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Parameter(torch.ones(1).double())

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            return (self.one * inputs[:, :1] * inputs[:, 1:2]).expand(-1, 2)

    rows = torch.tensor([[3.0, 4.0, 9.0]]).double()
    found = expected_gradients(
        frozen(Product()), Features.tabular(3), torch.zeros(64, 3).double(), rows, both(1)
    )
    np.testing.assert_allclose(found.values[0, :, 0], [6, 6, 0], atol=0.1)


CASES = {
    "image": (plan.Cnn(widths=(4, 8), blocks=1), (1, 9, 8), (9, 8)),
    "frames": (plan.Hybrid(channels=4, width=8), (3, 1, 9, 8), (3, 9, 8)),
    "sequence": (plan.Gru(width=8), (6, 3), (6, 2)),
    "text": (plan.Transformer(width=8, heads=2), (7,), (7,)),
    "words": (plan.BagOfWords(width=8, buckets=50), (7,), (7,)),
}


def batch(name: str, shape: tuple[int, ...], count: int) -> torch.Tensor:
    """Rows of that shape; of sequences and texts each has a length of its own, some none."""
    rng = np.random.default_rng(count)
    real = np.arange(shape[0]) < rng.integers(0, shape[0] + 1, (count, 1))
    if name == "sequence":
        values = rng.normal(size=(count, *shape)) * real[..., None]
        values[..., -1] = real
        return torch.from_numpy(values.astype(np.float32))
    if name in ("text", "words"):
        return torch.from_numpy(rng.integers(1, 20, (count, *shape)) * real)
    return torch.from_numpy(rng.integers(0, 256, (count, *shape), np.uint8))


@pytest.mark.parametrize("name", CASES)
def test_every_kind_of_input_adds_up_to_the_prediction(name: str):
    spec, shape, places = CASES[name]
    modality = name if name in ("image", "sequence", "text") else "text"
    features = Features("image" if name == "frames" else modality, shape, vocabulary=20)
    torch.manual_seed(1)
    network = frozen(architectures.build(spec, features, 2))
    background, rows = batch(name, shape, 24), batch(name, shape, 10)
    found = expected_gradients(network, features, background, rows, both(10))
    assert found.values.shape == (10, *places, 2)
    wanted = (network(rows) - network(background).mean(dim=0)).numpy()
    given = found.values.reshape(10, -1, 2).sum(axis=1)
    np.testing.assert_allclose(given - wanted, found.error, atol=1e-5)
    assert abs(found.error).max() <= 0.05 * abs(wanted).max()


def test_places_without_a_step_have_no_value():
    features = Features("sequence", (6, 2))
    network = frozen(architectures.build(plan.Gru(width=4), features, 2))
    rows = batch("sequence", (6, 2), 12)
    found = expected_gradients(network, features, rows, rows, both(12))
    absent = (rows[..., -1] == 0) & rows[..., -1:].any(dim=1)
    assert (found.values[:, :, 0][absent.numpy()] == 0).all()
