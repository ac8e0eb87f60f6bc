"""The job queue: a table, claims by lease, and a fence on every write of an attempt.

Every transition is one transaction that holds the job's row. A claim raises the job's fence by
one and carries it; a writer whose fence is no longer the job's is refused with `LeaseLost`.
Leases are measured by one clock: PostgreSQL's own, or this machine's for SQLite.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from pellucid.db.base import now
from pellucid.db.session import Database
from pellucid.db.tables.jobs import JobEventRow, JobRow
from pellucid.errors import (
    Conflict,
    IdempotencyConflict,
    InvalidInput,
    InvalidPlan,
    LeaseLost,
    NotFound,
)
from pellucid.jobs.rows import (
    claimable,
    move,
    new_id,
    record,
    rest,
    set_back,
    start,
    storable,
    to_event,
    to_job,
)
from pellucid.resources import Event, Job, JobStatus, Page

_FINAL = [status for status in JobStatus if status.final]
_LONGEST_KEY = 255
_LARGEST_SEQ = 2**31 - 1

Jobs = list[Job]
Events = list[Event]


class Position(NamedTuple):
    """How many bytes of a workspace's events.jsonl and log.txt are stored as events."""

    events: int
    log: int


@dataclass(frozen=True)
class Claim:
    """A worker's right to one attempt of a job, for as long as its lease is renewed."""

    job: Job
    fence: int
    position: Position

    @property
    def job_id(self) -> str:
        """The job's id."""
        return self.job.id


