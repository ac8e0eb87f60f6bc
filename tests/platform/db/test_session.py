"""What no column can hold is the caller's mistake, whoever finds it out."""

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from sqlalchemy import select

from pellucid.db.base import Base
from pellucid.db.session import Database
from pellucid.db.tables.monitoring import MonitoringResultRow as Row
from pellucid.errors import InvalidInput

EAST, WEST = timezone(timedelta(hours=14)), timezone(timedelta(hours=-14))


@pytest.mark.parametrize(
    "fits",
    [
        Row.version == 10**30,
        Row.id < 10**40,
        Row.end > datetime(1, 1, 1, tzinfo=EAST),
        Row.start < datetime(9999, 12, 31, 23, tzinfo=WEST),
    ],
    ids=str,
)
def test_what_no_column_holds_is_invalid_input(fits: Any, any_database: Database) -> None:
    with (
        pytest.raises(InvalidInput, match="cannot hold a value"),
        any_database.reading() as session,
    ):
        session.scalars(select(Row).where(fits)).all()


@pytest.fixture(params=["sqlite", "postgresql"])
def any_database(request: pytest.FixtureRequest, tmp_path: Any) -> Any:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'pellucid.db'}"
    else:
        url = request.getfixturevalue("postgres_server").create_database()
    database = Database(url)
    Base.metadata.create_all(database.engine)
    yield database
    database.close()
