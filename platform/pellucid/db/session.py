"""One engine per process, and the only way to open a transaction."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, make_url, text
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    InterfaceError,
    OperationalError,
    StatementError,
)
from sqlalchemy.orm import Session

from pellucid.errors import DatabaseUnavailable, InvalidInput

_SQLITE_WAIT_SECONDS = 30
_READ_ONLY = "pellucid_read_only"
_POSTGRES_WAITS = {"connect_timeout": 5, "tcp_user_timeout": 15_000}  # s; ms without any answer


class Database:
    """An engine with our rules: short transactions, errors of ours, writers that queue up."""

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        if self.is_sqlite:
            Path(parsed.database or "").absolute().parent.mkdir(parents=True, exist_ok=True)
            self.engine = create_engine(
                parsed, connect_args={"timeout": _SQLITE_WAIT_SECONDS, "isolation_level": None}
            )
            _configure_sqlite(self.engine)
        else:
            if parsed.drivername == "postgresql":
                parsed = parsed.set(drivername="postgresql+psycopg")
            self.engine = create_engine(parsed, pool_pre_ping=True, connect_args=_POSTGRES_WAITS)

    def transaction(self) -> AbstractContextManager[Session]:
        """A transaction: committed at the end of the block, rolled back on any error.

        Raises:
            DatabaseUnavailable: the database does not answer.
            InvalidInput: a value does not fit its column, or holds a NUL character.
        """
        return self._session(self.engine)

    def reading(self) -> AbstractContextManager[Session]:
        """A transaction that only reads, and so never waits for a writer.

        Raises:
            DatabaseUnavailable: the database does not answer.
            InvalidInput: what is asked for fits no column, or holds a NUL character.
        """
        return self._session(self.engine.execution_options(**{_READ_ONLY: True}))

    @contextmanager
    def _session(self, engine: Engine) -> Iterator[Session]:
        try:
            with Session(engine, expire_on_commit=False) as session, session.begin():
                yield session
        except (OperationalError, InterfaceError) as error:
            raise DatabaseUnavailable(
                f"The database does not answer: {error.orig}.",
                remedy="Check PELLUCID_DATABASE_URL and run `pellucid db upgrade`.",
            ) from error
        except DataError as error:
            raise InvalidInput(f"The database cannot hold a value: {error.orig}.") from error
        except DBAPIError as error:
            if error.connection_invalidated:
                raise DatabaseUnavailable(f"The database went away: {error.orig}.") from error
            raise
        except (StatementError, OverflowError) as error:  # found out before the database is asked
            cause = getattr(error, "orig", error)
            if not isinstance(cause, OverflowError):
                raise
            raise InvalidInput(f"The database cannot hold a value: {cause}.") from error

    def ping(self) -> None:
        """Ask the database for a sign of life. Raises `DatabaseUnavailable`."""
        with self.reading() as session:
            session.execute(text("SELECT 1"))

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def _configure_sqlite(engine: Engine) -> None:
    """WAL, so that readers never wait; BEGIN IMMEDIATE, so that writers queue instead of fail."""

    @event.listens_for(engine, "connect")
    def connect(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        read_only = connection.get_execution_options().get(_READ_ONLY, False)
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")
