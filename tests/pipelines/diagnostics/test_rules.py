"""Rules over given numbers, and their parts against independent implementations."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from torch import nn

from pellucid_pipelines.diagnostics import KINDS, curves, found, inputs, labels, layers, probes
from pellucid_pipelines.features import Features

DOCS = Path(__file__).parents[3] / "docs" / "howto" / "diagnose.md"


def codes(findings):
    return [finding.code for finding in findings]


def test_the_documentation_lists_every_finding_with_its_remedy():
    lines = DOCS.read_text(encoding="utf-8").splitlines()
    rows = [line.split(" | ") for line in lines if re.match(r"\| `\w+` \|", line)]
    listed = {row[0].strip("| `"): (row[1], row[2].removesuffix(" |")) for row in rows}
    assert listed == {code: (kind.meaning, kind.remedy) for code, kind in KINDS.items()}


def test_every_remedy_names_keys_of_the_plan():
    from pellucid.plan import Plan

    for code, kind in KINDS.items():
        assert kind.path.split(".")[0] in Plan.model_fields, code
        assert "`" in kind.remedy, code


def test_a_finding_is_plain_data():
    finding = found("overfitting", "It rose.", epoch=3, evidence={"rise": np.float32(0.5)})
    assert finding.as_dict() == {
        "code": "overfitting",
        "severity": "warning",
        "message": "It rose.",
        "remedy": KINDS["overfitting"].remedy,
        "epoch": 3,
        "evidence": {"rise": 0.5},
    }


@given(st.integers(0, 2**32 - 1), st.integers(0, 3))
@settings(max_examples=30, deadline=None)
def test_the_area_under_the_curve_is_that_of_scikit_learn(seed, decimals):
    random = np.random.default_rng(seed)
    score = random.normal(size=60).round(decimals)  # with ties
    truth = random.random(60) < 0.4
    truth[:2] = True, False
    assert inputs._auc(score, truth) == pytest.approx(roc_auc_score(truth, score))


@pytest.mark.parametrize(
    ("module", "values", "expected"),
    [
        (nn.ReLU(), torch.tensor([[0.0, 1.0], [0.0, 0.0]]), (0.75, 0.5, 0.0)),
        (nn.Tanh(), torch.tensor([[0.99, 0.0], [-0.98, 0.5]]), (0.0, 0.0, 0.5)),
        (nn.Sigmoid(), torch.tensor([[0.99, 0.01], [0.5, 0.98]]), (0.0, 0.0, 0.75)),
        (nn.GELU(), torch.zeros(2, 2), (0.0, 0.0, 0.0)),
    ],
)
def test_summaries(module, values, expected):
    found = probes.summary(module, values)
    assert found[:2].tolist() == pytest.approx(
        [values.mean().item(), values.std(correction=0).item()]
    )
    assert tuple(found[2:].tolist()) == pytest.approx(expected)


def test_a_dead_channel_is_dead_in_every_place():
    images = torch.rand(4, 3, 5, 5)
    images[:, 1] = 0
    assert probes.summary(nn.ReLU(), images)[3].item() == pytest.approx(1 / 3)


def some_curves(**changed):
    falling = [0.6, 0.5, 0.4, 0.3, 0.25, 0.22]
    values = {
        "start": 0.7,
        "train": falling,
        "validation": falling,
        "constant_train": 0.69,
        "constant_validation": 0.69,
        "gists": [layers.Gist(step, 0.01, 0.5, "a") for step in (0, 1, 2, 4)],
        "epochs": 6,
        "steps": 100,
        "batch_size": 128,
        "rows": 12_800,
        "validation_rows": 500,
        "weights": 10_000,
    }
    return curves.Curves(**(values | changed))


def all_of(found):
    told = [*curves.too_high(found), *curves.too_low(found), *curves.batches(found)]
    told += curves.learnt(found, set(codes(told)))
    return codes([*told, *curves.overfitting(found, set(codes(told)))])


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, []),
        ({"gists": [layers.Gist(0, 0.9, 0.5, "a")]}, ["learning_rate_too_high"]),
        ({"gists": [layers.Gist(0, 1e-5, 0.5, "a")]}, ["learning_rate_too_low"]),
        ({"steps": 1, "batch_size": 12_800}, ["few_updates"]),
        ({"batch_size": 2}, ["small_batches"]),
        ({"validation": [0.7] * 6}, ["no_signal"]),
        ({"validation": [0.7] * 6, "train": [0.7] * 6}, ["loss_not_falling"]),
        ({"validation": [0.6, 0.5, 0.5, 0.6, 0.9, 1.2]}, ["overfitting"]),
        (
            {"validation": [0.6, 0.5, 0.5, 0.6, 0.9, 1.2], "weights": 10**8},
            ["overfitting", "oversized_model"],
        ),
        ({"validation": [0.7] * 6, "validation_rows": 10}, []),
    ],
)
def test_rules_over_curves(changed, expected):
    assert all_of(some_curves(**changed)) == expected


def test_a_fit_of_one_epoch_breaks_no_rule():
    assert all_of(some_curves(train=[0.5], validation=[0.5], gists=[])) == []


def rows_of(x, y, classes=2):
    return inputs.Rows(x.astype(np.float32), y, classes)


def normal(rows=500, columns=4, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, columns))


def check(x, y, classes=2, held_out=None):
    features = Features.tabular(x.shape[1])
    held_out = normal(100, x.shape[1], seed=9) if held_out is None else held_out
    rest = rows_of(held_out, y[: len(held_out)], classes)
    return codes(inputs.check(rows_of(x, y, classes), rest, features, balanced=False))


def test_rules_over_rows():
    x = normal()
    y = (x[:, 0] + normal(seed=1)[:, 0] > 0).astype(np.int64)
    assert check(x, y) == []
    assert check(x * [1, 1, 1, 1000], y) == ["unscaled_inputs"]
    assert check(np.column_stack([x, y]), y) == ["suspected_leakage"]
    assert check(np.column_stack([x, np.ones(500)]), y) == ["constant_inputs"]
    assert check(x, y, held_out=x[:100]) == ["shared_rows"]
    assert check(x, (np.arange(500) < 5).astype(np.int64)) == ["class_imbalance"]


def test_a_leak_need_not_be_a_straight_line():
    x = normal(2000)
    assert check(x, (np.abs(x[:, 2]) > 1).astype(np.int64)) == ["suspected_leakage"]
    assert check(x, x[:, 1] ** 2, classes=0) == []  # strong, yet bins do not give all of it
    assert check(x, 3 * x[:, 1] + 1, classes=0) == ["suspected_leakage"]
    three = np.digitize(x[:, 3], [-0.5, 0.5])
    assert check(x, three, classes=3) == ["suspected_leakage"]


def test_empty_rows_break_no_rule():
    x = np.zeros((0, 3))
    assert check(normal(3, 3), np.array([0, 1, 0]), held_out=x) == []


@pytest.mark.parametrize(("flipped", "expected"), [(0.0, []), (0.25, ["label_noise"])])
def test_label_noise(flipped, expected):
    random = np.random.default_rng(0)
    score = random.normal(size=1500) * 3
    right = (score > 0).astype(np.int64)
    wrong = random.random(1500) < flipped
    truth = np.where(wrong, 1 - right, right)
    positive = flipped + (1 - 2 * flipped) / (1 + np.exp(-3 * score))
    probabilities = np.column_stack([1 - positive, positive])
    told = list(labels.check(truth, probabilities, np.arange(1500)))
    assert codes(told) == expected
    if told:
        named = [int(n) - 1 for n in re.findall(r"\d+", told[0].message.partition("rows")[2])]
        named = [n for n in named if n < 1500][-6:-1]
        assert wrong[named].mean() > 0.5


def test_classes_that_overlap_are_no_label_noise():
    random = np.random.default_rng(1)
    positive = random.beta(0.8, 0.8, size=1500)
    truth = (random.random(1500) < positive).astype(np.int64)
    probabilities = np.column_stack([1 - positive, positive])
    assert not list(labels.check(truth, probabilities, np.arange(1500)))
