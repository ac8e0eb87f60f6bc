"""SHAP values against closed forms, brute force and shap itself; and their figures."""

import itertools
import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shap
import torch
from matplotlib import pyplot as plt
from torch import nn

from pellucid import plan
from pellucid_pipelines import architectures
from pellucid_pipelines.explain import explain, write_table
from pellucid_pipelines.preprocessing import Tabular
from pellucid_pipelines.shap_figures import shap_figures
from pellucid_pipelines.tensors import Target
from support.training import schema_of

PNG = b"\x89PNG"


def mixed(rows=120, seed=0):
    """Three columns, of which one is text with a missing value, and three kinds of target."""
    random = np.random.default_rng(seed)
    texts = random.choice(["red", "green", "blue"], rows).astype(object)
    texts[0] = None
    table = {"size": random.normal(50, 9, rows), "hue": texts, "age": random.normal(size=rows)}
    return pa.table(table), {
        "binary": pa.chunked_array([random.choice(["no", "yes"], rows)]),
        "three": pa.chunked_array([random.choice(["a", "b", "c"], rows)]),
        "value": pa.chunked_array([random.normal(1000, 250, rows)]),
    }


def fitted(table, column, task="classification"):
    preprocessing = Tabular.fit(table, schema_of(table, {}).columns, plan.Preprocessing())
    return preprocessing, Target.fit(column, "outcome", task, None)


def network_of(preprocessing, target, **model):
    torch.manual_seed(0)
    return architectures.build(
        plan.Mlp(**{"widths": (16, 8), **model}), preprocessing.features, target.outputs
    )


def explained(target="binary", *, task="classification", network=None, spec=None, **model):
    table, targets = mixed()
    preprocessing, fit = fitted(table, targets[target], task)
    network = network or network_of(preprocessing, fit, **model)
    spec = plan.Explanation(**{"background": 30, "rows": 20, **(spec or {})})
    return explain(network, preprocessing, fit, table, table, spec, 0)


def test_deep_has_the_closed_form_of_a_linear_network():
    table, targets = mixed()
    preprocessing, target = fitted(table, targets["binary"])
    network = nn.Linear(preprocessing.width, 1)
    spec = plan.Explanation(method="deep", background=1000, rows=1000)
    found = explain(network, preprocessing, target, table, table, spec, 0)
    dense = preprocessing(preprocessing.encode(table)).double().numpy()
    terms = (dense - dense.mean(axis=0)) * network.weight.detach().double().numpy()
    for i, name in enumerate(found.columns):
        expected = terms[:, preprocessing.features.blocks[name]].sum(
            axis=1
        )  # one-hot is one column
        np.testing.assert_allclose(found.values[:, i, 0], expected, atol=1e-9)
    assert found.values.shape == (120, 3, 1)


def test_deep_is_what_shap_gives():
    table, targets = mixed()
    table, targets = table.slice(0, 40), {name: c.slice(0, 40) for name, c in targets.items()}
    preprocessing, target = fitted(table, targets["three"])
    network = network_of(preprocessing, target, norm="batch")
    spec = plan.Explanation(method="deep", background=40, rows=40)
    found = explain(network, preprocessing, target, table, table, spec, 0)
    model = network.double().eval().requires_grad_(False)
    dense = preprocessing(preprocessing.encode(table)).double()
    single = shap.DeepExplainer(model, dense).shap_values(dense, check_additivity=False)
    for i, name in enumerate(found.columns):
        expected = single[:, preprocessing.features.blocks[name]].sum(axis=1)
        np.testing.assert_allclose(found.values[:, i], expected, atol=1e-8)


class Product(nn.Module):
    """A network with interactions of two columns at most."""

    def forward(self, dense):
        size, age, hue = dense[:, :1], dense[:, -1:], dense[:, 1:3].sum(dim=1, keepdim=True)
        return torch.sin(size) * age + 3 * hue * age - size


@pytest.mark.parametrize("network", [Product(), None])
def test_permutation_is_exact_for_interactions_of_two_columns(network):
    """Product has three columns; without it, any network, on two columns."""
    table, targets = mixed()
    table = table if network else table.select(["size", "hue"])
    preprocessing, target = fitted(table, targets["binary"])
    network = network or network_of(preprocessing, target, activation="silu", norm="layer")
    spec = plan.Explanation(method="permutation", background=25, rows=6)
    found = explain(network, preprocessing, target, table.slice(0, 25), table.slice(0, 6), spec, 0)
    dense = preprocessing(preprocessing.encode(table))
    expected = brute_force(network.float().eval(), preprocessing, dense[:25], dense[:6])
    np.testing.assert_allclose(found.values[:, :, 0], expected, atol=1e-5)


