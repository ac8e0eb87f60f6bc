"""What the explanation of every architecture keeps, as it lies in the bundle.

Architectures are found by introspection: a new one is tested by being there. Beside them stand
networks of a user's own that break other explainers.
"""

import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from pellucid import bundle, plan
from pellucid_pipelines import architectures
from pellucid_pipelines.explain import Explained, bundle_explanation, explain
from pellucid_pipelines.explain.attributions import fitting
from pellucid_pipelines.explain.gradients import ExpectedGradients, grid
from pellucid_pipelines.export import export_model, raw_inputs, run_onnx
from pellucid_pipelines.features import Features
from support import attributions, inputs

SMALL: dict[str, Any] = {
    "widths": (8, 8), "width": 8, "depth": 1, "layers": 1, "blocks": 1, "heads": 2, "members": 3,
    "bins": 4, "embedding": 4, "buckets": 64, "channels": 4,
}  # fmt: skip
BESIDE, ROWS = 12, 20
FINER, MOST_STEPS = 4, 512  # as the server does with rows that are inexact
SLOW = {"Gru-sequence", "Hybrid-image", "Lstm-sequence", "Rnn-sequence", "Transformer-sequence"}


class Reused(nn.Module):
    """One activation for two layers, which breaks shap (shap#1479) and Captum."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width, 8), nn.Linear(8, 8)
        self.last, self.relu = nn.Linear(8, outputs), nn.ReLU()

    def forward(self, rows: Tensor) -> Tensor:
        raw: Tensor = self.last(self.relu(self.second(self.relu(self.first(rows)))))
        return raw


class Functional(Reused):
    """Activations that are no modules, which shap and Captum never see (shap#4251)."""

    def forward(self, rows: Tensor) -> Tensor:
        hidden = functional.gelu(self.second(torch.tanh(self.first(rows))))
        raw: Tensor = self.last(hidden + functional.relu(hidden))
        return raw


class Normalised(Reused):
    """A norm over the row, for which they have no rule (shap#3438)."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__(width, outputs)
        self.norm = nn.LayerNorm(8)

    def forward(self, rows: Tensor) -> Tensor:
        raw: Tensor = self.last(self.relu(self.norm(self.first(rows))))
        return raw


class Attending(Reused):
    """Attention over the columns."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__(width, outputs)
        self.places = nn.Parameter(torch.randn(width, 8))
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, rows: Tensor) -> Tensor:
        tokens = rows.unsqueeze(2) * self.places
        mixed, _ = self.attention(tokens, tokens, tokens, need_weights=False)
        raw: Tensor = self.last(mixed.mean(dim=1))
        return raw


def of_a_plan(kind: type[Any], features: Features, outputs: int, link: Any) -> nn.Module:
    small = {name: value for name, value in SMALL.items() if name in kind.model_fields}
    return architectures.build(kind(**small), features, outputs, link)


def of_a_user(kind: type[Any], features: Features, outputs: int, _: Any) -> nn.Module:
    return kind(*features.shape, outputs)


Build = Callable[[Features, int, Any], nn.Module]
NETWORKS: dict[str, tuple[Build, plan.Modality]] = {
    f"{kind.__name__}-{modality}": (functools.partial(of_a_plan, kind), modality)
    for kind in sorted(architectures.BUILDERS, key=lambda kind: kind.__name__)
    for modality in kind.modalities
} | {
    kind.__name__: (functools.partial(of_a_user, kind), "tabular")
    for kind in (Reused, Functional, Normalised, Attending)
}


def marked(names: Iterable[str]) -> list[Any]:
    return [pytest.param(each, marks=pytest.mark.slow if each in SLOW else ()) for each in names]


def network_of(name: str, example: inputs.Example) -> nn.Module:
    """Of random weights, none of which is 0: that would hide mistakes."""
    build, _ = NETWORKS[name]
    torch.manual_seed(1)
    network = build(example.features, example.target.outputs, example.target.link)
    network.eval().requires_grad_(False)
    for parameter in network.parameters():
        if not parameter.any():
            parameter.normal_(std=0.1)
    return network


