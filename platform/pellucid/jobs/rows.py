"""Rows of the job tables: how they become resources, and how a locked one changes."""

import math
import secrets
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, and_, or_, select
from sqlalchemy.orm import Session

from pellucid.db.tables.jobs import JobEventRow, JobRow
from pellucid.resources.jobs import BATCH_KINDS, Event, Job, JobStatus

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
    # From now on, even if the worker dies before it can tell us.
    row.run_open = row.kind not in BATCH_KINDS
    row.started_at = row.started_at or moment
    reason = f"Attempt {row.attempt} of {row.max_attempts} runs on {worker}."
    move(session, row, JobStatus.RUNNING, reason, moment)


def ask_to_end(session: Session, row: JobRow, moment: datetime, reason: str = "") -> None:
    """End a waiting job at once, a running one through its worker; an ended one stays as it is."""
    if JobStatus(row.status).final:
        return
    if row.status == JobStatus.QUEUED:
        row.cancel_requested = True
        status, reason = ended_on_request(row, reason or "Canceled while it was waiting.")
        move(session, row, status, reason, moment)
    elif not row.cancel_requested:
        row.cancel_requested = True
        reason = reason or "Cancel requested; the worker is ending the attempt."
        move(session, row, JobStatus.RUNNING, reason, moment)


def ended_on_request(row: JobRow, reason: str) -> tuple[JobStatus, str]:
    """The state, and why, of a job that ends before its time: canceled, or pruned."""
    if row.pruned:
        return JobStatus.PRUNED, "Other trials of the search did better."
    return JobStatus.CANCELED, reason


def wait_again(session: Session, row: JobRow, attempts: int, moment: datetime) -> None:
    """A job that has ended waits again, for so many attempts more."""
    row.max_attempts = row.attempt + attempts
    row.cancel_requested = False
    row.not_before = None
    reason = "Waiting for a worker, to be tried again."
    move(session, row, JobStatus.QUEUED, reason, moment)


def set_back(session: Session, row: JobRow, reason: str, moment: datetime) -> None:
    """A running job's attempt is over, and the job has not come to its own end."""
    if row.cancel_requested:
        status, reason = ended_on_request(row, "Canceled on request.")
        move(session, row, status, reason, moment)
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
    """The oldest job that waits and has rested, or whose lease ran out; locked, others skipped.

    A search is among them once its winner is known.
    """
    works = or_(JobRow.kind != "search", JobRow.winner.is_not(None))
    oldest = _ready(moment).where(works).order_by(JobRow.id).limit(1)
    return oldest.with_for_update(skip_locked=True)


def due(moment: datetime) -> Select[JobRow]:
    """The search whose step has been due for longest; locked, others skipped."""
    searches = and_(JobRow.kind == "search", JobRow.winner.is_(None))
    order = (JobRow.lease_expires_at.is_not(None), JobRow.lease_expires_at, JobRow.id)
    longest = _ready(moment).where(searches).order_by(*order).limit(1)
    return longest.with_for_update(skip_locked=True)


def _ready(moment: datetime) -> Select[JobRow]:
    rested = or_(JobRow.not_before.is_(None), JobRow.not_before <= moment)
    waiting = and_(JobRow.status == JobStatus.QUEUED, rested)
    silent = and_(JobRow.status == JobStatus.RUNNING, JobRow.lease_expires_at < moment)
    going_on = JobRow.status.in_([JobStatus.QUEUED, JobStatus.RUNNING])  # for the index's sake
    return select(JobRow).where(going_on, or_(waiting, silent))


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
