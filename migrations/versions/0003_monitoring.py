"""Alerts: their history, rules, silences, and notifications."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_Time = sa.DateTime(timezone=True)
_Json = sa.JSON().with_variant(JSONB(), "postgresql")
_Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _create_alerts()
    _create_events()
    _create_silences()
    op.create_table(
        "alert_rules",
        sa.Column("id", _Id, nullable=False),
        sa.Column("rules", _Json, nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("created_at", _Time, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_alert_rules"),
    )
    _create_notifications()


def downgrade() -> None:
    for table in ("alert_notifications", "alert_rules", "alert_silences", "alert_events", "alerts"):
        op.drop_table(table)


def _create_alerts() -> None:
    op.create_table(
        "alerts",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("open_key", sa.String(64), nullable=True),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("severity", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("summary", sa.Text(), nullable=False),
        sa.Column("signal", _Json, nullable=False),
        sa.Column("rule", _Json, nullable=False),
        sa.Column("first_seen", _Time, nullable=False),
        sa.Column("last_seen", _Time, nullable=False),
        sa.Column("evaluated_at", _Time, nullable=False),
        sa.Column("last_status", sa.String(16), nullable=False),
        sa.Column("alarms", sa.Integer(), nullable=False),
        sa.Column("oks", sa.Integer(), nullable=False),
        sa.Column("fired_at", _Time, nullable=True),
        sa.Column("notified_at", _Time, nullable=True),
        sa.Column("told_severity", sa.String(16), nullable=False),
        sa.Column("escalated_at", _Time, nullable=True),
        sa.Column("resolved_at", _Time, nullable=True),
        sa.Column("silenced", sa.Boolean(), nullable=False),
        sa.Column("acknowledged_by", sa.Text(), nullable=True),
        sa.Column("acknowledged_at", _Time, nullable=True),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("acted_at", _Time, nullable=True),
        sa.Column("job_id", sa.String(32), nullable=True),
        sa.Column("last_seq", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_alerts"),
        sa.UniqueConstraint("open_key", name="uq_alerts_open_key"),
    )
    for column in ("model", "state", "job_id"):
        op.create_index(f"ix_alerts_{column}", "alerts", [column])


def _create_events() -> None:
    op.create_table(
        "alert_events",
        sa.Column("alert_id", sa.String(32), nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("time", _Time, nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("data", _Json, nullable=False),
        sa.ForeignKeyConstraint(
            ["alert_id"], ["alerts.id"], name="fk_alert_events_alert_id_alerts"
        ),
        sa.PrimaryKeyConstraint("alert_id", "seq", name="pk_alert_events"),
    )


def _create_silences() -> None:
    op.create_table(
        "alert_silences",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("match", _Json, nullable=False),
        sa.Column("until", _Time, nullable=False),
        sa.Column("by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", _Time, nullable=False),
        sa.Column("lifted_at", _Time, nullable=True),
        sa.Column("lifted_by", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_alert_silences"),
    )
    op.create_index("ix_alert_silences_until", "alert_silences", ["until"])


def _create_notifications() -> None:
    op.create_table(
        "alert_notifications",
        sa.Column("id", _Id, nullable=False),
        sa.Column("alert_id", sa.String(32), nullable=False),
        sa.Column("event", sa.String(16), nullable=False),
        sa.Column("sink", sa.String(16), nullable=False),
        sa.Column("batch", sa.String(32), nullable=False),
        sa.Column("payload", _Json, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", _Time, nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_try_at", _Time, nullable=False),
        sa.Column("delivered_at", _Time, nullable=True),
        sa.Column("error", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["alert_id"], ["alerts.id"], name="fk_alert_notifications_alert_id_alerts"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_alert_notifications"),
        sa.UniqueConstraint("alert_id", "event", "sink", name="uq_alert_notifications_alert_id"),
    )
    op.create_index(
        "ix_alert_notifications_sink_state_id", "alert_notifications", ["sink", "state", "id"]
    )