class Packed(NamedTuple):
    """A network's explanation in a bundle."""

    example: inputs.Example
    network: nn.Module
    explained: Explained
    told: bundle.Explanation
    directory: Path
    feed: dict[str, np.ndarray]

    def run(self, rows: slice = slice(None), steps: int = 0) -> dict[str, np.ndarray]:
        """What explain.onnx gives for some rows, with so many shares."""
        feed = {name: values[rows] for name, values in self.feed.items()}
        options = onnxruntime.SessionOptions()
        if not len(next(iter(feed.values()))):  # ONNX Runtime 1.31: FusedMatMul divides by zero
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        if steps:
            feed["explain/shares"] = grid(steps).numpy()
        path = self.directory / bundle.EXPLAINER
        session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
        names = [each.name.rstrip("_") for each in session.get_outputs()]
        return dict(zip(names, session.run(None, feed), strict=True))


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Packed]:
    """Explain and export a network; each one once."""

    @functools.cache
    def of(name: str) -> Packed:
        example = inputs.example(NETWORKS[name][1], "multiclass")
        preprocessing, target, table = example.preprocessing, example.target, example.table
        network, directory = network_of(name, example), tmp_path_factory.mktemp("bundle")
        background, weights = table.slice(0, BESIDE), np.full(BESIDE, 1 / BESIDE)
        explained = explain(
            network, preprocessing, target, background, table.slice(BESIDE, ROWS),
            plan.Explanation(background=BESIDE, rows=ROWS), 0, weights,
        )  # fmt: skip
        told = bundle_explanation(explained, preprocessing, target, background, weights, directory)
        export_model(network, preprocessing, target, directory / bundle.MODEL)
        feed = raw_inputs(explained.rows, preprocessing.inputs, preprocessing.tokenizer)
        return Packed(example, network, explained, told, directory, feed)

    return of


@pytest.mark.parametrize("name", marked(NETWORKS))
def test_the_graph_gives_what_torch_gives(packed, name):
    found = packed(name)
    attribution, preprocessing = found.explained.attribution, found.example.preprocessing
    assert attribution is not None
    given = found.run()
    dense = preprocessing(preprocessing.encode(found.explained.rows))
    tabular = attribution.modality == "tabular"
    chosen = None if tabular else found.network(dense).argmax(dim=1)
    raw, values, base = attribution.served()(dense, chosen, attribution.shares())
    if tabular:
        blocks = preprocessing.features.blocks.values()
        expected = torch.stack([values[:, block].sum(dim=1) for block in blocks], dim=1)
        base = base.expand_as(raw)
    else:
        near(given["places"], values)
        raw, base = (each.gather(1, chosen[:, None]) for each in (raw, base.expand_as(raw)))
        axes = (1,) if attribution.modality == "sequence" else tuple(range(1, values.ndim))
        expected = values.sum(dim=axes).view(len(raw), -1, 1)
    near(given["shap"], expected)
    near(given["explained"], raw)
    near(given["base"], base)


def near(given: np.ndarray, expected: Tensor) -> None:
    wanted = expected.detach().numpy()
    np.testing.assert_allclose(given, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())


@pytest.mark.parametrize("name", marked(NETWORKS))
def test_it_predicts_what_the_model_predicts_and_adds_up(packed, name):
    found = packed(name)
    given = found.run()
    model = run_onnx(found.directory / bundle.MODEL, found.feed)
    np.testing.assert_array_equal(given["label"], model["label"])
    np.testing.assert_allclose(given["probabilities"], model["probabilities"], atol=1e-5)
    size = np.abs(given["explained"] - given["base"]).max()
    total = given["base"] + given["shap"].sum(axis=1)
    np.testing.assert_allclose(given["gap"], np.abs(total - given["explained"]), atol=1e-5 * size)

    scale = np.array(found.told.scale)
    limit = found.told.tolerance * (scale if given["gap"].shape[1] == len(scale) else scale.max())
    late, steps = ~(given["gap"] <= limit).all(axis=1), found.told.steps
    while late.any() and 0 < steps < MOST_STEPS:
        steps = min(FINER * steps, MOST_STEPS)
        finer = found.run(late, steps)
        late[late] = ~(finer["gap"] <= limit).all(axis=1)
    assert not late.any()


