"""Expected gradients against closed forms, plain autograd and Captum, and in ONNX Runtime."""

import math
from collections.abc import Sequence

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from pellucid import plan
from pellucid_pipelines import architectures
from pellucid_pipelines.ensemble import Ensemble
from pellucid_pipelines.explain.gradients import ExpectedGradients, between, grid
from pellucid_pipelines.explain.rowwise import TRANSLATIONS
from pellucid_pipelines.explain.tracing import traced
from pellucid_pipelines.export import as_onnx
from pellucid_pipelines.features import Features
from pellucid_pipelines.tensors import Target

TABLE = Features.tabular(6)
IMAGE, FRAMES = Features("image", (1, 9, 8)), Features("image", (2, 1, 9, 8))
SEQUENCE, TEXT = Features("sequence", (6, 3)), Features("text", (7,), vocabulary=20)
BESIDE = 9  # background rows
ACTIVATIONS = ("relu", "leaky_relu", "elu", "gelu", "silu", "tanh", "sigmoid")

CASES = {
    "ft_transformer": (plan.FtTransformer(width=8, depth=1, heads=2), TABLE),
    "mlp, group norm": (plan.Mlp(widths=(8,), norm="group"), TABLE),
    "mlp, residual": (plan.Mlp(widths=(6, 6), norm="layer", residual=True), TABLE),
    "tabm": (plan.TabM(members=2, width=8, depth=1, bins=0), TABLE),
    **{
        f"mlp, {each}": (plan.Mlp(widths=(8, 8), norm="layer", activation=each), TABLE)
        for each in ACTIVATIONS
    },
    "cnn": (plan.Cnn(widths=(4, 6), blocks=1, norm="batch"), IMAGE),
    "cnn, residual": (
        plan.Cnn(widths=(4, 6), blocks=1, residual=True, norm="layer", activation="gelu"),
        IMAGE,
    ),
    "cnn, frames": (
        plan.Cnn(widths=(4, 6), blocks=1, kernel=5, norm="group", activation="silu"),
        FRAMES,
    ),
    "hybrid": (plan.Hybrid(channels=4, width=8, over="transformer"), IMAGE),
    "hybrid, frames": (plan.Hybrid(channels=4, width=8, over="transformer"), FRAMES),
    "hybrid, recurrent": (plan.Hybrid(channels=4, width=8, over="gru"), FRAMES),
    "sequences": (plan.Transformer(width=8, heads=2, layers=1), SEQUENCE),
    "tcn": (plan.Tcn(width=6, layers=2), SEQUENCE),
    "lstm": (plan.Lstm(width=5), SEQUENCE),
    "texts": (plan.Transformer(width=8, heads=2, layers=1), TEXT),
    "bag_of_words": (plan.BagOfWords(width=8, buckets=50), TEXT),
    "bag_of_words, no pairs": (plan.BagOfWords(width=8, buckets=0), TEXT),
}
QUICK = ("ft_transformer", "mlp, gelu", "cnn", "tcn", "bag_of_words, no pairs")  # to export
EXPORTED = [
    pytest.param(each, marks=() if each in QUICK else pytest.mark.slow, id=each) for each in CASES
]


def network_of(spec: plan.Model, features: Features, outputs: int = 3) -> nn.Module:
    torch.manual_seed(1)
    network = architectures.build(spec, features, outputs)
    for name, each in network.named_parameters():
        if each.ndim == 1 and name.endswith("weight"):  # norms that start as they stay: at 0 or 1
            nn.init.uniform_(each, 0.5, 1.5)
    return network.eval().requires_grad_(False)


def batch(features: Features, count: int, seed: int = 0) -> Tensor:
    """Rows; of sequences and texts each has a length of its own, the first none."""
    rng = np.random.default_rng((count, seed))
    shape = (count, *features.shape)
    if features.modality == "tabular":
        return torch.from_numpy(rng.normal(size=shape).astype(np.float32))
    if features.modality == "image":
        return torch.from_numpy(rng.integers(0, 256, shape, np.uint8))
    lengths = rng.integers(0, features.shape[0] + 1, (count, 1))
    lengths[:1] = 0
    real = np.arange(features.shape[0]) < lengths
    if features.modality == "text":
        return torch.from_numpy(rng.integers(1, features.vocabulary, shape) * real)
    values = rng.normal(size=shape) * real[..., np.newaxis]
    values[..., -1] = real
    return torch.from_numpy(values.astype(np.float32))


def chosen_of(features: Features, count: int) -> Tensor | None:
    return None if features.modality == "tabular" else torch.arange(count) % 3


