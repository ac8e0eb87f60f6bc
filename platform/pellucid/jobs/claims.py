"""The workers' side of the job table: claim, tell, finish."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select

from pellucid.db.tables.jobs import JobRow
from pellucid.jobs.rows import (
    claimable,
    ended_on_request,
    move,
    record,
    rest,
    set_back,
    start,
    storable,
    to_job,
)
from pellucid.jobs.table import Claim, JobTable, Position, holds, lease_lost
from pellucid.resources.jobs import Job, JobKind, JobStatus

_FINAL = [status for status in JobStatus if status.final]


class Claims(JobTable):
    """What workers do."""

    def claim(self, worker: str, lease_seconds: float) -> Claim | None:
        """The oldest job that waits, or whose worker's lease ran out; None without one.

        The plan of a search whose winner is known is its winner's.
        """
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
                    winner = row.winner and session.get(JobRow, row.winner)
                    return Claim.of(row, winner.plan if winner else None)

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
            held = holds(row, claim)
            if held or JobStatus(row.status).final:
                row.run_id = run_id
                row.run_open = True
        if not held:
            raise lease_lost(claim)

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
            if status is JobStatus.CANCELED:
                status, reason = ended_on_request(row, reason)
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

    def ended(self, kinds: Sequence[JobKind], seconds: float) -> list[str]:
        """The ids of jobs of these kinds that ended more than so many seconds ago."""
        with self._database.reading() as session:
            before = self._clock(session) - timedelta(seconds=seconds)
            query = select(JobRow.id).where(
                JobRow.status.in_(_FINAL), JobRow.kind.in_(kinds), JobRow.finished_at < before
            )
            return list(session.scalars(query))

    def unclosed_runs(self, limit: int = 20) -> list[Job]:
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