class JobQueue:
    """Jobs in the database. Every method may raise `DatabaseUnavailable`.

    Args:
        database: migrated to the newest schema.
        max_attempts: attempts of a job that keeps crashing; a retry grants as many again.
    """

    def __init__(self, database: Database, max_attempts: int = 5) -> None:
        self._database = database
        self._max_attempts = max_attempts

    # What users do.

    def submit(
        self,
        plan: dict[str, Any],
        *,
        name: str,
        data_version: str,
        idempotency_key: str | None = None,
        fingerprint: str = "",
    ) -> tuple[Job, bool]:
        """A new job and True; or the job that the same key submitted before, and False.

        Raises:
            IdempotencyConflict: the key was used with another fingerprint.
            InvalidInput: the key is too long.
            InvalidPlan: the plan holds what JSON cannot.
        """
        if len(idempotency_key or "") > _LONGEST_KEY:
            raise InvalidInput(f"An Idempotency-Key has at most {_LONGEST_KEY} characters.")
        if storable(plan) != plan:
            raise InvalidPlan("The plan holds a NUL character or a number that is not finite.")
        values = {"plan": plan, "name": name, "data_version": data_version}
        try:
            return self._submit(values, idempotency_key, fingerprint)
        except IntegrityError:  # another submission with this key committed first
            return self._submit(values, idempotency_key, fingerprint)

    def _submit(
        self, values: dict[str, Any], key: str | None, fingerprint: str
    ) -> tuple[Job, bool]:
        with self._database.transaction() as session:
            known = (
                key
                and session.scalars(
                    select(JobRow).where(JobRow.idempotency_key == key)
                ).one_or_none()
            )
            if known:
                if known.fingerprint != fingerprint:
                    raise IdempotencyConflict(
                        "The Idempotency-Key was used before, with another request.",
                        where={"job": known.id},
                        remedy="Send a new key with a new request.",
                    )
                return to_job(known), False
            moment = self._clock(session)
            row = JobRow(
                **values,
                id=new_id(moment),
                idempotency_key=key,
                fingerprint=fingerprint,
                attempt=0,
                max_attempts=self._max_attempts,
                fence=0,
                cancel_requested=False,
                run_open=False,
                progress={},
                result={},
                last_seq=0,
                events_offset=0,
                log_offset=0,
                created_at=moment,
                status=JobStatus.QUEUED,
                reason="",
            )
            session.add(row)
            session.flush()
            move(session, row, JobStatus.QUEUED, "Waiting for a worker.", moment)
            return to_job(row), True

    def get(self, job_id: str) -> Job:
        """The job. Raises `NotFound`."""
        with self._database.reading() as session:
            row = session.get(JobRow, job_id)
            if row is None:
                raise _no_such_job(job_id)
            return to_job(row)

    def list(
        self,
        *,
        status: JobStatus | None = None,
        name: str | None = None,
        data_version: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Job]:
        """Jobs, newest first. New jobs do not shift the pages that a cursor leads to."""
        query = select(JobRow).order_by(JobRow.id.desc()).limit(limit + 1)
        for column, value in (
            (JobRow.status, status),
            (JobRow.name, name),
            (JobRow.data_version, data_version),
        ):
            if value is not None:
                query = query.where(column == value)
        if cursor is not None:
            query = query.where(JobRow.id < cursor)
        with self._database.reading() as session:
            jobs = [to_job(row) for row in session.scalars(query)]
        more = len(jobs) > limit
        return Page(items=jobs[:limit], next_cursor=jobs[limit - 1].id if more else None)

    def events(
        self,
        job_id: str,
        *,
        after: int = 0,
        limit: int = 500,
        kinds: Collection[str] | None = None,
    ) -> Events:
        """Events with a higher `seq` than `after`, in order. Raises `NotFound`."""
        query = (
            select(JobEventRow)
            .where(JobEventRow.job_id == job_id, JobEventRow.seq > min(after, _LARGEST_SEQ))
            .order_by(JobEventRow.seq)
            .limit(limit)
        )
        if kinds is not None:
            query = query.where(JobEventRow.kind.in_(kinds))
        with self._database.reading() as session:
            found = [to_event(row) for row in session.scalars(query)]
            if not found and session.get(JobRow, job_id) is None:
                raise _no_such_job(job_id)
            return found

    def cancel(self, job_id: str) -> Job:
        """Cancel a job: a queued one at once, a running one through its worker.

        Again, or after its end, it changes nothing. Raises `NotFound`.
        """
        with self._database.transaction() as session:
            row = self._locked(session, job_id)
            moment = self._clock(session)
            if row.status == JobStatus.QUEUED:
                row.cancel_requested = True
                move(session, row, JobStatus.CANCELED, "Canceled while it was waiting.", moment)
            elif row.status == JobStatus.RUNNING and not row.cancel_requested:
                row.cancel_requested = True
                reason = "Cancel requested; the worker is ending the attempt."
                move(session, row, JobStatus.RUNNING, reason, moment)
            return to_job(row)

    def retry(self, job_id: str) -> Job:
        """Queue a failed or canceled job again; it goes on from its last checkpoint.

        Raises:
            NotFound: there is no such job.
            Conflict: it has not ended, or it succeeded.
        """
        with self._database.transaction() as session:
            row = self._locked(session, job_id)
            if row.status not in (JobStatus.FAILED, JobStatus.CANCELED):
                raise Conflict(
                    f"The job is {row.status}; only a failed or canceled job can be retried.",
                    where={"job": job_id},
                )
            row.max_attempts = row.attempt + self._max_attempts
            row.cancel_requested = False
            row.not_before = None
            reason = "Waiting for a worker, to be tried again."
            move(session, row, JobStatus.QUEUED, reason, self._clock(session))
            return to_job(row)

    # What workers do.

    def claim(self, worker: str, lease_seconds: float) -> Claim | None:
        """The oldest job that waits, or whose worker's lease ran out; None without one."""
        while True:
            with self._database.transaction() as session:
                moment = self._clock(session)
                row = session.scalars(claimable(moment)).first()
                if row is None:
                    return None
                if row.status == JobStatus.RUNNING:
                    reason = f"Worker {row.worker} fell silent and its lease ran out."
                    set_back(session, row, reason, moment)
                if row.status == JobStatus.QUEUED:
                    start(session, row, worker, lease_seconds, moment)
                    position = Position(row.events_offset, row.log_offset)
                    return Claim(to_job(row), row.fence, position)

    def heartbeat(self, claim: Claim, lease_seconds: float) -> bool:
        """Renew the lease; True if the job is to be canceled. Raises `LeaseLost`."""
        with self._database.transaction() as session:
            row = self._held(session, claim)
            row.lease_expires_at = self._clock(session) + timedelta(seconds=lease_seconds)
            return row.cancel_requested

    def append_events(
        self,
        claim: Claim,
        events: Sequence[tuple[str, dict[str, Any], datetime]],
        position: Position | None = None,
    ) -> None:
        """Store events (kind, data, time), and in the same step how far the files are read.

        The newest `progress` event becomes the job's progress. Raises `LeaseLost`.
        """
        with self._database.transaction() as session:
            row = self._held(session, claim)
            for kind, data, time in events:
                record(session, row, kind, data, time)
                if kind == "progress":
                    row.progress = storable(data)
            if position is not None:
                row.events_offset, row.log_offset = position

    def set_run(self, claim: Claim, run_id: str) -> None:
        """Keep the id of the job's run, just opened.

        A run opened too late, after the job's end, is put on the list of those to close.

        Raises:
            LeaseLost: the claim is not the newest any more.
        """
        with self._database.transaction() as session:
            row = self._locked(session, claim.job_id)
            held = _holds(row, claim)
            if held or JobStatus(row.status).final:
                row.run_id = run_id
                row.run_open = True
        if not held:
            raise _lease_lost(claim)

    def finish(
        self,
        claim: Claim,
        status: JobStatus,
        reason: str,
        *,
        model_version: int | None = None,
        result: dict[str, Any] | None = None,
    ) -> Job:
        """End the job. A success says that its run is closed already. Raises `LeaseLost`."""
        with self._database.transaction() as session:
            row = self._held(session, claim)
            moment = self._clock(session)
            if model_version is not None:
                row.model_version = model_version
            if result is not None:
                row.result = storable(result)
                record(session, row, "result", result, moment)
            if status is JobStatus.SUCCEEDED:
                row.run_open = False
            move(session, row, status, reason, moment)
            return to_job(row)

    def requeue(self, claim: Claim, reason: str) -> Job:
        """Give up a crashed attempt: the job rests a little, or failed for good.

        It is failed after its last attempt, and canceled if that was asked for meanwhile. Raises
        `LeaseLost`.
        """
        with self._database.transaction() as session:
            row = self._held(session, claim)
            moment = self._clock(session)
            set_back(session, row, reason, moment)
            left = row.max_attempts - row.attempt
            row.not_before = moment + rest(crashes=self._max_attempts - left)
            return to_job(row)

    def release(self, claim: Claim, reason: str) -> Job:
        """Hand a healthy attempt back: the job waits again, and the attempt does not count."""
        with self._database.transaction() as session:
            row = self._held(session, claim)
            row.max_attempts += 1
            set_back(session, row, reason, self._clock(session))
            return to_job(row)

    def unclosed_runs(self, limit: int = 20) -> Jobs:
        """Ended jobs whose run may still be open in the tracker."""
        query = select(JobRow).where(JobRow.run_open, JobRow.status.in_(_FINAL)).limit(limit)
        with self._database.reading() as session:
            return [to_job(row) for row in session.scalars(query)]

    def mark_run_closed(self, job_id: str, run_id: str) -> None:
        """The run of this ended job is closed; does nothing if the job is under way again."""
        with self._database.transaction() as session:
            row = self._locked(session, job_id)
            if JobStatus(row.status).final:
                row.run_id = run_id
                row.run_open = False

    # Inside a transaction.

    def _clock(self, session: Session) -> datetime:
        if self._database.is_sqlite:
            return now()
        moment: datetime = session.scalars(select(func.clock_timestamp())).one()
        return moment

    def _locked(self, session: Session, job_id: str) -> JobRow:
        row = session.get(JobRow, job_id, with_for_update=True)
        if row is None:
            raise _no_such_job(job_id)
        return row

    def _held(self, session: Session, claim: Claim) -> JobRow:
        row = self._locked(session, claim.job_id)
        if not _holds(row, claim):
            raise _lease_lost(claim)
        return row


def _holds(row: JobRow, claim: Claim) -> bool:
    return row.fence == claim.fence and row.status == JobStatus.RUNNING


def _lease_lost(claim: Claim) -> LeaseLost:
    return LeaseLost(
        "The job has ended or another worker holds it now.",
        where={"job": claim.job_id, "attempt": claim.job.attempt},
    )


def _no_such_job(job_id: str) -> NotFound:
    return NotFound(f"There is no job {job_id!r}.", where={"job": job_id})
