"""Feeds are joined as `np.concatenate` would, whatever their arrays are."""

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid_api.engine.feeds import Feed, concatenated, join

TYPES = [np.float32, np.float64, np.int8, np.bool_, np.float16, object, ml_dtypes.bfloat16]


@given(
    st.sampled_from(TYPES),
    st.lists(st.integers(0, 5), min_size=1, max_size=6),
    st.sampled_from([(), (1,), (3,), (2, 2), (900,)]),
    st.integers(1, 3),
)
def test_arrays_are_concatenated(
    dtype: type, rows: list[int], shape: tuple[int, ...], step: int
) -> None:
    chance = np.random.default_rng(len(rows))
    arrays = [chance.integers(0, 9, (count * step, *shape)).astype(dtype)[::step] for count in rows]
    found, wanted = concatenated(arrays), np.concatenate(arrays)
    assert found.dtype == wanted.dtype
    assert np.array_equal(found, wanted)


@pytest.mark.parametrize("counts", [[1], [1, 1, 1], [2, 1, 3], [1, 2], [2, 0]])
@pytest.mark.parametrize("columns", [0, 1, 4])
def test_feeds_are_joined(counts: list[int], columns: int) -> None:
    chance = np.random.default_rng(0)
    feeds = [
        Feed(
            count,
            chance.random((columns, count)),
            chance.integers(0, 9, (columns, count)).astype(str).astype(object),
            (chance.random((count, 3)),),
        )
        for count in counts
    ]
    found = join(feeds)
    assert found.rows == sum(counts)
    assert np.array_equal(found.numbers, np.concatenate([f.numbers for f in feeds], axis=1))
    assert np.array_equal(found.strings, np.concatenate([f.strings for f in feeds], axis=1))
    assert np.array_equal(found.tensors[0], np.concatenate([f.tensors[0] for f in feeds]))
