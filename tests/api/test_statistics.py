"""Counters, and quantiles estimated from them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid_api.engine import statistics
from pellucid_api.engine.statistics import BOUNDS, Histogram, Ledger


@given(st.lists(st.floats(0, 20), min_size=1, max_size=50), st.floats(0, 1))
def test_a_quantile_lies_in_the_bucket_of_the_true_one(seconds, share):
    histogram = Histogram()
    for each in seconds:
        histogram.observe(each)
    found = histogram.quantile(share)
    true = np.quantile(seconds, share, method="inverted_cdf")
    bucket = int(np.searchsorted(BOUNDS, true))
    low, high = ([0.0, *BOUNDS, BOUNDS[-1]][bucket + i] for i in (0, 1))
    assert low <= found <= high or found == pytest.approx(low) or found == pytest.approx(high)


def test_quantiles_are_spread_within_a_bucket():
    histogram = Histogram()
    for _ in range(100):
        histogram.observe(0.03)  # between 25 and 50 ms
    assert histogram.quantile(0.5) == pytest.approx(0.0375)
    assert Histogram().quantile(0.5) is None


def test_versions_that_left_memory_long_ago_are_forgotten(monkeypatch):
    monkeypatch.setattr(statistics, "_KEPT", 2)
    ledger = Ledger()
    first = ledger.of("a", 1)
    first.rows = 7
    for version in (2, 3, 4, 5):
        ledger.of("a", version, present=[1])
    ledger.of("b", 1)
    assert [key for *key, _ in ledger.all()] == [["a", 1], ["a", 3], ["a", 4], ["a", 5], ["b", 1]]
    assert ledger.of("a", 1) is first, "a version that is loaded again counts on"
    assert ledger.loads == {"a": 6, "b": 1}


def test_every_request_ends_once():
    found = Ledger().of("a", 1)
    found.answered(3, 0.1, 0.2)
    found.expired += 1
    assert (found.requests, found.rows) == (2, 3)
    assert found.errors == {
        "invalid": 0, "failed": 0, "refused": 0, "expired": 1, "dropped": 0,
    }  # fmt: skip


def test_a_version_that_is_loaded_again_counts_on():
    ledger = Ledger()
    ledger.of("a", 2).answered(1, 0.1, 0.2)
    ledger.of("a", 1)
    assert ledger.of("a", 2).succeeded == 1
    assert [(name, version) for name, version, _ in ledger.all()] == [("a", 1), ("a", 2)]
    assert ledger.loads == {"a": 3}