@pytest.mark.parametrize("name", marked(NETWORKS))
def test_any_number_of_rows(packed, name):
    found = packed(name)
    whole, none, one = found.run(), found.run(slice(0)), found.run(slice(4, 5))
    some = found.run(slice(2, 9))
    for key, values in whole.items():
        assert none[key].shape == (0, *values.shape[1:])
        if values.dtype.kind == "f":
            size = 1e-5 * max(np.abs(values).max(), np.abs(whole["explained"]).max())
            np.testing.assert_allclose(one[key], values[4:5], atol=size)
            np.testing.assert_allclose(some[key], values[2:9], atol=size)


class Ignoring(nn.Module):
    """A network that does not see some places."""

    def __init__(self, network: nn.Module, seen: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("seen", seen)

    def forward(self, rows: Tensor) -> Tensor:
        raw: Tensor = self.network(rows * self.get_buffer("seen"))
        return raw


NUMBERS = [name for name, (_, modality) in NETWORKS.items() if modality != "text"]


@pytest.mark.parametrize("name", marked(NUMBERS))
def test_what_the_network_ignores_has_no_value(name):
    example = inputs.example(NETWORKS[name][1], "multiclass")
    features, rows = example.features, example.rows.inputs
    seen = torch.ones(features.shape)
    seen[..., 1] = 0.0  # a column of the table or of the pixels, a channel of the sequence
    rows = rows.float()
    if features.modality == "sequence":
        rows[..., -1] = 1.0  # all have a part in what their length changes
    weights = torch.full((BESIDE,), 1 / BESIDE)
    network = Ignoring(network_of(name, example), seen)
    found = fitting(network, features, rows[:BESIDE], weights, rows[BESIDE : BESIDE + 8])
    chosen = None if features.modality == "tabular" else torch.arange(8) % 3
    _, values = found.values(rows[BESIDE : BESIDE + 8], chosen)
    places = values.movedim(-1, 1) if features.modality == "tabular" else values
    assert values.abs().max() > 1e-4
    ignored = places[..., 1]
    assert ignored.abs().max() <= 1e-6 * values.abs().max()


@pytest.mark.parametrize("name", NETWORKS)
def test_others_give_the_same_values_where_they_can(name):
    example = inputs.example(NETWORKS[name][1], "multiclass")
    features, rows = example.features, alike(example)
    network = network_of(name, example).double()
    weights = torch.full((BESIDE,), 1 / BESIDE, dtype=torch.float64)
    background, rows = rows[:BESIDE], rows[BESIDE : BESIDE + 4]
    found = fitting(network, features, background, weights, rows)
    if found.method == "deep":
        chosen = None if features.modality == "tabular" else torch.zeros(len(rows)).long()
        values = found.values(rows, chosen)[1].numpy()
        others = attributions.deep(network, background, rows)
        assert bool(others) == (name not in ALONE)
        for expected in others.values():
            same(values, expected if chosen is None else expected[..., 0].sum(axis=1))
    start, chosen = background[:1], torch.full((len(rows),), 1)
    module = ExpectedGradients(network, features, start, torch.ones(1, dtype=torch.float64))
    tabular = features.modality == "tabular"
    _, given, _ = module(rows, None if tabular else chosen, grid(attributions.POINTS))
    expected = attributions.integrated_gradients(network, features, start, rows, chosen)
    same((given[..., 1] if tabular else given).detach().numpy(), expected)


ALONE = {"TabM-tabular", "Reused", "Functional"}  # nobody else adds up


def alike(example: inputs.Example) -> Tensor:
    """Rows as long as each other, in float64 unless they are tokens."""
    rows, features = example.rows.inputs, example.features
    if features.modality == "text":
        return torch.where(rows == 0, 1, rows)
    rows = rows.double()
    if features.modality == "sequence":
        rows[..., -1] = 1.0
    return rows


def same(given: np.ndarray, expected: np.ndarray) -> None:
    size = np.abs(expected).max()
    assert size > 0
    np.testing.assert_allclose(given, expected, rtol=0, atol=1e-5 * size)
