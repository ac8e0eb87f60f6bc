"""The job table, as its three sides share it: users, workers, and searches.

Every transition is one transaction that holds the job's row. A claim raises the job's fence by
one and carries it; a writer whose fence is no longer the job's is refused with `LeaseLost`.
Leases are measured by one clock: PostgreSQL's own, or this machine's for SQLite.

Whoever needs a search and its trials locks the search first, and then the trials in the order of
their ids; a trial's own attempt locks the trial alone.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from pellucid.db.base import now
from pellucid.db.session import Database
from pellucid.db.tables.jobs import JobRow
from pellucid.errors import LeaseLost, NotFound
from pellucid.jobs.rows import move, new_id, to_job
from pellucid.resources.jobs import Job, JobStatus


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

    @classmethod
    def of(cls, row: JobRow, plan: dict[str, Any] | None = None) -> "Claim":
        """The claim that a row's newest fence stands for, to do another plan than its own."""
        job = to_job(row) if plan is None else to_job(row).model_copy(update={"plan": plan})
        return cls(job, row.fence, Position(row.events_offset, row.log_offset))


class JobTable:
    """Jobs in the database. Every method may raise `DatabaseUnavailable`.

    Args:
        database: migrated to the newest schema.
        max_attempts: attempts of a job that keeps crashing; a retry grants as many again.
    """

    def __init__(self, database: Database, max_attempts: int = 5) -> None:
        self._database = database
        self._max_attempts = max_attempts

    # Inside a transaction.

    def _clock(self, session: Session) -> datetime:
        if self._database.is_sqlite:
            return now()
        moment: datetime = session.scalars(select(func.clock_timestamp())).one()
        return moment

    def _locked(self, session: Session, job_id: str) -> JobRow:
        row = session.get(JobRow, job_id, with_for_update=True)
        if row is None:
            raise no_such_job(job_id)
        return row

    def _held(self, session: Session, claim: Claim) -> JobRow:
        row = self._locked(session, claim.job_id)
        if not holds(row, claim):
            raise lease_lost(claim)
        return row

    def _trials(self, session: Session, search_id: str) -> list[JobRow]:
        """The trials of a search, locked."""
        query = select(JobRow).where(JobRow.parent_id == search_id).order_by(JobRow.id)
        return list(session.scalars(query.with_for_update()))

    def _insert(
        self,
        session: Session,
        moment: datetime,
        reason: str = "Waiting for a worker.",
        **values: Any,
    ) -> JobRow:
        """A new job, waiting."""
        empty: dict[str, Any] = {"kind": "training", "params": {}, "fingerprint": ""}
        row = JobRow(
            **empty | values,
            id=new_id(moment),
            attempt=0,
            max_attempts=self._max_attempts,
            fence=0,
            cancel_requested=False,
            pruned=False,
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
        move(session, row, JobStatus.QUEUED, reason, moment)
        return row


def holds(row: JobRow, claim: Claim) -> bool:
    """Whether the claim is the job's newest, and the job under way."""
    return row.fence == claim.fence and row.status == JobStatus.RUNNING


def lease_lost(claim: Claim) -> LeaseLost:
    """What a writer with an old claim is told."""
    return LeaseLost(
        "The job has ended or another worker holds it now.",
        where={"job": claim.job_id, "attempt": claim.job.attempt},
    )


def no_such_job(job_id: str) -> NotFound:
    """What somebody who asks for an unknown job is told."""
    return NotFound(f"There is no job {job_id!r}.", where={"job": job_id})
