"""Alerts and what happened to them; rules, silences, and notifications that wait to be sent."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    Index,
    Integer,
    String,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from pellucid.db.base import Base

_Id = BigInteger().with_variant(Integer, "sqlite")
_OPEN = text("open_key IS NOT NULL")


class AlertRow(Base):
    """One episode of one signal of one version, from its first alarm to its resolution.

    Times are the windows' for first_seen, last_seen and evaluated_at, and the clock's for others.
    """

    __tablename__ = "alerts"
    __table_args__ = (
        Index("ix_alerts_model_id", "model", "id"),
        Index("ix_alerts_state_id", "state", "id"),
        Index("ix_alerts_model_evaluated_at", "model", "evaluated_at"),
        Index(
            "ix_alerts_open", "model", "version", "id", postgresql_where=_OPEN, sqlite_where=_OPEN
        ),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    open_key: Mapped[str | None] = mapped_column(String(64), unique=True)  # NULL once resolved
    model: Mapped[str] = mapped_column(Text)
    version: Mapped[int]
    kind: Mapped[str] = mapped_column(String(32))
    subject: Mapped[str] = mapped_column(Text)
    severity: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16))  # pending, firing, resolved
    summary: Mapped[str] = mapped_column(Text)
    signal: Mapped[dict[str, Any]]  # the last that alarmed
    rule: Mapped[dict[str, Any]]  # as it was when it last matched

    first_seen: Mapped[datetime]
    last_seen: Mapped[datetime]
    evaluated_at: Mapped[datetime]
    last_status: Mapped[str] = mapped_column(String(16))
    alarms: Mapped[int]  # in a row
    oks: Mapped[int]  # in a row

    fired_at: Mapped[datetime | None]
    notified_at: Mapped[datetime | None]
    told_severity: Mapped[str] = mapped_column(String(16))  # empty: nobody was told yet
    escalated_at: Mapped[datetime | None]
    resolved_at: Mapped[datetime | None]
    silenced: Mapped[bool]
    acknowledged_by: Mapped[str | None] = mapped_column(Text)
    acknowledged_at: Mapped[datetime | None]
    note: Mapped[str] = mapped_column(Text)

    action: Mapped[str] = mapped_column(String(16))  # what became of the rule's action
    acted_at: Mapped[datetime | None]
    job_id: Mapped[str | None] = mapped_column(String(32), index=True)  # of a retraining
    last_seq: Mapped[int]  # of its events


class AlertEventRow(Base):
    """Something that happened to an alert. `seq` counts from 1 within the alert, without gaps."""

    __tablename__ = "alert_events"

    alert_id: Mapped[str] = mapped_column(ForeignKey("alerts.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    time: Mapped[datetime]
    kind: Mapped[str] = mapped_column(String(32))
    by: Mapped[str] = mapped_column(Text)  # a person; empty: Pellucid itself
    data: Mapped[dict[str, Any]]


class SilenceRow(Base):
    """Somebody wants to hear nothing of some alerts for a while."""

    __tablename__ = "alert_silences"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    match: Mapped[dict[str, Any]]
    until: Mapped[datetime] = mapped_column(index=True)
    by: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]
    lifted_at: Mapped[datetime | None]
    lifted_by: Mapped[str] = mapped_column(Text)


class RulesRow(Base):
    """All rules, as somebody set them. The newest row is in force; older ones are its history."""

    __tablename__ = "alert_rules"

    id: Mapped[int] = mapped_column(_Id, primary_key=True, autoincrement=True)
    rules: Mapped[dict[str, Any]]
    by: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]


class NotificationRow(Base):
    """What a sink is to be told about an alert: once, whatever happens."""

    __tablename__ = "alert_notifications"
    __table_args__ = (
        UniqueConstraint("alert_id", "event", "sink"),
        Index("ix_alert_notifications_sink_state_id", "sink", "state", "id"),
    )

    id: Mapped[int] = mapped_column(_Id, primary_key=True, autoincrement=True)
    alert_id: Mapped[str] = mapped_column(ForeignKey("alerts.id"))
    event: Mapped[str] = mapped_column(String(16))
    sink: Mapped[str] = mapped_column(String(16))
    batch: Mapped[str] = mapped_column(String(32))  # those of one batch and event are one message
    payload: Mapped[dict[str, Any]]
    state: Mapped[str] = mapped_column(String(16))  # waiting, delivered, dropped
    created_at: Mapped[datetime]
    attempts: Mapped[int]
    next_try_at: Mapped[datetime]
    delivered_at: Mapped[datetime | None]
    error: Mapped[str] = mapped_column(Text)
