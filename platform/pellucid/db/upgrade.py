"""Brings a database to the newest schema, with Alembic.

The whole upgrade is one transaction under a lock, so any number of processes may start at once:
the first upgrades, the others wait and find nothing left to do. A failed upgrade changes nothing.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import text
from sqlalchemy.orm import Session

import pellucid
from pellucid.db.session import Database
from pellucid.errors import Conflict

_LOCK = 0x70656C6C75636964  # PostgreSQL advisory lock: "pellucid"


def upgrade(url: str) -> None:
    """Bring the database to the newest schema; a missing SQLite file is made.

    Raises:
        Conflict: the database belongs to a newer version of Pellucid.
        DatabaseUnavailable: it does not answer.
    """
    database = Database(url)
    try:
        with database.transaction() as session:  # on SQLite, this alone locks out other upgrades
            if not database.is_sqlite:
                session.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            _require_known(_revision(session))
            config = _config()
            config.attributes["connection"] = session.connection()
            command.upgrade(config, "head")
    finally:
        database.close()


def current(url: str) -> str | None:
    """The revision of the database's schema, or None before its first upgrade."""
    database = Database(url)
    try:
        with database.reading() as session:
            return _revision(session)
    finally:
        database.close()


def head() -> str:
    """The newest revision that this version of Pellucid knows."""
    newest = ScriptDirectory.from_config(_config()).get_current_head()
    if newest is None:
        raise FileNotFoundError(f"no migrations in {_directory()}")
    return newest


def require_newest(url: str) -> None:
    """Make sure that the tables are those that this version works with.

    Raises:
        Conflict: they are older or newer.
        DatabaseUnavailable: the database does not answer.
    """
    found, newest = current(url), head()
    if found != newest:
        raise Conflict(
            f"The database has the schema {found or 'of no version'}; this version needs {newest}.",
            remedy="Run `pellucid db upgrade`.",
        )


def _revision(session: Session) -> str | None:
    return MigrationContext.configure(session.connection()).get_current_revision()


def _require_known(revision: str | None) -> None:
    try:
        ScriptDirectory.from_config(_config()).get_revision(revision or "base")
    except CommandError as error:
        raise Conflict(
            f"The database has the schema {revision}, which this version does not know.",
            remedy="Install the version of Pellucid that wrote it, or a newer one.",
        ) from error


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_directory()).replace("%", "%%"))
    return config


def _directory() -> Path:
    """The migrations: within an installed wheel, else at the repository's root."""
    package = Path(pellucid.__file__).parent
    installed = package / "_migrations"
    return installed if installed.is_dir() else package.parent.parent / "migrations"
