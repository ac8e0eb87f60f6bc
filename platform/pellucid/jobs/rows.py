"""Rows of the job tables: how they become resources, and how a locked one changes."""

import math
import secrets
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, and_, or_, select
from sqlalchemy.orm import Session

from pellucid.db.tables.jobs import JobEventRow, JobRow
from pellucid.resources import Event, Job, JobStatus

_FIRST_REST_SECONDS = 0.5  # after the first crash; doubled with each further one
_LONGEST_REST_SECONDS = 30.0


def new_id(moment: datetime) -> str:
    """A job id: 12 hex digits of milliseconds, then 8 random ones. Sorts by time of creation."""
    return f"{int(moment.timestamp() * 1000):012x}{secrets.token_hex(4)}"


def to_job(row: JobRow) -> Job:
    """The resource of a row."""
    return Job.model_validate({name: getattr(row, name) for name in Job.model_fields})


def to_event(row: JobEventRow) -> Event:
    """The resource of an event's row."""
    return Event(seq=row.seq, time=row.time, kind=row.kind, data=row.data)


def record(session: Session, row: JobRow, kind: str, data: dict[str, Any], time: datetime) -> None:
    """Append an event; the row's lock makes the numbering free of gaps."""
    row.last_seq += 1
    session.add(
        JobEventRow(job_id=row.id, seq=row.last_seq, time=time, kind=kind, data=storable(data))
    )


def move(session: Session, row: JobRow, status: JobStatus, reason: str, moment: datetime) -> None:
    """Bring a job into a state, and say so in an event."""
    row.status = status
    row.reason = storable(reason)
    row.finished_at = moment if status.final else None
    if status is not JobStatus.RUNNING:
        row.worker = None
        row.lease_expires_at = None
    data = {"status": status.value, "reason": reason, "attempt": row.attempt}
    record(session, row, "state", data, moment)


def start(
    session: Session, row: JobRow, worker: str, lease_seconds: float, moment: datetime
) -> None:
    """A worker begins the next attempt of a waiting job."""
    row.fence += 1
    row.attempt += 1
    row.worker = worker
    row.lease_expires_at = moment + timedelta(seconds=lease_seconds)
    row.not_before = None
    row.run_open = True  # from now on, even if the worker dies before it can tell us
    row.started_at = row.started_at or moment
    reason = f"Attempt {row.attempt} of {row.max_attempts} runs on {worker}."
    move(session, row, JobStatus.RUNNING, reason, moment)


def set_back(session: Session, row: JobRow, reason: str, moment: datetime) -> None:
    """A running job's attempt is over, and the job has not come to its own end."""
    if row.cancel_requested:
        move(session, row, JobStatus.CANCELED, "Canceled on request.", moment)
    elif row.attempt >= row.max_attempts:
        reason = f"{reason} That was the last of {row.max_attempts} attempts."
        move(session, row, JobStatus.FAILED, reason, moment)
    else:
        move(session, row, JobStatus.QUEUED, reason, moment)


def rest(crashes: int) -> timedelta:
    """How long a job rests after its n-th crash."""
    doublings = min(max(crashes - 1, 0), 16)
    return timedelta(seconds=min(_FIRST_REST_SECONDS * 2**doublings, _LONGEST_REST_SECONDS))


def claimable(moment: datetime) -> Select[JobRow]:
    """The oldest job that waits and has rested, or whose lease ran out; locked, others skipped."""
    rested = or_(JobRow.not_before.is_(None), JobRow.not_before <= moment)
    waiting = and_(JobRow.status == JobStatus.QUEUED, rested)
    silent = and_(JobRow.status == JobStatus.RUNNING, JobRow.lease_expires_at < moment)
    going_on = JobRow.status.in_([JobStatus.QUEUED, JobStatus.RUNNING])  # for the index's sake
    oldest = select(JobRow).where(going_on, or_(waiting, silent)).order_by(JobRow.id).limit(1)
    return oldest.with_for_update(skip_locked=True)


def storable(value: Any) -> Any:
    """The value as JSON that every database takes: no NUL, no torn surrogate, no NaN, no inf."""
    if isinstance(value, str):
        return value.replace("\0", "").encode(errors="replace").decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {storable(key): storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(storable(item) for item in value)
    return value
