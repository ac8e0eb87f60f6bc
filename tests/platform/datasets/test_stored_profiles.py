"""The profile of a stored version, against pandas on the same data."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from pellucid.datasets import profiling
from pellucid.datasets.store import DatasetStore
from pellucid.resources.datasets import Dataset
from pellucid.schema import Role

Add = Callable[..., Dataset]


@pytest.fixture
def frame() -> pd.DataFrame:
    rng = np.random.default_rng(3)
    rows = 3000
    return pd.DataFrame(
        {
            "id": [f"p{i}" for i in range(rows)],
            "n": rng.integers(-5, 90, rows),
            "x": np.where(rng.random(rows) < 0.1, np.nan, rng.normal(size=rows)),
            "flag": rng.random(rows) < 0.3,
            "kind": rng.choice(["a", "b", "c"], rows, p=(0.5, 0.3, 0.2)),
            "when": pd.date_range("2020-01-01", periods=rows, freq="97min"),
            "same": 7,
            "none": np.nan,
        }
    )


@pytest.mark.parametrize("cells_a_query", [profiling._CELLS_A_QUERY, 1])
def test_against_pandas(
    add: Add,
    store: DatasetStore,
    frame: pd.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
    cells_a_query: int,
) -> None:
    monkeypatch.setattr(profiling, "_CELLS_A_QUERY", cells_a_query)
    add(frame.to_csv(index=False), roles={"id": "id", "kind": "sensitive"})
    profiles = {p.name: p for p in store.profile("people")}
    assert list(profiles) == list(frame)
    for name, profile in profiles.items():
        assert profile.rows == 3000
        assert profile.missing == frame[name].isna().sum()
        assert profile.distinct == frame[name].nunique()
    numbers = {n: frame[n].astype(float) for n in ("n", "x", "flag")}
    numbers["when"] = (frame["when"] - pd.Timestamp(0)) / pd.Timedelta(seconds=1)
    for name, series in numbers.items():
        profile = profiles[name]
        assert profile.mean == pytest.approx(series.mean())
        assert profile.deviation == pytest.approx(series.std())
        assert (profile.minimum, profile.maximum) == (series.min(), series.max())
        for q, value in profile.quantiles.items():
            assert value == pytest.approx(series.quantile(float(q)))
    top = [(t.value, t.count) for t in profiles["kind"].top]
    assert top == list(frame["kind"].value_counts().items())
    assert profiles["kind"].role is Role.SENSITIVE
    warnings = {name: profile.warnings for name, profile in profiles.items()}
    assert warnings["id"] == warnings["n"] == []
    assert "constant" in warnings["same"][0]
    assert warnings["none"] == ["all values are missing"]


def test_roles_are_the_versions_own(add: Add, store: DatasetStore, frame: pd.DataFrame) -> None:
    text = frame[["id"]].to_csv(index=False)
    add(text)
    add(text, roles={"id": "id"})
    assert "looks like an id" in store.profile("people@1")[0].warnings[0]
    assert store.profile("people@2")[0].warnings == []