@torch.no_grad()
def brute_force(network, preprocessing, background, rows):
    """Shapley values by their definition: the mean contribution over all orders."""
    blocks = list(preprocessing.features.blocks.values())

    def worth(row, shown):
        mixed_in = background.clone()
        for i in shown:
            mixed_in[:, blocks[i]] = row[blocks[i]]
        return network(mixed_in).mean().item()

    values = np.zeros((len(rows), len(blocks)))
    orders = list(itertools.permutations(range(len(blocks))))
    for r, row in enumerate(rows):
        for order in orders:
            for place, i in enumerate(order):
                gain = worth(row, order[: place + 1]) - worth(row, order[:place])
                values[r, i] += gain / len(orders)
    return values


@pytest.mark.parametrize(
    ("model", "method", "limit"),
    [
        ({"activation": "relu"}, "deep", 1e-6),
        ({"activation": "leaky_relu", "norm": "batch"}, "deep", 1e-6),
        ({"activation": "elu"}, "deep", 1e-6),
        ({"activation": "gelu"}, "deep", 1e-6),
        ({"activation": "tanh"}, "deep", 1e-6),
        ({"activation": "sigmoid"}, "deep", 1e-6),
        ({"activation": "silu"}, "deep", 1e-6),
        ({"norm": "layer"}, "gradients", 2e-2),
    ],
)
def test_auto_chooses_what_adds_up(model, method, limit):
    found = explained("three", **model)
    assert found.method == method
    assert found.additivity_error < limit
    total = found.base + found.values.sum(axis=1)
    np.testing.assert_allclose(total, found.prediction, atol=1e-5 if method == "deep" else 1e-2)


class Hidden(nn.Module):
    """Multiplies where DeepSHAP sees only linear modules."""

    def __init__(self, width):
        super().__init__()
        self.first, self.second = nn.Linear(width, 4), nn.Linear(width, 4)

    def forward(self, dense):
        return (self.first(dense) * self.second(dense)).sum(dim=1, keepdim=True)


def test_auto_leaves_deep_when_it_does_not_add_up():
    table, targets = mixed()
    preprocessing, _ = fitted(table, targets["binary"])
    torch.manual_seed(0)
    network = Hidden(preprocessing.width)
    deep = explained(network=network, spec={"method": "deep"})
    assert deep.method == "deep"
    assert deep.additivity_error > 1e-2  # measured, and told
    auto = explained(network=network)
    assert auto.method == "gradients"
    assert auto.additivity_error < 1e-2


def test_the_network_is_left_as_it_was():
    table, targets = mixed()
    preprocessing, target = fitted(table, targets["binary"])
    network = network_of(preprocessing, target).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    explain(network, preprocessing, target, table, table, plan.Explanation(rows=5), 0)
    assert network.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_units():
    binary = explained("binary")
    assert (binary.outputs, binary.unit) == (("yes",), "log-odds")
    assert explained("three").outputs == ("a", "b", "c")
    table, targets = mixed()
    preprocessing, target = fitted(table, targets["value"], "regression")
    network = network_of(preprocessing, target)
    value = explained("value", task="regression", network=network)
    assert (value.outputs, value.unit) == (("outcome",), "units of outcome")
    dense = preprocessing(preprocessing.encode(value.rows))
    expected = target.head()(network.eval()(dense)).detach().numpy()
    np.testing.assert_allclose(value.prediction[:, 0], expected, rtol=1e-5)
    total = value.base + value.values.sum(axis=1)
    np.testing.assert_allclose(total, value.prediction, rtol=1e-9)


def test_samples_are_seeded_and_come_from_their_parts():
    table, targets = mixed()
    preprocessing, target = fitted(table, targets["binary"])
    network = network_of(preprocessing, target)
    spec = plan.Explanation(background=10, rows=5)
    train, test = table.slice(0, 60), table.slice(60)

    def run(seed):
        return explain(network, preprocessing, target, train, test, spec, seed)

    first, again, other = run(1), run(1), run(2)
    np.testing.assert_array_equal(first.values, again.values)
    assert first.rows != other.rows
    sizes = set(test["size"].to_pylist())
    assert len(first.rows) == 5
    assert set(first.rows["size"].to_pylist()) <= sizes


def test_importance_is_the_mean_size_in_falling_order():
    found = explained("three")
    importance = found.importance()
    assert list(importance.values()) == sorted(importance.values(), reverse=True)
    index = found.columns.index("hue")
    assert importance["hue"] == pytest.approx(np.abs(found.values[:, index]).mean())


