"""What counterfactuals are told of each column."""

from datetime import UTC, datetime

import pyarrow as pa
import pytest

from pellucid.bundle import Input
from pellucid.schema import Column, Constraint, Kind, Schema, StorageType
from pellucid_pipelines.explain.reference import reference

MOMENTS = [datetime(2024, 1, day, tzinfo=UTC) for day in (1, 2, 3)]
TABLE = pa.table(
    {
        "count": pa.array([1, 5, None, 2] * 30),
        "amount": pa.array([0.5, 1.5, float("nan"), None] * 30),
        "flag": pa.array([True, None, False, False] * 30),
        "since": pa.array([*MOMENTS, None] * 30, pa.timestamp("us", "UTC")),
        "job": pa.array(["b", "a", "a", None] * 29 + ["rare", "a", "b", "b"]),
        "empty": pa.array([None] * 120, pa.float64()),
        "curve": pa.array([[1.0, 2.0]] * 120),
    }
)
TYPES = ("int64", "float64", "bool", "timestamp[us]", "string", "float64", "list<float64>")
INPUTS = (
    Input.of("count", Kind.NUMERIC),
    Input.of("amount", Kind.NUMERIC),
    Input.of("flag", Kind.BOOLEAN),
    Input.of("since", Kind.DATETIME),
    Input.of("job", Kind.CATEGORICAL, ("a", "b")),
    Input.of("empty", Kind.NUMERIC),
    Input.of("curve", Kind.SEQUENCE, shape=(2,)),
)


def found(**constraints):
    columns = [
        Column(name=name, type=StorageType(kind), constraint=constraints.get(name))
        for name, kind in zip(TABLE.column_names, TYPES, strict=True)
    ]
    return reference(TABLE, INPUTS, Schema(columns=tuple(columns)))


def test_numbers_by_their_quantiles():
    told = found()
    count, amount, flag = told["count"], told["amount"], told["flag"]
    assert set(count.quantiles) == {1.0, 2.0, 5.0}
    assert len(count.quantiles) == 21
    assert (count.whole, amount.whole, flag.whole) == (True, False, True)
    assert count.mad == pytest.approx((1 + 3 + 0) / 3)
    assert (amount.quantiles[0], amount.quantiles[-1], amount.mad) == (0.5, 1.5, 0.5)
    assert set(flag.quantiles) == {0.0, 1.0}
    assert told["empty"].quantiles == ()


def test_known_categories_the_most_frequent_first():
    assert found()["job"].categories == ("a", "b")


def test_times_are_seconds_and_stay_unless_they_may_change():
    told = found()["since"]
    assert told.change == "never"
    assert (told.quantiles[0], told.quantiles[-1]) == tuple(
        each.timestamp() for each in (MOMENTS[0], MOMENTS[-1])
    )
    assert found(since=Constraint())["since"].change == "free"


def test_constraints_are_told():
    told = found(count=Constraint(change="increase", low=2), job=Constraint(change="never"))
    assert (told["count"].change, told["count"].low, told["count"].high) == ("increase", 2, None)
    assert told["job"].change == "never"


def test_lists_have_none():
    assert "curve" not in found()
