"""The side of the job table that hyper-parameter searches use.

A search is a job that holds no worker: between two steps its lease says when the next one is due,
and any worker may take it. While trials are missing it is claimed here; once its winner is known
it waits like any other job, to evaluate, export and register the winner's network.
"""

from datetime import timedelta
from typing import Any

from sqlalchemy import select

from pellucid.db.tables.jobs import JobRow
from pellucid.jobs.rows import ask_to_end, due, move, record, start, storable, to_job
from pellucid.jobs.table import Claim, JobTable
from pellucid.resources.jobs import Job, JobStatus


class Searches(JobTable):
    """What the keeper of searches does."""

    def claim_search(self, worker: str, lease_seconds: float) -> Claim | None:
        """The search whose next step is due for longest; None without one."""
        with self._database.transaction() as session:
            moment = self._clock(session)
            row = session.scalars(due(moment)).first()
            if row is None:
                return None
            if row.status == JobStatus.QUEUED:
                start(session, row, worker, lease_seconds, moment)
            else:
                row.fence += 1
                row.worker = worker
                row.lease_expires_at = moment + timedelta(seconds=lease_seconds)
            return Claim.of(row)

    def next_step(self, claim: Claim, seconds: float) -> None:
        """This step is done; the next one is due in so many seconds. Raises `LeaseLost`."""
        with self._database.transaction() as session:
            row = self._held(session, claim)
            row.worker = None
            row.lease_expires_at = self._clock(session) + timedelta(seconds=seconds)

    def trials(self, search_id: str) -> list[Job]:
        """All trials of a search, by number."""
        query = select(JobRow).where(JobRow.parent_id == search_id).order_by(JobRow.trial)
        with self._database.reading() as session:
            return [to_job(row) for row in session.scalars(query)]

    def add_trial(
        self, claim: Claim, number: int, params: dict[str, Any], plan: dict[str, Any] | str
    ) -> Job | None:
        """Queue a trial; None if the search is to be canceled meanwhile.

        A text in place of the plan says why there is none: the trial has failed already.

        Raises:
            LeaseLost: the claim is not the newest any more.
        """
        with self._database.transaction() as session:
            search = self._held(session, claim)
            if search.cancel_requested:
                return None
            moment = self._clock(session)
            row = self._insert(
                session,
                moment,
                name=search.name,
                plan={} if isinstance(plan, str) else plan,
                data_version=search.data_version,
                parent_id=search.id,
                trial=number,
                params=storable(params),
            )
            if isinstance(plan, str):
                move(session, row, JobStatus.FAILED, plan, moment)
            told = {"trial": number, "job": row.id, "status": row.status, "params": params}
            record(session, search, "trial", told, moment)
            return to_job(row)

    def prune(self, claim: Claim, job_id: str, reason: str) -> Job:
        """End a trial that is not worth its time. Raises `LeaseLost`."""
        with self._database.transaction() as session:
            self._held(session, claim)
            row = self._locked(session, job_id)
            if not JobStatus(row.status).final and not row.cancel_requested:
                row.pruned = True
                ask_to_end(session, row, self._clock(session), reason)
            return to_job(row)

    def stop_trials(self, claim: Claim) -> None:
        """Cancel every trial that has not ended. Raises `LeaseLost`."""
        with self._database.transaction() as session:
            self._held(session, claim)
            moment = self._clock(session)
            for row in self._trials(session, claim.job_id):
                ask_to_end(session, row, moment)

    def conclude(self, claim: Claim, winner: str, reason: str) -> Job:
        """The trial `winner` was the best: the search waits for a worker to make it a version.

        Raises:
            LeaseLost: the claim is not the newest any more.
        """
        with self._database.transaction() as session:
            row = self._held(session, claim)
            row.winner = winner
            row.attempt, row.max_attempts = 0, self._max_attempts
            status = JobStatus.CANCELED if row.cancel_requested else JobStatus.QUEUED
            move(session, row, status, reason, self._clock(session))
            return to_job(row)
