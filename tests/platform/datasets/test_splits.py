"""No row in two parts, no class untrained, no peek into the future, no group on both sides."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from pellucid.datasets.splits import Parts, split_rows
from pellucid.errors import InvalidData, InvalidPlan
from pellucid.plan import GroupSplit, RandomSplit, Split, StratifiedSplit, TimeSplit

SHARES = st.sampled_from([(0.2, 0.2), (0.1, 0.3), (0.45, 0.45), (0.05, 0.05)])


def split(table: pa.Table, how: Split, task: str = "classification", seed: int = 0) -> Parts:
    parts = split_rows(table, how, target="y", task=task, seed=seed)
    together = np.concatenate(parts)
    assert sorted(together) == list(range(table.num_rows))
    for part in parts:
        assert part.dtype == np.int64
        assert len(part)
        assert (np.diff(part) > 0).all()
    if task == "classification":
        y = np.array(table.column("y").to_pylist())
        assert set(y[parts.train]) == set(y)
    return parts


@given(
    st.lists(st.integers(2, 40), min_size=2, max_size=5),
    SHARES,
    st.integers(0, 99),
    st.sampled_from([RandomSplit, StratifiedSplit]),
)
def test_every_class_trains(
    sizes: list[int], shares: tuple[float, float], seed: int, kind: Any
) -> None:
    how = kind(validation=shares[0], test=shares[1])
    y = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    rows = len(y)
    assume(rows - max(1, round(rows * shares[0])) - max(1, round(rows * shares[1])) >= len(sizes))
    parts = split(pa.table({"y": y}), how, seed=seed)
    assert len(parts.test) == max(1, round(rows * shares[1]))
    assert len(parts.validation) == max(1, round(rows * shares[0]))


def test_classes_keep_their_proportions() -> None:
    y = np.random.default_rng(0).choice(["a", "b", "c"], 2000, p=(0.9, 0.07, 0.03))
    parts = split(pa.table({"y": y}), StratifiedSplit())
    for part, share in zip(parts, (0.6, 0.2, 0.2), strict=True):
        for name in "abc":
            assert abs((y[part] == name).sum() - share * (y == name).sum()) < 2


def test_fifths_of_an_amount_keep_their_proportions() -> None:
    y = np.random.default_rng(0).lognormal(size=1000)
    parts = split(pa.table({"y": y}), StratifiedSplit(), "regression")
    fifth = np.searchsorted(np.quantile(y, [0.2, 0.4, 0.6, 0.8]), y)
    for part, share in zip(parts, (0.6, 0.2, 0.2), strict=True):
        assert np.abs(np.bincount(fifth[part]) - share * 200).max() < 2


def test_lists_are_split_by_their_mean() -> None:
    y = np.random.default_rng(0).lognormal(size=(1000, 3))
    parts = split(pa.table({"y": list(y)}), StratifiedSplit(), "regression")
    mean = y.mean(axis=1)
    fifth = np.searchsorted(np.quantile(mean, [0.2, 0.4, 0.6, 0.8]), mean)
    for part, share in zip(parts, (0.6, 0.2, 0.2), strict=True):
        assert np.abs(np.bincount(fifth[part]) - share * 200).max() < 2


def test_the_seed_decides() -> None:
    table = pa.table({"y": np.arange(500) % 3, "g": np.arange(500) % 50})
    for how in (RandomSplit(), StratifiedSplit(), GroupSplit(column="g")):
        once, again, other = (split(table, how, seed=seed).test.tolist() for seed in (1, 1, 2))
        assert once == again != other


@given(st.lists(st.integers(0, 30), min_size=10, max_size=80), SHARES, st.booleans(), st.booleans())
def test_no_row_is_earlier_than_the_part_before(
    times: list[int], shares: tuple[float, float], numeric: bool, coarse: bool
) -> None:
    times = [time // 4 for time in times] if coarse else times
    assume(len(set(times)) >= 3)
    start = datetime(2020, 1, 1, tzinfo=UTC)
    column = times if numeric else [start + timedelta(days=t) for t in times]
    table = pa.table({"t": column, "y": np.arange(len(times), dtype=float)})
    how = TimeSplit(column="t", validation=shares[0], test=shares[1])
    parts = split(table, how, "regression")
    at = np.array(times)
    assert at[parts.train].max() < at[parts.validation].min()
    assert at[parts.validation].max() < at[parts.test].min()


def test_time_shares_are_met_where_times_differ() -> None:
    order = np.random.default_rng(0).permutation(100)
    table = pa.table({"t": order, "y": order * 1.0})
    parts = split(table, TimeSplit(column="t"), "regression")
    assert [len(part) for part in parts] == [60, 20, 20]
    assert sorted(order[parts.test]) == list(range(80, 100))


@given(st.lists(st.integers(1, 30), min_size=4, max_size=30), st.integers(0, 99))
@example([3, 3, 3, 3], 0)  # ties once left a part without any
def test_no_group_in_two_parts(sizes: list[int], seed: int) -> None:
    groups = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    assume(len(groups) > 5)
    table = pa.table({"g": groups.astype(str), "y": np.arange(len(groups)) * 1.0})
    parts = split(table, GroupSplit(column="g"), "regression", seed)
    assert sum(len(set(groups[part])) for part in parts) == len(sizes)


def test_group_shares_are_nearly_met() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), rng.integers(5, 30, 60))
    table = pa.table({"g": groups, "y": rng.integers(0, 2, len(groups))})
    parts = split(table, GroupSplit(column="g"))
    for part, share in zip(parts, (0.6, 0.2, 0.2), strict=True):
        assert abs(len(part) / len(groups) - share) < 0.03


def test_three_very_uneven_groups() -> None:
    groups = np.repeat([0, 1, 2], [90, 5, 5])
    parts = split(pa.table({"g": groups, "y": groups % 2 * 1.0}), GroupSplit(column="g"),
                  "regression")  # fmt: skip
    assert [len(part) for part in parts] == [90, 5, 5]


REFUSED: list[tuple[dict[str, list[Any]], Split, str, type[Exception], str]] = [
    ({"y": [1.0, 2.0]}, RandomSplit(), "regression", InvalidData, "2 rows are too few"),
    ({"y": [0, 1, 0, 1]}, RandomSplit(validation=0.4, test=0.4), "classification",
     InvalidData, "too few to split"),
    ({"y": [0, 0, 1, 1, 2, 2]}, StratifiedSplit(validation=0.3, test=0.4), "classification",
     InvalidData, "No row of the class"),
    ({"y": [1.0, None, 3.0]}, RandomSplit(), "regression", InvalidData, "missing in 1 of 3"),
    ({"y": [1.0, 2.0, 3.0], "t": [1, 1, 2]}, TimeSplit(column="t"), "regression",
     InvalidData, "2 different times"),
    ({"y": [1.0, 2.0, 3.0], "t": [1, None, 2]}, TimeSplit(column="t"), "regression",
     InvalidData, "1 rows have no 't'"),
    ({"y": [1.0, 2.0, 3.0], "t": ["a", "b", "c"]}, TimeSplit(column="t"), "regression",
     InvalidPlan, "neither a datetime nor a number"),
    ({"y": [1.0, 2.0, 3.0]}, TimeSplit(column="t"), "regression", InvalidPlan, "no column 't'"),
    ({"y": ["a"] * 8 + ["b"] * 2, "t": list(range(10))}, TimeSplit(column="t"), "classification",
     InvalidData, "No row of the class 'b'"),
    ({"y": [1.0, 2.0, 3.0], "g": [1, 1, 2]}, GroupSplit(column="g"), "regression",
     InvalidData, "2 groups cannot be dealt out"),
    ({"y": [1.0, 2.0, 3.0], "g": [1, None, 2]}, GroupSplit(column="g"), "regression",
     InvalidData, "1 rows have no 'g'"),
    ({"y": [1.0, 2.0, 3.0], "g": [[1], [2], [3]]}, GroupSplit(column="g"), "regression",
     InvalidPlan, "it holds lists"),
    ({"y": [1.0, 2.0, 3.0], "t": [[1], [2], [3]]}, TimeSplit(column="t"), "regression",
     InvalidPlan, "neither a datetime nor a number"),
    ({"y": [[1.0, 2.0], [1.0], [3.0]]}, RandomSplit(), "regression", InvalidData, "2 and 1"),
]  # fmt: skip


@pytest.mark.parametrize(("columns", "how", "task", "error", "says"), REFUSED)
def test_refused(
    columns: dict[str, list[Any]], how: Split, task: str, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        split_rows(pa.table(columns), how, target="y", task=task, seed=0)
