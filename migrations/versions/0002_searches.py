"""Searches: jobs that have trials, and trials that are jobs.

Columns are added one by one: SQLite would have to copy the table for more, and with it delete the
rows that events refer to.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_Json = sa.JSON().with_variant(JSONB(), "postgresql")


def _columns() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column("kind", sa.String(16), nullable=False, server_default="training"),
        sa.Column("parent_id", sa.String(32), nullable=True),
        sa.Column("trial", sa.Integer(), nullable=True),
        sa.Column("params", _Json, nullable=False, server_default="{}"),
        sa.Column("pruned", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("winner", sa.String(32), nullable=True),
    )


def upgrade() -> None:
    for column in _columns():
        op.add_column("jobs", column)
    op.create_index("ix_jobs_parent_id_trial", "jobs", ["parent_id", "trial"], unique=True)


def downgrade() -> None:
    op.drop_index("ix_jobs_parent_id_trial", "jobs")
    for column in reversed(_columns()):
        op.drop_column("jobs", column.name)
