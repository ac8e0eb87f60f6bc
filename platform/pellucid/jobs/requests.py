"""The users' side of the job table: submit, look, cancel, retry."""

from collections.abc import Collection
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from pellucid.db.tables.jobs import JobEventRow, JobRow
from pellucid.errors import Conflict, IdempotencyConflict, InvalidInput, InvalidPlan
from pellucid.jobs.rows import ask_to_end, storable, to_event, to_job, wait_again
from pellucid.jobs.table import JobTable, no_such_job
from pellucid.resources.base import Page
from pellucid.resources.jobs import Event, Job, JobKind, JobStatus

_LONGEST_KEY = 255
_LARGEST_SEQ = 2**31 - 1

Events = list[Event]


class Requests(JobTable):
    """What users do."""

    def submit(
        self,
        plan: dict[str, Any],
        *,
        name: str,
        data_version: str,
        kind: JobKind = "training",
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
        values = {"plan": plan, "name": name, "data_version": data_version, "kind": kind}
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
            row = self._insert(
                session,
                self._clock(session),
                idempotency_key=key,
                fingerprint=fingerprint,
                **values,
            )
            return to_job(row), True

    def counts(self) -> dict[str, int]:
        """How many jobs there are, by status."""
        query = select(JobRow.status, func.count()).group_by(JobRow.status)
        with self._database.reading() as session:
            there = {row[0]: row[1] for row in session.execute(query)}
        return {status.value: there.get(status.value, 0) for status in JobStatus}

    def get(self, job_id: str) -> Job:
        """The job. Raises `NotFound`."""
        with self._database.reading() as session:
            row = session.get(JobRow, job_id)
            if row is None:
                raise no_such_job(job_id)
            return to_job(row)

    def list(
        self,
        *,
        status: JobStatus | None = None,
        name: str | None = None,
        kind: JobKind | None = None,
        data_version: str | None = None,
        parent: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Job]:
        """Jobs, newest first: the trials of the search `parent`, else all that are no trials.

        New jobs do not shift the pages that a cursor leads to.
        """
        query = select(JobRow).order_by(JobRow.id.desc()).limit(limit + 1)
        for column, value in (
            (JobRow.status, status),
            (JobRow.name, name),
            (JobRow.kind, kind),
            (JobRow.data_version, data_version),
        ):
            if value is not None:
                query = query.where(column == value)
        query = query.where(
            JobRow.parent_id.is_(None) if parent is None else JobRow.parent_id == parent
        )
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
                raise no_such_job(job_id)
            return found

    def cancel(self, job_id: str) -> Job:
        """Cancel a job: a queued one at once, a running one through its worker.

        A search is canceled together with its trials. Again, or after a job's end, it changes
        nothing. Raises `NotFound`.
        """
        with self._database.transaction() as session:
            row = self._locked(session, job_id)
            moment = self._clock(session)
            ask_to_end(session, row, moment)
            if row.kind == "search":
                for trial in self._trials(session, job_id):
                    ask_to_end(session, trial, moment)
            return to_job(row)

    def retry(self, job_id: str) -> Job:
        """Queue a failed or canceled job again; it goes on from its last checkpoint.

        A search queues its failed and canceled trials again, too.

        Raises:
            NotFound: there is no such job.
            Conflict: it has not ended, or it succeeded, or it is a trial of a search that ended.
        """
        with self._database.transaction() as session:
            search_id = self._search_of(session, job_id)
            search = self._locked(session, search_id) if search_id else None
            row = self._locked(session, job_id)
            if row.status not in _AGAIN:
                raise Conflict(
                    f"The job is {row.status}; only a failed or canceled job can be retried.",
                    where={"job": job_id},
                )
            if search is not None and (JobStatus(search.status).final or search.winner):
                raise Conflict(
                    "The search of this trial has ended.",
                    where={"job": job_id},
                    remedy=f"Retry the search, {search.id}, if it did not succeed.",
                )
            moment = self._clock(session)
            wait_again(session, row, self._max_attempts, moment)
            if row.kind == "search" and row.winner is None:
                for trial in self._trials(session, job_id):
                    if trial.status in _AGAIN:
                        wait_again(session, trial, self._max_attempts, moment)
            return to_job(row)

    def _search_of(self, session: Any, job_id: str) -> str | None:
        """The id of a trial's search; it never changes, and so needs no lock."""
        found: str | None = session.scalars(
            select(JobRow.parent_id).where(JobRow.id == job_id)
        ).one_or_none()
        return found


_AGAIN = (JobStatus.FAILED, JobStatus.CANCELED)
