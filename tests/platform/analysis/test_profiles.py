"""Profiles agree with pandas, whatever the batches; and with the stored file."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.analysis.profiles import (
    QUANTILES,
    profile_numbers,
    profile_strings,
    warnings_of,
)
from pellucid.resources.datasets import ColumnProfile
from pellucid.schema import Kind, Role, StorageType

FLOATS = st.floats(-1e9, 1e9, allow_nan=False).map(lambda x: round(x, 3) + 0.0)


def batches(values: list[object], size: int) -> list[tuple[np.ndarray, np.ndarray]]:  # type: ignore[type-arg]
    distinct, counts = np.unique(np.array(values), return_counts=True)
    return [(distinct[i : i + size], counts[i : i + size]) for i in range(0, len(distinct), size)]


@given(st.lists(FLOATS, min_size=1, max_size=60), st.integers(1, 9), st.integers(0, 3))
def test_numbers_agree_with_pandas(values: list[float], size: int, missing: int) -> None:
    profile = profile_numbers(
        "x",
        StorageType.FLOAT64,
        batches([*values], size),
        rows=len(values) + missing,
        present=len(values),
    )
    series = pd.Series(values)
    assert profile.missing == missing
    assert profile.distinct == series.nunique()
    assert profile.minimum == series.min()
    assert profile.maximum == series.max()
    assert profile.mean == pytest.approx(series.mean(), rel=1e-9, abs=1e-6)
    if len(values) > 1:
        assert profile.deviation == pytest.approx(series.std(), rel=1e-6, abs=1e-5)
    else:
        assert profile.deviation is None
    expected = series.quantile(list(QUANTILES)).to_numpy()
    assert list(profile.quantiles.values()) == pytest.approx(expected, rel=1e-9, abs=1e-6)
    assert list(profile.quantiles) == [str(q) for q in QUANTILES]


@given(st.lists(st.integers(-3, 3), min_size=1, max_size=60), st.integers(1, 4))
def test_frequent_integers_agree_with_pandas(values: list[int], size: int) -> None:
    profile = profile_numbers(
        "n", StorageType.INT64, batches([*values], size), rows=len(values), present=len(values)
    )
    counts = pd.Series(values).value_counts()
    expected = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    assert [(top.value, top.count) for top in profile.top] == [(str(v), n) for v, n in expected]


@given(st.lists(st.text(max_size=2), min_size=1, max_size=60), st.integers(1, 4))
def test_strings_agree_with_pandas(values: list[str], size: int) -> None:
    array = sorted({*values})
    counted = [(v, values.count(v)) for v in array]
    parts = [counted[i : i + size] for i in range(0, len(counted), size)]
    profile = profile_strings(
        "s",
        ((np.array([v for v, _ in p], object), np.array([n for _, n in p])) for p in parts),
        rows=len(values),
        present=len(values),
    )
    assert profile.distinct == pd.Series(values, dtype=object).nunique()
    expected = sorted(counted, key=lambda item: (-item[1], item[0]))[:10]
    assert [(top.value, top.count) for top in profile.top] == expected


def test_booleans_and_long_texts_are_shown_readably() -> None:
    flags = [(np.array([False, True]), np.array([1, 3]))]
    profile = profile_numbers("b", StorageType.BOOL, flags, rows=4, present=4)
    assert [(t.value, t.count) for t in profile.top] == [("true", 3), ("false", 1)]
    assert profile.mean == 0.75
    long = [(np.array(["x" * 999], object), np.array([1]))]
    assert len(profile_strings("s", long, rows=1, present=1).top[0].value) < 250


def test_a_column_without_values() -> None:
    for profile in (
        profile_numbers("x", StorageType.FLOAT64, (), rows=3, present=0),
        profile_strings("x", (), rows=3, present=0),
    ):
        assert (profile.missing, profile.distinct, profile.top) == (3, 0, [])
        assert profile.minimum is profile.mean is profile.deviation is None
        assert profile.quantiles == {}


@pytest.mark.parametrize(
    ("kind", "distinct", "missing", "role", "says"),
    [
        (StorageType.INT64, 50, 0, Role.FEATURE, "looks like an id"),
        (StorageType.STRING, 90, 10, Role.FEATURE, "looks like an id"),
        (StorageType.STRING, 100, 0, Role.ID, None),
        (StorageType.FLOAT64, 100, 0, Role.FEATURE, None),
        (StorageType.STRING, 5, 0, Role.FEATURE, None),
        (StorageType.STRING, 1, 0, Role.FEATURE, "constant"),
        (StorageType.STRING, 0, 100, Role.FEATURE, "all values are missing"),
        (StorageType.INT64, 3, 60, Role.FEATURE, "60% of the values are missing"),
    ],
)
def test_warnings(
    kind: StorageType, distinct: int, missing: int, role: Role, says: str | None
) -> None:
    rows = distinct if says == "looks like an id" and not missing else 100
    profile = ColumnProfile(
        name="x", type=kind, kind=kind.kind, role=role, rows=rows, missing=missing,
        distinct=distinct,
    )  # fmt: skip
    found = warnings_of(profile)
    assert bool(found) == bool(says)
    if says:
        assert says in found[0]


def test_very_many_categories() -> None:
    profile = ColumnProfile(
        name="x", type=StorageType.STRING, kind=Kind.CATEGORICAL, role=Role.FEATURE,
        rows=1000, missing=0, distinct=300,
    )  # fmt: skip
    assert warnings_of(profile) == ["300 categories"]