def explainer(network: nn.Module, features: Features) -> ExpectedGradients:
    weights = torch.arange(1, BESIDE + 1).double()
    return ExpectedGradients(network, features, batch(features, BESIDE, 7), weights / weights.sum())


class Served:
    """An explainer in ONNX Runtime."""

    def __init__(self, module: ExpectedGradients, features: Features) -> None:
        rows = [batch(features, 3), chosen_of(features, 3), grid(5)]
        examples = tuple(each for each in rows if each is not None)
        graph = traced(_Ordered(module), examples)
        dynamic = tuple({0: torch.export.Dim.DYNAMIC} for _ in examples)
        program = as_onnx(graph, examples, dynamic, TRANSLATIONS)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        self.session = onnxruntime.InferenceSession(
            program.model_proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def __call__(self, *given: Tensor | None) -> Sequence[np.ndarray]:
        arrays = [each.numpy() for each in given if each is not None]
        names = [each.name for each in self.session.get_inputs()]
        return self.session.run(None, dict(zip(names, arrays, strict=True)))


class _Ordered(nn.Module):
    def __init__(self, module: ExpectedGradients) -> None:
        super().__init__()
        self.module = module

    def forward(self, inputs: Tensor, *options: Tensor) -> tuple[Tensor, ...]:
        chosen = options[0] if len(options) == 2 else None
        found: tuple[Tensor, ...] = self.module(inputs, chosen, options[-1])
        return found


@pytest.mark.parametrize("name", EXPORTED)
def test_a_graph_gives_what_pytorch_gives(name: str):
    spec, features = CASES[name]
    module = explainer(network_of(spec, features), features)
    served = Served(module, features)
    for count, shares in ((1, grid(1)), (4, grid(3)), (0, grid(2))):
        given = batch(features, count), chosen_of(features, count), shares
        for ours, theirs in zip(module(*given), served(*given), strict=True):
            assert ours.shape == theirs.shape
            scale = float(ours.abs().max()) if count else 1.0
            np.testing.assert_allclose(theirs, ours.numpy(), rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize("name", CASES)
def test_more_shares_bring_the_values_to_the_prediction(name: str):
    spec, features = CASES[name]
    network = network_of(spec, features)
    module = explainer(network, features)
    rows, chosen = batch(features, 3), chosen_of(features, 3)

    def gap(shares: Tensor) -> float:
        raw, values, base = module(rows, chosen, shares)
        np.testing.assert_allclose(raw.numpy(), network(rows).numpy(), atol=1e-6)
        wanted = raw - base
        if chosen is None:
            return float((values.sum(1) - wanted).abs().max() / wanted.abs().max())
        wanted = wanted.gather(1, chosen.unsqueeze(1)).squeeze(1)
        return float((values.flatten(1).sum(1) - wanted).abs().max() / wanted.abs().max())

    assert gap(grid(32)) <= max(1e-2, gap(grid(1)) / 4)


@pytest.mark.parametrize("name", ["ft_transformer", "cnn, residual", "sequences", "texts"])
def test_values_are_what_plain_autograd_gives_in_double_precision(name: str):
    spec, features = CASES[name]
    network = network_of(spec, features)
    module = explainer(network, features)
    row, shares, output = batch(features, 6)[5:], grid(4), 2
    chosen = None if features.modality == "tabular" else torch.tensor([output])
    found = module(row, chosen, shares)[1][0]
    found = found[..., output] if chosen is None else found
    np.testing.assert_allclose(
        found.numpy(),
        reference(network.double(), features, row, shares, output).numpy(),
        atol=2e-5 * float(found.abs().max()),
    )


def reference(
    network: nn.Module, features: Features, row: Tensor, shares: Tensor, output: int
) -> Tensor:
    """The definition, point by point."""
    background = batch(features, BESIDE, 7)
    weights = torch.arange(1, BESIDE + 1).double()
    weights /= weights.sum()
    text, sequence = features.modality == "text", features.modality == "sequence"

    def at(point: Tensor) -> Tensor:
        if text:
            return network.from_embedding(point, row)[0, output]
        if sequence:
            point = torch.cat([point, row[..., -1:].double()], dim=-1)
        return network(point)[0, output]

    def start(rows: Tensor) -> Tensor:
        return network.embed(rows) if text else rows[..., :-1] if sequence else rows

    total = torch.zeros(())
    moved = -float(weights @ network(background if text else background.double())[:, output])
    for i in range(BESIDE):
        begin, end = start(background[i : i + 1]).double(), start(row).double()
        moved += float(weights[i] * at(begin))
        for share in shares.tolist():
            along = (i * (math.sqrt(5) - 1) / 2 + share) % 1
            point = (begin + along * (end - begin)).requires_grad_()
            slope = torch.autograd.grad(at(point), point)[0]
            total = total + weights[i] / len(shares) * ((end - begin) * slope)[0]
    if features.modality == "image":
        return total.sum(dim=-3)
    if not text and not sequence:
        return total
    real = row[0] != 0 if text else (row[0, :, -1:] > 0.5).expand(-1, features.shape[1] - 1)
    return (total.sum(dim=-1) if text else total) + moved * real / real.sum()


@pytest.mark.parametrize("name", ["ft_transformer", "mlp, relu", "mlp, group norm", "cnn"])
def test_values_are_those_of_captums_integrated_gradients(name: str):
    """Against one background row both take the same points; against more, values are means."""
    captum = pytest.importorskip("captum.attr")
    spec, features = CASES[name]
    network = network_of(spec, features).double()
    begin, rows = batch(features, 1, 7).double(), batch(features, 4).double()
    chosen = None if features.modality == "tabular" else torch.ones(4).long()
    module = ExpectedGradients(network, features, begin, torch.ones(1))
    values = module(rows, chosen, grid(16))[1]
    expected = captum.IntegratedGradients(network).attribute(
        rows, begin, target=1, n_steps=16, method="riemann_middle"
    )
    expected = expected.detach().sum(dim=-3) if chosen is not None else expected.detach()
    found = values[..., 1] if chosen is None else values
    np.testing.assert_allclose(found, expected, atol=1e-6 * float(expected.abs().max()))


def test_a_linear_network_has_its_closed_form():
    torch.manual_seed(0)
    network = nn.Linear(5, 2).double().requires_grad_(False)
    background, rows = torch.randn(7, 5).double(), torch.randn(4, 5).double()
    weights = torch.rand(7).double()
    weights /= weights.sum()
    raw, values, base = ExpectedGradients(network, Features.tabular(5), background, weights)(rows)
    expected = (rows - weights @ background).unsqueeze(2) * network.weight.T
    np.testing.assert_allclose(values, expected, atol=1e-12)
    np.testing.assert_allclose(base + values.sum(dim=1), raw, atol=1e-12)


def test_a_product_is_shared_evenly():
    class Product(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Parameter(torch.ones(1), requires_grad=False)

        def forward(self, inputs: Tensor) -> Tensor:
            return self.one * inputs[:, :1] * inputs[:, 1:2]

    rows = torch.tensor([[3.0, 4.0, 9.0]])
    module = ExpectedGradients(
        Product(), Features.tabular(3), torch.zeros(8, 3), torch.full((8,), 1 / 8)
    )
    np.testing.assert_allclose(module(rows, None, grid(64))[1][0, :, 0], [6, 6, 0], atol=0.05)


def test_places_without_a_step_have_no_value():
    spec, features = CASES["sequences"]
    rows = batch(features, 12)
    values = explainer(network_of(spec, features), features)(rows, torch.zeros(12).long())[1]
    absent = (rows[..., -1] == 0) & (rows[..., -1] > 0).any(dim=1, keepdim=True)
    assert (values[absent] == 0).all()
    assert (values[~absent] != 0).any()


def test_no_chosen_output_is_the_largest_one():
    spec, features = CASES["cnn"]
    module = explainer(network_of(spec, features), features)
    rows = batch(features, 4)
    raw, values, _ = module(rows, torch.full((4,), -1))
    np.testing.assert_array_equal(values, module(rows, raw.argmax(dim=1))[1])


def test_shares_between_those_of_a_grid_make_it_twice_as_fine():
    spec, features = CASES["mlp, tanh"]
    module = explainer(network_of(spec, features), features)
    rows, shares = batch(features, 3), grid(4)
    both = torch.cat([shares, between(shares)])
    assert both.sort().values.diff().allclose(torch.tensor(1 / 8))
    halves = module(rows, None, shares)[1] + module(rows, None, between(shares))[1]
    np.testing.assert_allclose(halves / 2, module(rows, None, both)[1], atol=1e-6)


def test_an_ensemble_is_explained_as_one_network():
    spec, features = CASES["mlp, silu"]
    members = [network_of(spec, features), network_of(plan.Mlp(widths=(5,)), features)]
    target = Target("y", "regression", mean=1.0, deviation=2.0)
    network = Ensemble(members, "identity", [target, target], target).eval().requires_grad_(False)
    module = explainer(network, features)
    served, rows = Served(module, features), batch(features, 3)
    for ours, theirs in zip(module(rows), served(rows, grid(1)), strict=True):
        np.testing.assert_allclose(theirs, ours, atol=1e-5)
    parts = [explainer(each, features)(rows)[1] for each in members]
    np.testing.assert_allclose(module(rows)[1], (parts[0] + parts[1]) / 2, atol=1e-5)
