"""Partial dependence and permutation importance through the real preprocessing."""

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.inspection import partial_dependence
from torch import nn

from pellucid.schema import Kind
from pellucid_pipelines.global_explanation.dependence import dependence, records
from pellucid_pipelines.global_explanation.readings import read
from pellucid_pipelines.global_explanation.subject import Subject
from support.explained import data_of


class Curved(nn.Module):
    """Any width; every number acts, and the first two act together."""

    def forward(self, dense: torch.Tensor) -> torch.Tensor:
        turned = torch.sin(dense * torch.arange(1, dense.shape[1] + 1))
        return turned.sum(dim=1, keepdim=True) + dense[:, :1] * dense[:, 1:2]


def numbers(rows=120):
    random = np.random.default_rng(0)
    table = {name: random.normal(3, 2, rows) for name in "abc"}
    return pa.table(table | {"y": random.normal(50, 20, rows)})


class Estimator(RegressorMixin, BaseEstimator):
    """The subject as scikit-learn knows models."""

    def __init__(self, subject, columns):
        self.subject, self.columns = subject, columns
        self.fitted_ = True

    def fit(self, x, y):
        return self

    def predict(self, x):
        table = pa.table(dict(zip(self.columns, x.T, strict=True)))
        return self.subject.response(self.subject.dense(table))[:, 0]


def test_it_is_that_of_scikit_learn():
    examples = data_of(numbers(), "regression")
    subject = Subject.of(Curved(), examples)
    rows = examples.table.select(["a", "b", "c"])
    found = dependence(subject, rows, 1)
    x = np.stack([rows[name].to_numpy() for name in "abc"], axis=1)
    expected = partial_dependence(
        Estimator(subject, "abc"), x, [1], kind="both", method="brute",
        custom_values={1: found.grid},
    )  # fmt: skip
    np.testing.assert_allclose(found.mean[:, 0], expected["average"][0], rtol=1e-6)
    np.testing.assert_allclose(found.curves[..., 0].T, expected["individual"][0], rtol=1e-6)
    assert found.reading.name == "b"
    assert len(found.grid) == 20
    assert (np.diff(found.grid) > 0).all()


def test_centred_curves_start_at_zero_and_spread_only_with_interactions():
    examples = data_of(numbers(), "regression")
    subject = Subject.of(Curved(), examples)
    rows = examples.table.select(["a", "b", "c"])
    alone, together = (dependence(subject, rows, i).centred for i in (2, 0))
    assert not together[0].any()
    np.testing.assert_allclose(alone.std(axis=1), 0, atol=1e-4)
    assert together.std(axis=1).max() > 1


def mixed(rows=60):
    random = np.random.default_rng(1)
    words = random.choice([f"level {i}" for i in range(15)], rows).astype(object)
    words[:3] = None
    days = [datetime(2020, 1 + i % 12, 1, tzinfo=UTC) for i in range(rows)]
    flags = [None if i < 2 else i % 3 == 0 for i in range(rows)]
    return pa.table(
        {
            "word": pa.array(words, pa.string()),
            "day": pa.array(days, pa.timestamp("us", "UTC")),
            "flag": pa.array(flags),
            "whole": pa.array(random.integers(0, 4, rows)),
            "constant": pa.array([1.0] * rows),
            "holes": pa.array([None if i % 5 else float(i) for i in range(rows)]),
            "y": random.choice(["no", "yes"], rows),
        }
    )


def test_every_kind_of_column_has_a_grid_of_its_own_values():
    examples = data_of(mixed(), "classification")
    subject = Subject.of(Curved(), examples)
    rows = examples.take(np.arange(60)).select(subject.columns)
    found = {name: dependence(subject, rows, i) for i, name in enumerate(subject.columns)}
    assert found["constant"] is None
    assert found["whole"].labels == ("0", "1", "2", "3")
    assert found["flag"].labels == ("false", "true", "missing")
    assert found["day"].labels[0] == "2020-01-01"
    assert 2 <= len(found["word"].labels) <= 10
    assert set(found["word"].labels) <= {"missing", *rows["word"].to_pylist()}
    assert len(found["holes"].grid) == 12
    for each in found.values():
        if each is not None:
            assert ((each.curves > 0) & (each.curves < 1)).all(), "probabilities"
            written = records(each, ("yes",))
            assert len(written) == len(each.grid)


def test_a_category_is_set_as_if_it_were_the_rows_own():
    examples = data_of(mixed(), "classification")
    subject = Subject.of(Curved(), examples)
    rows = examples.take(np.arange(60)).select(subject.columns)
    found = dependence(subject, rows, subject.columns.index("flag"))
    all_true = rows.set_column(2, "flag", pa.array([True] * 60))
    expected = subject.response(subject.dense(all_true))
    np.testing.assert_allclose(found.curves[1], expected, rtol=1e-6)


def test_columns_are_read_for_figures():
    table = mixed()
    examples = data_of(table, "classification")
    given = {each.name: each for each in examples.preprocessing.inputs}
    assert given["flag"].kind is Kind.BOOLEAN
    word = read(table["word"], given["word"])
    assert word.levels[-1] == "missing"
    assert len(word.merged(5).levels) == 5
    assert word.merged(5).levels[-1] == "other"
    assert word.merged(5).numbers.max() == 4
    assert len(set(word.groups(3).tolist())) == 4
    infinite = read(pa.chunked_array([[np.inf, 1.0, None]]), given["holes"])
    np.testing.assert_array_equal(infinite.numbers, [np.nan, 1.0, np.nan])


def test_replacing_a_channel_leaves_the_end_of_a_sequence():
    lists = {"a": [[1.0, 2.0, 3.0], [4.0]], "b": [[5.0, 6.0, 7.0], [8.0]], "y": [1.0, 2.0]}
    table = pa.table({k: v * 4 for k, v in lists.items()})
    examples = data_of(table, "regression", "sequence")
    subject = Subject.of(nn.Sequential(nn.Flatten(), nn.Linear(9, 1)), examples)
    dense = subject.dense(table.select(["a", "b"]))
    kept = torch.ones(8, 2, dtype=torch.bool)
    kept[:, 0] = False
    moved = subject.mixed(dense, dense.flip(0), kept)
    assert torch.equal(moved[..., 1:], dense[..., 1:])
    assert torch.equal(moved[1, 1:, 0], torch.zeros(2))
    assert moved[0, 0, 0] == dense[1, 0, 0]
    assert subject.mixed(dense, dense.flip(0), torch.ones_like(kept)).equal(dense)


@pytest.mark.parametrize(
    "network", [nn.Linear(3, 1), nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 1))]
)
def test_the_cost_of_a_row_is_counted(network):
    subject = Subject.of(network, data_of(numbers(), "regression"))
    weights = sum(each.numel() for each in network.parameters())
    assert subject.row_cost == pytest.approx(2 * weights, rel=0.3)
    assert subject.affordable(subject.row_cost * 7.5) == 7
