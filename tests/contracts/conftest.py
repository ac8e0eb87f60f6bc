"""A job queue on each database, emptied before every test."""

from collections.abc import Iterator

import pytest

from pellucid.db.session import Database
from pellucid.db.tables.jobs import JobEventRow, JobRow
from pellucid.db.upgrade import upgrade
from pellucid.jobs.queue import JobQueue


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    if request.param == "sqlite":
        found = f"sqlite:///{tmp_path_factory.mktemp('queue') / 'jobs.db'}"
    else:
        found = request.getfixturevalue("postgres_url")
    upgrade(found)
    return found


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    database = Database(url)
    with database.transaction() as session:
        session.execute(JobEventRow.__table__.delete())
        session.execute(JobRow.__table__.delete())
    yield database
    database.close()


@pytest.fixture
def queue(database: Database) -> JobQueue:
    return JobQueue(database, max_attempts=3)
