import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pellucid.raw.sequences import pad

numbers = st.none() | st.floats(-1e6, 1e6)


def test_the_last_steps_are_kept_and_gaps_are_nan():
    padded = pad([[1.0, None, 3.0], [4.0], [], None, [1, 2, 3, 4, 5]], 4)
    expected = [
        [1, np.nan, 3, np.nan],
        [4, np.nan, np.nan, np.nan],
        [np.nan] * 4,
        [np.nan] * 4,
        [2, 3, 4, 5],
    ]
    np.testing.assert_array_equal(padded, expected)
    assert padded.dtype == np.float64


def test_no_rows_are_no_rows():
    assert pad([], 3).shape == (0, 3)


@given(st.lists(st.none() | st.lists(numbers, max_size=7), max_size=6), st.integers(1, 9))
def test_each_row_is_padded_by_itself(lists, steps):
    padded = pad(lists, steps)
    assert padded.shape == (len(lists), steps)
    for row, values in zip(padded, lists, strict=True):
        kept = np.array([np.nan if v is None else v for v in (values or [])[-steps:]], float)
        np.testing.assert_array_equal(row[: len(kept)], kept)
        assert np.isnan(row[len(kept) :]).all()
