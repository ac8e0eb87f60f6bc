from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pellucid.datasets.store import DatasetStore
from pellucid.db import tables  # noqa: F401  # fills the metadata
from pellucid.db.base import Base
from pellucid.db.session import Database
from pellucid.resources.datasets import Dataset


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def store(home: Path) -> DatasetStore:
    database = Database(f"sqlite:///{home / 'pellucid.db'}")
    Base.metadata.create_all(database.engine)
    return DatasetStore(home, database)


Add = Callable[..., Dataset]
Read = Callable[..., pa.Table]


@pytest.fixture
def add(store: DatasetStore, tmp_path: Path) -> Add:
    """Register bytes or text as a file of a name; the version."""

    def adding(content: str | bytes, filename: str = "people.csv", **options: object) -> Dataset:
        path = tmp_path / filename
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        name = str(options.pop("name", "people"))
        return store.add(path, name=name, **options)[0]  # type: ignore[arg-type]

    return adding


@pytest.fixture
def read(store: DatasetStore, add: Add) -> Read:
    """Register bytes or text; the canonical table."""

    def reading(content: str | bytes, filename: str = "people.csv", **options: object) -> pa.Table:
        return pq.read_table(store.path(add(content, filename, **options).sha256))

    return reading
