"""Workers are killed, stalled, stopped and cut off; the job goes on, and ends once."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pellucid.resources.jobs import JobStatus
from pellucid.tracking.contract import CHAMPION
from support.fake_training import EPOCHS
from support.postgres import PostgresServer
from support.workers import Bench, wait_until

ALL_STEPS = list(range(1, EPOCHS + 1))


@pytest.fixture(params=["sqlite", "postgresql"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    url = ""
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_server").create_database()
    bench = Bench(tmp_path, url)
    yield bench
    bench.database.close()


def assert_ended_once(bench: Bench, job_id: str) -> None:
    job = bench.ended(job_id)
    assert job.status is JobStatus.SUCCEEDED
    assert [run.status for run in bench.tracker.runs.values()] == ["FINISHED"]
    assert bench.steps() == ALL_STEPS
    assert [version.version for version in bench.tracker.versions("toy")] == [1]
    assert bench.tracker.model("toy").aliases == {CHAMPION: 1}
    epochs = [e.data["epoch"] for e in bench.queue.events(job_id, kinds=["progress"])]
    assert epochs == ALL_STEPS
    assert bench.processes(job_id) == []


def test_a_killed_worker_takes_its_child_along_and_another_goes_on(bench: Bench) -> None:
    job_id = bench.submit()
    with bench.working_process("stubborn") as worker:
        bench.wait_for(job_id, lambda job: job.progress)
        wait_until(lambda: len(bench.processes(job_id)) == 2)
        worker.kill()
        wait_until(lambda: len(bench.processes(job_id)) == 1)  # the child's own is orphaned
    with bench.working():
        assert_ended_once(bench, job_id)
    assert bench.queue.get(job_id).attempt == 2
    assert bench.log(job_id).splitlines() == ["attempt 1 begins", "attempt 2 begins"]


@pytest.mark.parametrize("bench", ["postgresql"], indirect=True)
def test_a_stalled_worker_is_replaced_and_then_stands_back(bench: Bench) -> None:
    job_id = bench.submit()
    with bench.working_process("hang") as worker:
        bench.wait_for(job_id, lambda job: job.progress)
        worker.send_signal(signal.SIGSTOP)
        with bench.working():
            assert_ended_once(bench, job_id)
        before = bench.queue.get(job_id), bench.queue.events(job_id)
        worker.send_signal(signal.SIGCONT)
        time.sleep(1.5)
        assert (bench.queue.get(job_id), bench.queue.events(job_id)) == before
        assert worker.poll() is None
        assert bench.processes(job_id) == []


@pytest.mark.parametrize("bench", ["sqlite"], indirect=True)
def test_a_terminated_worker_exits_at_once_and_hands_its_job_back(bench: Bench) -> None:
    job_id = bench.submit()
    with bench.working_process("hang") as worker:
        bench.wait_for(job_id, lambda job: job.progress)
        worker.terminate()
        assert worker.wait(8) == 0
        job = bench.queue.get(job_id)
        assert (job.status, job.attempt, job.max_attempts) == (JobStatus.QUEUED, 1, 4)
        assert bench.processes(job_id) == []
    with bench.working():
        assert_ended_once(bench, job_id)


def test_training_goes_on_while_the_database_is_down(tmp_path: Path) -> None:
    with PostgresServer() as server:
        bench = Bench(tmp_path, server.create_database())
        job_id = bench.submit()
        workspace = bench.workspace(job_id)
        with bench.working("gated"):
            bench.wait_for(job_id, lambda job: job.progress)
            server.kill()
            (workspace.root / "go").touch()
            wait_until(workspace.result_path.exists)
            time.sleep(bench.settings.lease_seconds * 1.5)
            assert bench.tracker.models() == []
            server.start()
            assert_ended_once(bench, job_id)
        assert bench.queue.get(job_id).attempt == 1
        bench.database.close()