def test_the_table_holds_rows_and_values(tmp_path):
    found = explained("binary")
    write_table(found, tmp_path / "new" / "shap.parquet")
    table = pq.read_table(tmp_path / "new" / "shap.parquet")
    assert table.column_names == [
        "size", "hue", "age", "shap_size", "shap_hue", "shap_age", "base", "prediction",
    ]  # fmt: skip
    assert table.select(["size", "hue", "age"]) == found.rows
    np.testing.assert_array_equal(table["shap_hue"], found.values[:, 1, 0])
    np.testing.assert_array_equal(table["prediction"], found.prediction[:, 0])


def test_the_table_has_a_row_per_class(tmp_path):
    found = explained("three")
    write_table(found, tmp_path / "shap.parquet")
    table = pq.read_table(tmp_path / "shap.parquet")
    assert table["class"].to_pylist() == ["a", "b", "c"] * 20
    np.testing.assert_array_equal(table["shap_age"], found.values[:, 2].ravel())
    total = sum(table[f"shap_{name}"].to_numpy() for name in found.columns)
    np.testing.assert_allclose(table["base"].to_numpy() + total, table["prediction"], atol=1e-6)


def test_a_raw_column_may_have_a_name_of_ours(tmp_path):
    table, targets = mixed()
    table = table.rename_columns(["base", "shap_base", "prediction"])
    preprocessing, target = fitted(table, targets["binary"])
    network = network_of(preprocessing, target)
    found = explain(network, preprocessing, target, table, table, plan.Explanation(rows=4), 0)
    write_table(found, tmp_path / "shap.parquet")
    names = pq.read_table(tmp_path / "shap.parquet").column_names
    assert len(set(names)) == len(names) == 8
    assert names[3:] == ["shap_base_", "shap_shap_base", "shap_prediction", "base_", "prediction_"]


FIGURES = {
    "binary": {"bar", "beeswarm", "waterfall_high", "waterfall_low", "waterfall_uncertain"},
    "three": {"bar", "beeswarm", "waterfall_certain", "waterfall_uncertain"},
    "value": {"bar", "beeswarm", "waterfall_high", "waterfall_median", "waterfall_low"},
}


@pytest.mark.parametrize("target", FIGURES)
def test_figures(tmp_path, target):
    found = explained(target, task="regression" if target == "value" else "classification")
    before = plt.get_fignums()
    shap_figures(found, tmp_path)
    files = {file.stem.removeprefix("shap_"): file.read_bytes() for file in tmp_path.iterdir()}
    assert files.keys() == FIGURES[target]
    assert all(content.startswith(PNG) and len(content) > 10_000 for content in files.values())
    assert plt.get_fignums() == before


def test_figures_of_difficult_columns(tmp_path):
    moments = pa.array([0, 2**62, None, 10**15] * 5, pa.timestamp("us", "UTC"))
    table = pa.table(
        {
            "price in $": [math.inf, 1.0, None, -2.5] * 5,
            "a = b_{x}^2 $y$": ["$1$", "x = y", None, "z" * 500] * 5,
            "価格 " * 30: moments,
            "empty": pa.array([None] * 20, pa.float64()),
            "yes": [True, False, None, True] * 5,
        }
    )
    preprocessing, target = fitted(table, pa.chunked_array([["$no$", "y"] * 10]))
    network = network_of(preprocessing, target)
    found = explain(network, preprocessing, target, table, table, plan.Explanation(), 0)
    shap_figures(found, tmp_path)
    assert len(list(tmp_path.glob("*.png"))) == 5


@pytest.mark.parametrize("rows", [1, 20])
def test_figures_where_nothing_matters(tmp_path, rows):
    table = pa.table({"a": [1.0] * 20, "b": ["x"] * 20})
    preprocessing, target = fitted(table, pa.chunked_array([["n", "y"] * 10]))
    network = network_of(preprocessing, target)
    spec = plan.Explanation(rows=rows)
    found = explain(network, preprocessing, target, table, table, spec, 0)
    assert found.additivity_error < 1e-9
    assert not found.values.any()
    shap_figures(found, tmp_path)
    assert len(list(tmp_path.glob("*.png"))) == 5


def test_figures_of_many_classes(tmp_path):
    table, _ = mixed()
    classes = pa.chunked_array([[f"class {i % 15}" for i in range(120)]])
    preprocessing, target = fitted(table, classes)
    network = network_of(preprocessing, target)
    spec = plan.Explanation(background=10, rows=10)
    found = explain(network, preprocessing, target, table, table, spec, 0)
    shap_figures(found, tmp_path)
    assert (tmp_path / "shap_bar.png").read_bytes().startswith(PNG)
