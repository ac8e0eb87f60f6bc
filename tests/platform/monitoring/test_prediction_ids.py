"""Ids, many at a time, are those that the service gives out one by one."""

import uuid

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.monitoring import ids
from pellucid_api.engine.answers import PredictionIds, prediction_ids

FIRSTS = st.integers(0, 2**122 - 100) | st.integers(1, 2**60 - 1).map(lambda high: (high << 62) - 3)


@given(st.lists(st.tuples(FIRSTS, st.integers(1, 9)), min_size=1, max_size=5))
def test_the_ids_of_runs_of_numbers(runs: list[tuple[int, int]]) -> None:
    words = ids.from_numbers([first for first, _ in runs], np.array([count for _, count in runs]))
    expected = [each for first, count in runs for each in prediction_ids(first, count)]
    array = ids.to_arrow(words)
    assert [ids.text(each) for each in array.to_pylist()] == expected
    assert np.array_equal(ids.from_arrow(array), words)
    assert np.array_equal(ids.from_arrow(array.slice(1)), words[1:])
    assert ids.hours(words).tolist() == [ids.hour_of(uuid.UUID(each)) for each in expected]


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 1.0])
def test_samples_have_their_share_and_contain_each_other(share: float) -> None:
    give = PredictionIds()
    many = [give.reserve(20) for _ in range(1000)]
    words = ids.from_numbers(many, np.full(1000, 20))
    chosen = ids.sampled(words, share)
    deviation = 5 * np.sqrt(share * (1 - share) / len(words))
    assert chosen.mean() == pytest.approx(share, abs=deviation)
    assert np.array_equal(chosen, ids.sampled(words, share))
    assert (ids.sampled(words, min(1.0, share * 2)) >= chosen).all()
