"""Jobs and their events."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text, false
from sqlalchemy.orm import Mapped, mapped_column

from pellucid.db.base import Base


class JobRow(Base):
    """A job. Whoever changes it holds its row lock, so its counters have no races."""

    __tablename__ = "jobs"
    __table_args__ = (
        Index("ix_jobs_status_id", "status", "id"),
        Index("ix_jobs_parent_id_trial", "parent_id", "trial", unique=True),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), index=True)
    status: Mapped[str] = mapped_column(String(16))
    reason: Mapped[str] = mapped_column(Text)
    plan: Mapped[dict[str, Any]]
    data_version: Mapped[str] = mapped_column(String(64), index=True)
    idempotency_key: Mapped[str | None] = mapped_column(String(255), unique=True)
    fingerprint: Mapped[str] = mapped_column(Text)  # of the request with that key

    kind: Mapped[str] = mapped_column(String(16), server_default="training")  # `JobKind`
    parent_id: Mapped[str | None] = mapped_column(String(32))  # a trial's search
    trial: Mapped[int | None]  # a trial's number, from 0
    params: Mapped[dict[str, Any]] = mapped_column(server_default="{}")  # path -> value
    pruned: Mapped[bool] = mapped_column(server_default=false())  # its search asked for the cancel
    winner: Mapped[str | None] = mapped_column(String(32))  # a search's best trial, once known

    attempt: Mapped[int]
    max_attempts: Mapped[int]  # grows with a retry, and with each attempt that does not count
    fence: Mapped[int]  # of the newest claim; a writer with an older one is refused
    worker: Mapped[str | None] = mapped_column(Text)
    lease_expires_at: Mapped[datetime | None]
    not_before: Mapped[datetime | None]  # a crashed job rests a little
    cancel_requested: Mapped[bool]

    run_id: Mapped[str | None] = mapped_column(String(64))
    run_open: Mapped[bool] = mapped_column(index=True)  # the tracker may hold a RUNNING run of it
    model_version: Mapped[int | None]
    progress: Mapped[dict[str, Any]]
    result: Mapped[dict[str, Any]]

    last_seq: Mapped[int]  # of its events
    events_offset: Mapped[int] = mapped_column(BigInteger)  # bytes of events.jsonl already stored
    log_offset: Mapped[int] = mapped_column(BigInteger)  # bytes of log.txt already stored

    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class JobEventRow(Base):
    """Something that happened to a job. `seq` counts from 1 within the job, without gaps."""

    __tablename__ = "job_events"

    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.id"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    time: Mapped[datetime]
    kind: Mapped[str] = mapped_column(String(32))
    data: Mapped[dict[str, Any]]
