"""A database with the tables, and nothing in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import pellucid.db.tables  # noqa: F401
from pellucid.db.base import Base
from pellucid.db.session import Database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'alerts.db'}")
    Base.metadata.create_all(database.engine)
    yield database
    database.close()
