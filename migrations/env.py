"""Run by Alembic: within the transaction that `pellucid.db.upgrade` opens, or on its own.

On its own is for writing a migration: `alembic revision --autogenerate -m "..."` compares the
tables with the database of `PELLUCID_DATABASE_URL`.
"""

from alembic import context
from sqlalchemy import Connection

import pellucid.db.tables  # noqa: F401  # fills the metadata
from pellucid.db.base import Base
from pellucid.db.session import Database
from pellucid.settings import Settings


def migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=connection.dialect.name == "sqlite",
    )
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    migrate(given)
else:
    with Database(Settings.load().resolved_database_url).engine.begin() as opened:
        migrate(opened)
