"""Which rows explanations compare to."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid_pipelines.explain.background import choose


def numbers(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, 3))


@given(
    st.integers(1, 80),
    st.integers(1, 20),
    st.sampled_from(["stratified", "kmeans", "random"]),
    st.integers(0, 5),
)
@settings(max_examples=40, deadline=None)
def test_rows_are_distinct_and_weights_add_up(count, wanted, choice, seed):
    truth = np.arange(count) % 3
    rows, weights = choose(numbers(count), truth, wanted, choice, seed)
    assert len(rows) == len(weights) == len(set(rows.tolist()))
    assert 1 <= len(rows) <= min(count, wanted)
    assert (np.diff(rows) > 0).all()
    assert weights.sum() == pytest.approx(1)
    assert (weights > 0).all()
    again, _ = choose(numbers(count), truth, wanted, choice, seed)
    np.testing.assert_array_equal(rows, again)


def test_strata_get_their_share():
    truth = np.repeat([0, 1, 2], [800, 150, 50])
    rows, _ = choose(numbers(1000), truth, 100, "stratified", 0)
    assert np.abs(np.bincount(truth[rows]) - [80, 15, 5]).max() <= 1


def test_numbers_are_strata_of_a_tenth_each():
    truth = np.random.default_rng(0).lognormal(size=1000)
    rows, _ = choose(numbers(1000), truth, 50, "stratified", 0)
    edges = np.quantile(truth, np.arange(1, 10) / 10)
    assert np.bincount(np.searchsorted(edges, truth[rows])).tolist() == [5] * 10


def test_k_means_weighs_clusters():
    far = np.concatenate([np.zeros((90, 2)), np.full((10, 2), 50.0)])
    inputs = far + np.random.default_rng(0).normal(size=(100, 2))
    rows, weights = choose(inputs, np.zeros(100), 2, "kmeans", 0)
    assert sorted(zip(rows >= 90, weights.round(2), strict=True)) == [(False, 0.9), (True, 0.1)]
