"""Rows to arrays: what is taken, and how what is not is told."""

import math
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.bundle import Input
from pellucid.errors import InvalidRows, TooLarge
from pellucid.schema import Kind
from pellucid_api.engine.rows import decode_rows
from support.serving import INPUTS, ROW


def refused(rows, inputs=INPUTS):
    with pytest.raises(InvalidRows) as caught:
        decode_rows(rows, inputs, 100)
    return caught.value


def test_every_kind_becomes_its_array():
    feed = decode_rows([ROW, ROW | {"age": 1.5, "owner": 0}], INPUTS, 100)
    assert feed["age"].tolist() == [41.0, 1.5]
    assert feed["owner"].tolist() == [1.0, 0.0]
    assert feed["since"].tolist() == [1717156800.0] * 2
    assert feed["purpose"].tolist() == ["car", "car"]
    assert [feed[name].dtype.kind for name in ("age", "owner", "since", "purpose")] == [*"fffO"]


def test_null_is_missing_in_every_kind():
    feed = decode_rows([dict.fromkeys(ROW)], INPUTS, 100)
    assert all(math.isnan(feed[name][0]) for name in ("age", "owner", "since"))
    assert feed["purpose"].tolist() == [""]


def test_unseen_categories_pass_through():
    assert decode_rows([ROW | {"purpose": "kite"}], INPUTS, 100)["purpose"].tolist() == ["kite"]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2024-05-31", datetime(2024, 5, 31, tzinfo=UTC)),
        ("2024-05-31T12:30:00", datetime(2024, 5, 31, 12, 30, tzinfo=UTC)),
        ("2024-05-31 12:30:00.000001+02:00", datetime(2024, 5, 31, 10, 30, 0, 1, tzinfo=UTC)),
        ("1969-12-31T23:59:59Z", datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_times_are_seconds_since_1970_utc(text, moment):
    seconds = decode_rows([ROW | {"since": text}], INPUTS, 100)["since"][0]
    assert seconds == moment.timestamp()


def test_a_missing_column_is_named():
    row = {k: v for k, v in ROW.items() if k != "age"}
    error = refused([ROW, row])
    assert error.message == "Row 2: missing 'age' (null stands for a missing value)."
    assert error.where == {"row": 2}
    assert "age, owner, since, purpose" in error.remedy


def test_a_misnamed_column_is_recognised():
    row = {("purpos" if k == "purpose" else k): v for k, v in ROW.items()}
    assert "'purpos' is no input; did you mean 'purpose'?" in refused([row]).message


def test_an_extra_column_is_refused():
    assert "'zzz' is no input." in refused([ROW | {"zzz": 1}]).message


def test_the_same_mistake_in_every_row_is_told_once():
    error = refused([ROW | {"zzz": 1}] * 100)
    assert error.message.count("zzz") == 1


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("age", "42", "send it without quotes: 42."),
        ("age", "old", '"old" is not a finite number'),
        ("age", True, "true is not a finite number; send 1."),
        ("age", [1], "[1] is not a finite number"),
        ("age", 10**400, "is not a finite number"),
        ("age", math.inf, "is not a finite number"),
        ("owner", 2, "2 is not true or false"),
        ("owner", "yes", '"yes" is not true or false'),
        ("since", 1717156800, '1717156800 is not an ISO 8601 date or time, such as "2024-'),
        ("since", "31.5.2024", '"31.5.2024" is not an ISO 8601'),
        ("purpose", 3, 'put it in quotes: "3".'),
        ("purpose", {"a": 1}, '{"a": 1} is not a string'),
    ],
)
def test_a_wrong_value_is_told_with_its_place(column, value, said):
    error = refused([ROW, ROW | {column: value}])
    assert error.message.startswith(f"Row 2, column {column!r}: ")
    assert said in error.message
    assert error.where == {"row": 2, "column": column}


def test_a_hundred_thousand_errors_are_a_few():
    rows = [ROW | {"age": "x", "owner": "x", "since": "x", "purpose": 1}] * 100
    message = refused(rows).message
    assert "Row 1, column 'age'" in message
    assert "99 more rows of this column" in message
    assert len(message) < 1000


@pytest.mark.parametrize("rows", [[], {}, "rows", None, [None], [[1, 2]], [1]])
def test_what_is_no_list_of_objects_is_refused(rows):
    refused(rows)


def test_too_many_rows_are_refused():
    with pytest.raises(TooLarge, match="101 rows are more than 100"):
        decode_rows([ROW] * 101, INPUTS, 100)


@given(
    st.lists(
        st.none() | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53),
        min_size=1,
    )
)
def test_numbers_arrive_exactly(values):
    feed = decode_rows([{"x": value} for value in values], [Input.of("x", Kind.NUMERIC)], 1000)
    expected = [math.nan if value is None else float(value) for value in values]
    np.testing.assert_array_equal(feed["x"], expected)


@given(st.lists(st.none() | st.text(), min_size=1))
def test_strings_arrive_exactly(values):
    feed = decode_rows([{"x": value} for value in values], [Input.of("x", Kind.CATEGORICAL)], 1000)
    assert feed["x"].tolist() == [value or "" for value in values]
