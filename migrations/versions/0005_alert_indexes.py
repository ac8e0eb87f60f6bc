"""Alerts are found and paged by indexes, however many have been resolved."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_OLD = {"ix_alerts_model": ["model"], "ix_alerts_state": ["state"]}
_NEW = {
    "ix_alerts_model_id": ["model", "id"],
    "ix_alerts_state_id": ["state", "id"],
    "ix_alerts_model_evaluated_at": ["model", "evaluated_at"],
}
_OPEN = sa.text("open_key IS NOT NULL")


def upgrade() -> None:
    _replace(_OLD, _NEW)
    op.create_index(
        "ix_alerts_open",
        "alerts",
        ["model", "version", "id"],
        postgresql_where=_OPEN,
        sqlite_where=_OPEN,
    )


def downgrade() -> None:
    op.drop_index("ix_alerts_open", "alerts")
    _replace(_NEW, _OLD)


def _replace(old: dict[str, list[str]], new: dict[str, list[str]]) -> None:
    for name in old:
        op.drop_index(name, "alerts")
    for name, columns in new.items():
        op.create_index(name, "alerts", columns)
