"""Explanations are measured: good ones pass, and what does not explain the network fails."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from pellucid import plan
from pellucid.analysis.explanation_scores import SCORES, failures
from pellucid.plan import Modality
from pellucid_pipelines import architectures
from pellucid_pipelines.explain import Explained, explain
from pellucid_pipelines.explain.attributions import Attribution
from pellucid_pipelines.explain.mixing import Mixing, operations, players_of
from pellucid_pipelines.explain.quality import measure
from pellucid_pipelines.features import Features
from support.inputs import Example, example

NETWORKS = {
    "tabular": plan.Mlp(widths=(16, 8)),
    "image": plan.Cnn(widths=(4, 8), blocks=1),
    "sequence": plan.Transformer(width=8, heads=2, layers=1),
    "text": plan.BagOfWords(width=8, buckets=64),
}


def built(given: Example, modality: Modality) -> nn.Module:
    torch.manual_seed(0)
    target = given.target
    return architectures.build(NETWORKS[modality], given.features, target.outputs, target.link)


def learnt(given: Example, modality: Modality, steps: int = 60) -> nn.Module:
    """A network that has learnt something, so that some players matter more than others."""
    network = built(given, modality)
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    for _ in range(steps):
        raw = network.train()(given.rows.inputs)
        nn.functional.cross_entropy(raw, given.rows.targets).backward()
        optimizer.step()
        optimizer.zero_grad()
    return network.eval()


def explained(given: Example, network: nn.Module, rows: int = 12) -> Explained:
    spec = plan.Explanation(rows=rows, background=10)
    return explain(
        network, given.preprocessing, given.target, given.table.slice(0, 10), given.table, spec, 0
    )


def measured(given: Example, network: nn.Module, found: Explained, seed: int = 0):
    background, weights = given.table.slice(0, 10), np.full(10, 0.1)
    return measure(
        network, given.preprocessing, given.target, found, background, weights, seed
    )  # fmt: skip


@pytest.mark.parametrize("modality", NETWORKS)
def test_every_kind_of_input_is_measured(modality):
    given = example(modality, "multiclass")
    network = learnt(given, modality)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    found = explained(given, network, rows=5)
    scores = measured(given, network, found)
    left_out = {"sensitivity"} if modality == "text" else set()
    assert scores.keys() == SCORES.keys() - left_out
    assert failures(scores, 0.05) == ()
    assert scores["shapley_agreement"] > 0.2
    assert scores["deletion"] > 0.05
    assert scores["insertion"] > 0.05
    assert scores["infidelity"] < 0.3
    assert abs(scores["randomization"]) < 0.5
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_one_output_is_measured_too(task):
    given = example("tabular", task)
    network = built(given, "tabular").eval()
    found = explained(given, network)
    scores = measured(given, network, found)
    assert failures(scores, 1e-4) == ()
    assert scores["relative_gap"] < 1e-6
    assert scores == measured(given, network, found)
    assert scores != measured(given, network, found, seed=1)


class Differences(nn.Module):
    """Says how far a row is from the background, whatever the network."""

    def __init__(self, network, features, background, weights):
        super().__init__()
        self.network, self.outputs = network, network(background).shape[1]
        self.register_buffer("mean", weights @ background)

    def forward(self, inputs, chosen=None, shares=None):
        values = (inputs - self.mean).unsqueeze(-1).expand(-1, -1, self.outputs)
        return self.network(inputs), values, self.mean[: self.outputs]


def test_what_does_not_depend_on_the_network_fails_the_sanity_check():
    given = example("tabular", "multiclass")
    network = learnt(given, "tabular")
    found = explained(given, network)
    module = Differences(
        network, given.features, given.rows.inputs[:10], torch.full((10,), 0.1)
    )  # fmt: skip
    fake = replace(found, attribution=Attribution("deep", "tabular", module))
    scores = measured(given, network, fake)
    assert scores["randomization"] == pytest.approx(1)
    assert failures(scores, 1e-4) == ("randomization",)
    assert scores["infidelity"] > 5 * measured(given, network, found)["infidelity"]


def test_values_that_do_not_add_up_fail():
    given = example("tabular", "multiclass")
    network = built(given, "tabular").eval()
    found = explained(given, network)
    missed = found.values.copy()
    missed[3, 0, 1] += 0.5
    scores = measured(given, network, replace(found, values=missed))
    assert scores["gap"] == pytest.approx(0.5)
    assert failures(scores, 1e-2) == ("relative_gap",)
    broken = measured(given, network, replace(found, values=missed * np.nan))
    assert math.isfinite(broken["relative_gap"])  # JSON knows no other numbers
    assert failures(broken, 1e-2) == ("relative_gap",)


def test_few_columns_have_no_sanity_check_and_a_constant_network_no_curves():
    given = example("tabular", "binary")
    table = given.table.select(["number", "word", "y"])
    fitted = type(given.preprocessing).fit(
        table, [c for c in _columns(given) if c.name in ("number", "word")], plan.Preprocessing()
    )
    given = given._replace(table=table, preprocessing=fitted)
    network = nn.Linear(fitted.features.shape[0], 1).requires_grad_(False)
    scores = measured(given, network, explained(given, network))
    assert "randomization" not in scores
    network.weight.zero_()
    scores = measured(given, network, explained(given, network))
    assert scores.keys() == {"gap", "relative_gap"}


def _columns(given: Example):
    from support.training import schema_of

    return schema_of(given.table, {}).columns


def test_players_of_every_kind_of_input():
    table = Features("tabular", (5,), {"a": slice(0, 2), "b": slice(2, 3), "c": slice(3, 5)})
    np.testing.assert_array_equal(players_of(table), [0, 0, 1, 2, 2])
    steps = players_of(Features("sequence", (3, 2)))
    np.testing.assert_array_equal(steps, [[0, -1], [1, -1], [2, -1]])
    cells = players_of(Features("image", (3, 14, 28)))
    assert cells.shape == (3, 14, 28)
    assert cells.max() == 48
    np.testing.assert_array_equal(cells[0], cells[2])
    np.testing.assert_array_equal(np.bincount(cells[0].ravel()), np.full(49, 2 * 4))
    frames = players_of(Features("image", (6, 1, 3, 9)))
    assert frames.max() == 4 * 3 * 7 - 1
    np.testing.assert_array_equal(frames[0], frames[1])


@pytest.mark.parametrize("modality", ["sequence", "text"])
def test_what_a_row_has_not_is_no_player(modality):
    given = example(modality, "multiclass")
    network = learnt(given, modality).requires_grad_(False)
    inputs = given.rows.inputs
    real = inputs[..., -1] > 0.5 if modality == "sequence" else inputs != 0
    short = int(real.sum(dim=1).argmin())
    mixing = Mixing(network, given.features, inputs[:10], torch.full((10,), 0.1))
    worth, players = mixing.game(inputs[short], 1)
    np.testing.assert_array_equal(players, real[short].nonzero()[:, 0])
    everything = worth(np.ones((1, len(players)), np.bool_))
    assert everything[0] == pytest.approx(float(network(inputs[short : short + 1])[0, 1]), rel=1e-4)


def test_an_empty_text_can_be_measured():
    given = example("text", "multiclass")
    network = learnt(given, "text").requires_grad_(False)
    mixing = Mixing(network, given.features, given.rows.inputs[:4], torch.full((4,), 0.25))
    empty = torch.zeros_like(given.rows.inputs[0])
    assert len(mixing.game(empty, 0).players) == len(empty)


def test_a_network_costs_what_it_computes():
    rows = torch.zeros(3, 200)
    features = Features.tabular(200)
    wide = operations(nn.Linear(200, 1000), features, rows)
    assert wide == pytest.approx(2 * 200 * 1000, rel=0.2)
    assert operations(nn.Linear(200, 10_000), features, rows) == pytest.approx(10 * wide, rel=0.2)
    steps = Features("sequence", (20, 200))
    recurrent = nn.Sequential(nn.GRU(200, 64))
    cost = operations(recurrent, steps, torch.zeros(1, 20, 200))
    size = sum(each.numel() for each in recurrent.parameters())
    assert cost > 2 * 20 * size
