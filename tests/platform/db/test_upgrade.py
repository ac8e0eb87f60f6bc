"""Migrations make exactly the tables of the code, once, however many processes start."""

import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

import pellucid.db.tables  # noqa: F401
from pellucid.db import upgrade as upgrades
from pellucid.db.base import Base
from pellucid.db.session import Database
from pellucid.errors import Conflict, DatabaseUnavailable
from support.postgres import PostgresServer


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'home' / 'pellucid.db'}"
    server: PostgresServer = request.getfixturevalue("postgres_server")
    return server.create_database()


def test_the_migrated_schema_is_that_of_the_tables(url: str) -> None:
    upgrades.upgrade(url)
    database = Database(url)
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Base.metadata) == []
    database.close()


def test_upgrading_again_changes_nothing(url: str) -> None:
    assert upgrades.current(url) is None
    with pytest.raises(Conflict, match="no version"):
        upgrades.require_newest(url)
    upgrades.upgrade(url)
    assert upgrades.current(url) == upgrades.head()
    upgrades.require_newest(url)
    upgrades.upgrade(url)
    assert upgrades.current(url) == upgrades.head()


def test_processes_may_start_at_once(url: str) -> None:
    code = f"from pellucid.db.upgrade import upgrade; upgrade({url!r})"
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE) for _ in range(3)
    ]
    errors = [process.communicate(timeout=240)[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0] * 3, errors
    assert upgrades.current(url) == upgrades.head()


def test_a_failed_upgrade_leaves_nothing_behind(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("power cut")

    run = upgrades.command.upgrade
    monkeypatch.setattr(upgrades.command, "upgrade", lambda *args: (run(*args), fail()))
    with pytest.raises(RuntimeError, match="power cut"):
        upgrades.upgrade(url)
    assert upgrades.current(url) is None
    monkeypatch.undo()
    upgrades.upgrade(url)


def test_a_newer_database_is_refused(url: str) -> None:
    upgrades.upgrade(url)
    database = Database(url)
    with database.transaction() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    database.close()
    with pytest.raises(Conflict, match="9999"):
        upgrades.upgrade(url)


def test_an_absent_server_is_unavailable() -> None:
    with pytest.raises(DatabaseUnavailable):
        upgrades.upgrade("postgresql://nobody@127.0.0.1:9/none")
