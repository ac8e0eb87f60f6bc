import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pellucid.errors import InvalidData, InvalidPlan
from pellucid_pipelines.rows import Rows
from pellucid_pipelines.tensors import Target, balanced, loss_weights, row_weights, seed_of


def column(values, type=None):
    return pa.chunked_array([pa.array(values, type)])


def fit(values, task="classification", positive=None, type=None):
    return Target.fit(column(values, type), "y", task, positive)


def test_integer_classes_are_sorted_and_the_last_is_positive():
    target = fit([2, 1, 2, 1])
    assert (target.classes, target.positive, target.outputs) == ((1, 2), 1, 1)
    assert target.encode(column([1, 2])).tolist() == [0.0, 1.0]
    assert target.truth(column([2, 1])).tolist() == [1, 0]


def test_boolean_classes_are_named_and_the_positive_one_can_be_chosen():
    target = fit([True, False], positive="false")
    assert (target.classes, target.positive) == (("false", "true"), 0)
    assert target.encode(column([True, False])).tolist() == [0.0, 1.0]
    assert target.truth(column([True, False])).tolist() == [1, 0]


def test_three_classes_are_indices():
    target = fit(["b", "c", "a"])
    assert (target.classes, target.positive, target.outputs) == (("a", "b", "c"), None, 3)
    encoded = target.encode(column(["c", "a"]))
    assert encoded.dtype == torch.int64
    assert encoded.tolist() == [2, 0]


def test_regression_is_standardised_and_the_head_undoes_it():
    values = np.array([1e6, 1e6 + 10, 1e6 + 30])
    target = fit(values, "regression")
    encoded = target.encode(column(values))
    assert encoded.mean().item() == pytest.approx(0, abs=1e-6)
    assert encoded.square().mean().item() == pytest.approx(1, rel=1e-6)
    np.testing.assert_allclose(target.head()(encoded[:, None]).numpy(), values, rtol=1e-7)


@pytest.mark.parametrize("positive", ["0", "1"])
def test_the_binary_head_gives_probabilities_in_class_order(positive):
    target = fit([0, 1], positive=positive)
    raw = torch.tensor([[3.0], [-1.0]])
    probabilities = target.head()(raw)
    assert torch.equal(probabilities[:, target.positive], torch.sigmoid(raw[:, 0]))
    assert torch.allclose(probabilities.sum(1), torch.ones(2))


def test_the_softmax_head():
    raw = torch.randn(4, 3)
    assert torch.equal(fit([0, 1, 2]).head()(raw), raw.softmax(1))


@pytest.mark.parametrize(
    ("values", "task", "message"),
    [
        ([1, None, 2], "classification", "1 of 3 values are missing"),
        ([1, 1], "classification", "one value only, 1"),
        ([2.5, 2.5], "regression", "one value only, 2.5"),
        ([1.0, float("inf")], "regression", "infinite"),
        ([1.0, float("nan")], "regression", "infinite or not a number"),
    ],
)
def test_a_target_that_cannot_be_learnt(values, task, message):
    with pytest.raises(InvalidData, match=message) as caught:
        fit(values, task)
    assert caught.value.where == {"column": "y"}


def test_no_rows():
    with pytest.raises(InvalidData, match="no rows"):
        fit([], type=pa.int64())


def test_a_class_that_only_held_out_rows_have():
    with pytest.raises(InvalidData, match=r"2 rows held out .* such as 'c'"):
        fit(["a", "b"]).truth(column(["a", "c", "c"]))


@pytest.mark.parametrize(("values", "positive"), [([0, 1], "2"), ([0, 1, 2], "1")])
def test_a_positive_class_that_is_not_one_of_two(values, positive):
    with pytest.raises(InvalidPlan) as caught:
        fit(values, positive=positive)
    assert caught.value.where == {"path": "positive_class"}
    assert "0, 1" in caught.value.remedy


@given(rows=st.integers(1, 300), size=st.integers(1, 64), epoch=st.integers(0, 5))
def test_an_epoch_has_every_row_once_in_even_batches(rows, size, epoch):
    inputs = torch.arange(rows, dtype=torch.float32)[:, None]
    whole = Rows(inputs, inputs[:, 0])
    batches = list(whole.batches(size, seed=3, epoch=epoch))
    sizes = [len(batch) for batch in batches]
    assert len(batches) == whole.steps(size)
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1
    assert sorted(torch.cat([batch.targets for batch in batches]).tolist()) == list(range(rows))


def test_the_order_depends_on_seed_and_epoch_only():
    rows = Rows(torch.zeros(50, 1), torch.arange(50.0))

    def order(seed, epoch):
        torch.manual_seed(np.random.default_rng().integers(1000))
        return [batch.targets.tolist() for batch in rows.batches(8, seed=seed, epoch=epoch)]

    assert order(0, 1) == order(0, 1)
    assert order(0, 1) != order(0, 2)
    assert order(0, 1) != order(1, 1)


def test_seeds_differ_by_purpose():
    assert seed_of("order", 1, 2) != seed_of("epoch", 1, 2) != seed_of("epoch", 1, 3)


def test_weights_of_rows_and_classes_multiply_and_have_mean_one():
    targets = torch.tensor([0.0, 0.0, 0.0, 1.0])
    assert balanced(targets).tolist() == pytest.approx([4 / 6, 2.0])
    weights = loss_weights(targets, np.array([1.0, 1.0, 2.0, 4.0]), balanced(targets))
    expected = np.array([1, 1, 2, 4]) * np.array([4 / 6, 4 / 6, 4 / 6, 2])
    np.testing.assert_allclose(weights, expected / expected.mean(), rtol=1e-6)
    assert loss_weights(targets, None, None) is None


@pytest.mark.parametrize("values", [[1.0, -1.0], [0.0, 0.0], [1.0, None], [1.0, float("inf")]])
def test_weights_that_cannot_be_used(values):
    with pytest.raises(InvalidData) as caught:
        row_weights(column(values), "w")
    assert caught.value.where == {"column": "w"}


def test_lists_are_a_forecast_of_one_scale():
    column = pa.chunked_array([[[1.0, 2.0, 3.0]], [[4.0, 5.0, 6.0]]])
    target = Target.fit(column, "y", "regression", None)
    assert (target.outputs, target.steps, target.link) == (3, 3, "identity")
    assert target.mean == 3.5
    np.testing.assert_array_equal(target.truth(column), [[1, 2, 3], [4, 5, 6]])
    encoded = target.encode(column)
    assert encoded.shape == (2, 3)
    np.testing.assert_allclose(target.head()(encoded), [[1, 2, 3], [4, 5, 6]], rtol=1e-6)
    one = Target.fit(pa.chunked_array([[[1.0], [2.0]]]), "y", "regression", None)
    assert one.head()(torch.zeros(2, 1)).shape == (2, 1)


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ([[1.0, 2.0], [3.0]], "has 1 values, not 2"),
        ([[], []], "is empty"),
        ([[1.0, None], [3.0, 4.0]], "missing"),
        ([[1.0, float("inf")], [3.0, 4.0]], "infinite"),
        ([[1.0, 1.0], [1.0, 1.0]], "one value only"),
    ],
)
def test_lists_that_are_no_forecast_are_refused(lists, message):
    with pytest.raises(InvalidData, match=message):
        Target.fit(
            pa.chunked_array([pa.array(lists, pa.list_(pa.float64()))]), "y", "regression", None
        )
