"""Results of monitoring, window by window, and the monitor's last pass."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_Json = sa.JSON().with_variant(JSONB(), "postgresql")
_Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "monitoring_results",
        sa.Column("id", _Id, nullable=False, autoincrement=True),
        sa.Column("model", sa.String(100), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("start", sa.DateTime(timezone=True), nullable=False),
        sa.Column("end", sa.DateTime(timezone=True), nullable=False),
        sa.Column("rows", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("complete", sa.Boolean(), nullable=False, server_default=sa.true()),
        sa.Column("scheduled", sa.Boolean(), nullable=False, server_default=sa.true()),
        sa.Column("alarms", sa.Integer(), nullable=False),
        sa.Column("signals", _Json, nullable=False),
        sa.Column("means", _Json, nullable=False),
        sa.Column("figures", _Json, nullable=False),
        sa.Column("judged_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_monitoring_results"),
        sa.UniqueConstraint("model", "version", "start", "end", name="uq_monitoring_results_model"),
    )
    op.create_index(
        "ix_monitoring_results_model_end_id", "monitoring_results", ["model", "end", "id"]
    )
    op.create_index("ix_monitoring_results_end", "monitoring_results", ["end"])
    op.create_table(
        "monitor_passes",
        sa.Column("id", sa.Integer(), nullable=False, autoincrement=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("judged", sa.Integer(), nullable=False),
        sa.Column("behind", sa.Integer(), nullable=False),
        sa.Column("failed", _Json, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_monitor_passes"),
    )


def downgrade() -> None:
    op.drop_table("monitor_passes")
    op.drop_table("monitoring_results")
