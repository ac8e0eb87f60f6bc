"""Whatever users and workers do, in whatever order, the job queue agrees with a simple model."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from pellucid.db.base import now
from pellucid.db.session import Database
from pellucid.db.tables.jobs import JobEventRow, JobRow
from pellucid.db.upgrade import upgrade
from pellucid.errors import Conflict, LeaseLost
from pellucid.jobs import claims
from pellucid.jobs.queue import Claim, JobQueue
from pellucid.resources.jobs import JobStatus

CAP = 2
QUEUED, RUNNING = JobStatus.QUEUED, JobStatus.RUNNING
SUCCEEDED, FAILED, CANCELED = JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'jobs.db'}"
    else:
        url = request.getfixturevalue("postgres_url")
    upgrade(url)
    database = Database(url)
    yield database
    database.close()


@dataclass
class Expected:
    """What the model knows of a job."""

    status: JobStatus = QUEUED
    attempt: int = 0
    most: int = CAP
    fence: int = 0
    expired: bool = False
    canceling: bool = False
    run_open: bool = False

    def set_back(self) -> None:
        if self.canceling:
            self.status = CANCELED
        else:
            self.status = FAILED if self.attempt >= self.most else QUEUED


class Machine(RuleBasedStateMachine):
    """Users submit, cancel and retry; workers claim, fall silent, write, crash and finish."""

    jobs = Bundle("jobs")
    claims = Bundle("claims")

    def __init__(self, database: Database) -> None:
        super().__init__()
        with database.transaction() as session:
            session.execute(JobEventRow.__table__.delete())
            session.execute(JobRow.__table__.delete())
        self.queue = JobQueue(database, CAP)
        self.model: dict[str, Expected] = {}

    @rule(target=jobs)
    def submit(self) -> str:
        job, created = self.queue.submit({}, name="n", data_version="d")
        assert created
        self.model[job.id] = Expected()
        return job.id

    @rule(job=jobs)
    def cancel(self, job: str) -> None:
        expected = self.model[job]
        if expected.status is QUEUED:
            expected.status, expected.canceling = CANCELED, True
        elif expected.status is RUNNING:
            expected.canceling = True
        assert self.queue.cancel(job).status is expected.status

    @rule(job=jobs)
    def retry(self, job: str) -> None:
        expected = self.model[job]
        if expected.status in (FAILED, CANCELED):
            self.queue.retry(job)
            expected.status, expected.canceling = QUEUED, False
            expected.most = expected.attempt + CAP
        else:
            with pytest.raises(Conflict):
                self.queue.retry(job)

    @rule(target=claims)
    def claim(self) -> object:
        found = self.queue.claim("w", 1000)
        for job in sorted(self.model):
            expected = self.model[job]
            if expected.status is RUNNING and expected.expired:
                expected.set_back()
                expected.expired = False
            if expected.status is QUEUED:
                break
        else:
            assert found is None
            return multiple()
        assert found is not None
        expected.status, expected.run_open = RUNNING, True
        expected.attempt += 1
        expected.fence += 1
        assert (found.job_id, found.fence) == (job, expected.fence)
        return found

    @rule(claim=claims, silent=st.booleans())
    def heartbeat(self, claim: Claim, silent: bool) -> None:
        expected = self.model[claim.job_id]
        if self._refused(claim, lambda: self.queue.heartbeat(claim, 1000)):
            return
        if silent:
            self.queue.heartbeat(claim, -1)
        expected.expired = silent

    @rule(claim=claims, count=st.integers(1, 3))
    def append(self, claim: Claim, count: int) -> None:
        events = [("log", {"text": "line"}, now())] * count
        self._refused(claim, lambda: self.queue.append_events(claim, events))

    @rule(claim=claims)
    def open_run(self, claim: Claim) -> None:
        expected = self.model[claim.job_id]
        self._refused(claim, lambda: self.queue.set_run(claim, "run"))
        expected.run_open = expected.run_open or expected.status.final

    @rule(claim=consumes(claims), status=st.sampled_from([SUCCEEDED, FAILED, CANCELED]))
    def finish(self, claim: Claim, status: JobStatus) -> None:
        if not self._refused(claim, lambda: self.queue.finish(claim, status, "end")):
            expected = self.model[claim.job_id]
            expected.status, expected.expired = status, False
            expected.run_open = status is not SUCCEEDED

    @rule(claim=claims, counts=st.booleans())
    def give_up(self, claim: Claim, counts: bool) -> None:
        back = self.queue.requeue if counts else self.queue.release
        if not self._refused(claim, lambda: back(claim, "gone")):
            expected = self.model[claim.job_id]
            expected.most += not counts
            expected.expired = False
            expected.set_back()

    @rule(job=jobs)
    def close_run(self, job: str) -> None:
        self.queue.mark_run_closed(job, "run")
        expected = self.model[job]
        expected.run_open = expected.run_open and not expected.status.final

    @invariant()
    def agrees(self) -> None:
        found = {job.id: job for job in self.queue.list(limit=1000).items}
        assert set(found) == set(self.model)
        for job, expected in self.model.items():
            row = found[job]
            assert (row.status, row.attempt) == (expected.status, expected.attempt)
            assert row.cancel_requested == expected.canceling
            assert row.attempt <= row.max_attempts == expected.most
        unclosed = {job.id for job in self.queue.unclosed_runs(limit=1000)}
        assert unclosed == {j for j, e in self.model.items() if e.status.final and e.run_open}

    def teardown(self) -> None:
        for job, expected in self.model.items():
            events = self.queue.events(job, limit=10_000)
            assert [event.seq for event in events] == list(range(1, len(events) + 1))
            last = [event for event in events if event.kind == "state"][-1]
            assert last.data["status"] == expected.status

    def _refused(self, claim: Claim, write: object) -> bool:
        """Do it; whether it was refused, which it must be exactly for stale claims."""
        expected = self.model[claim.job_id]
        assert callable(write)
        if expected.status is RUNNING and expected.fence == claim.fence:
            write()
            return False
        with pytest.raises(LeaseLost):
            write()
        return True


def test_any_order_of_actions(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "rest", lambda crashes: timedelta(0))
    run_state_machine_as_test(
        lambda: Machine(database),
        settings=settings(
            max_examples=15,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
