"""scikit-learn's sets, registered: shapes, targets, roles."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pellucid.datasets.bundled import NAMES, load
from pellucid.datasets.store import DatasetStore
from pellucid.errors import NotFound
from pellucid.schema import Kind, Role

SHAPES = {
    "breast_cancer": (569, 31, 2, Kind.CATEGORICAL),
    "wine": (178, 14, 3, Kind.CATEGORICAL),
    "digits": (1797, 65, 10, Kind.NUMERIC),
    "diabetes": (442, 11, 214, Kind.NUMERIC),
}


@pytest.mark.parametrize("name", NAMES)
def test_registered(store: DatasetStore, tmp_path: Path, name: str) -> None:
    table, roles = load(name)
    pq.write_table(table, tmp_path / f"{name}.parquet")
    version, new = store.add(tmp_path / f"{name}.parquet", name=name, roles=roles)
    (target,) = version.data_schema.having(Role.TARGET)
    distinct = {p.name: p.distinct for p in store.profile(name)}[target.name]
    assert new
    assert (version.rows, len(version.data_schema.columns), distinct, target.kind) == SHAPES[name]


def test_an_unknown_one() -> None:
    with pytest.raises(NotFound, match="breast_cancer, wine, digits, diabetes"):
        load("iris")
