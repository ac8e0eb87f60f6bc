"""The worker sees jobs through, with real training processes and whatever befalls them."""

import os
import signal
import time
from datetime import timedelta
from pathlib import Path

import pytest

from pellucid.db.base import now
from pellucid.jobs.launchers.local import LocalLauncher
from pellucid.resources.jobs import JobStatus
from pellucid.tracking.contract import CHAMPION, RunStatus
from support.fake_training import EPOCHS
from support.workers import Bench, wait_until

ALL_STEPS = list(range(1, EPOCHS + 1))


def run_status(bench: Bench) -> RunStatus:
    (run,) = bench.tracker.runs.values()
    return run.status


def test_a_job_is_trained_registered_and_told_about(bench: Bench) -> None:
    job_id = bench.submit()
    with bench.working():
        job = bench.ended(job_id)
    assert (job.status, job.model_version, job.attempt) == (JobStatus.SUCCEEDED, 1, 1)
    assert job.result["metrics"] == {"rmse": 0.5}
    assert job.result["alias"] == CHAMPION
    assert job.progress["epoch"] == EPOCHS
    assert run_status(bench) == "FINISHED"
    assert bench.steps() == ALL_STEPS
    assert bench.tracker.model("toy").aliases == {CHAMPION: 1}
    assert bench.log(job_id) == "attempt 1 begins\n"
    events = bench.queue.events(job_id)
    epochs = [event.data["epoch"] for event in events if event.kind == "progress"]
    assert epochs == ALL_STEPS
    assert [event.kind for event in events[-2:]] == ["result", "state"]


def test_an_error_of_the_users_fails_the_job_without_another_attempt(bench: Bench) -> None:
    job_id = bench.submit()
    with bench.working("reject"):
        job = bench.ended(job_id)
    assert (job.status, job.attempt) == (JobStatus.FAILED, 1)
    assert job.reason == "The loss is NaN. Lower optimizer.lr."
    assert run_status(bench) == "FAILED"
    (run,) = bench.tracker.runs.values()
    assert run.tags["pellucid.reason"] == job.reason


def test_a_crashed_attempt_is_resumed_without_gap_or_repetition(bench: Bench) -> None:
    job_id = bench.submit()
    with bench.working("crash"):
        job = bench.ended(job_id)
    assert (job.status, job.attempt) == (JobStatus.SUCCEEDED, 3)
    assert bench.steps() == ALL_STEPS
    epochs = [e.data["epoch"] for e in bench.queue.events(job_id, kinds=["progress"])]
    assert epochs == ALL_STEPS
    lines = ["attempt 1 begins", "dying in epoch 3", "attempt 2 begins", "dying in epoch 6"]
    assert bench.log(job_id).splitlines() == [*lines, "attempt 3 begins"]
    crash = bench.queue.events(job_id, kinds=["state"])[2].data
    assert crash["status"] == "queued"
    assert "killed by SIGKILL" in crash["reason"]
    assert "dying in epoch 3" in crash["reason"]


def test_a_job_that_keeps_crashing_fails(bench: Bench) -> None:
    job_id = bench.submit()
    with bench.working(lambda _: ["/bin/sh", "-c", "echo out of memory; exit 9"]):
        job = bench.ended(job_id)
    assert (job.status, job.attempt) == (JobStatus.FAILED, 3)
    assert "ended with status 9" in job.reason
    assert "out of memory" in job.reason


def test_a_killed_child_is_started_again(bench: Bench) -> None:
    job_id = bench.submit()
    with bench.working("hang"):
        bench.wait_for(job_id, lambda job: job.progress)
        (child,) = bench.processes(job_id)
        child.kill()
        bench.wait_for(job_id, lambda job: job.attempt == 2 and bench.processes(job_id))
        bench.queue.cancel(job_id)
        bench.ended(job_id)


@pytest.mark.parametrize("mode", ["hang", "stubborn"])
def test_a_cancel_ends_all_processes_within_five_seconds(bench: Bench, mode: str) -> None:
    job_id = bench.submit()
    with bench.working(mode):
        bench.wait_for(job_id, lambda job: job.progress)
        if mode == "stubborn":
            wait_until(lambda: len(bench.processes(job_id)) == 2)
        asked = time.monotonic()
        bench.queue.cancel(job_id)
        job = bench.wait_for(job_id, lambda job: job.status.final)
        assert time.monotonic() - asked < 5
        assert bench.processes(job_id) == []
        bench.ended(job_id)
        wait_until(lambda: not bench.workspace(job_id).scratch.exists())
    assert job.status is JobStatus.CANCELED
    assert run_status(bench) == "KILLED"


def test_a_tracker_that_is_down_delays_only_the_publication(bench: Bench) -> None:
    bench.tracker.down = True
    job_id = bench.submit()
    with bench.working():
        bench.wait_for(job_id, lambda job: job.progress.get("epoch") == EPOCHS)
        wait_until(lambda: bench.workspace(job_id).result_path.exists())
        time.sleep(bench.settings.lease_seconds * 1.5)
        assert bench.queue.get(job_id).status is JobStatus.RUNNING
        bench.tracker.down = False
        job = bench.ended(job_id)
    assert (job.status, job.attempt) == (JobStatus.SUCCEEDED, 1)
    assert bench.steps() == ALL_STEPS


def test_a_cancel_does_not_wait_for_the_tracker(bench: Bench) -> None:
    bench.tracker.down = True
    job_id = bench.submit()
    with bench.working():
        wait_until(lambda: bench.workspace(job_id).result_path.exists())
        bench.queue.cancel(job_id)
        job = bench.wait_for(job_id, lambda job: job.status.final, timeout=5)
        assert job.status is JobStatus.CANCELED
        assert bench.tracker.runs == {}
        bench.tracker.down = False
        bench.ended(job_id)
    assert run_status(bench) == "KILLED"
    assert bench.steps() == ALL_STEPS


def test_a_stopped_worker_hands_its_job_back(bench: Bench) -> None:
    job_id = bench.submit()
    with bench.working("hang"):
        bench.wait_for(job_id, lambda job: job.progress)
    job = bench.queue.get(job_id)
    assert (job.status, job.attempt, job.max_attempts) == (JobStatus.QUEUED, 1, 4)
    assert bench.processes(job_id) == []
    with bench.working():
        job = bench.ended(job_id)
    assert (job.status, job.attempt) == (JobStatus.SUCCEEDED, 2)
    assert bench.steps() == ALL_STEPS


def test_a_committed_result_is_published_and_not_trained_again(bench: Bench) -> None:
    bench.tracker.down = True
    job_id = bench.submit()
    with bench.working():
        wait_until(lambda: bench.workspace(job_id).result_path.exists())
    bench.tracker.down = False
    with bench.working("reject"):  # it would fail if it were trained
        assert bench.ended(job_id).status is JobStatus.SUCCEEDED


def test_whoever_lost_the_lease_touches_nothing_more(bench: Bench) -> None:
    job_id = bench.submit()
    with bench.working("hang"):
        bench.wait_for(job_id, lambda job: job.progress)
        with bench.database.transaction() as session:
            row = bench.queue._locked(session, job_id)  # as by another worker, for a long time
            row.fence += 1
            row.lease_expires_at = now() + timedelta(hours=1)
        before = bench.queue.events(job_id)
        wait_until(lambda: not bench.processes(job_id))
        time.sleep(0.5)
        assert bench.queue.events(job_id) == before


def test_missing_data_fails_the_job_with_its_place(bench: Bench) -> None:
    job_id = bench.submit()
    path = bench.datasets.path(bench.dataset.sha256)
    path.rename(path.with_name("gone"))
    with bench.working():
        job = bench.ended(job_id)
    assert job.status is JobStatus.FAILED
    assert str(path) in job.reason


def test_leftovers_are_killed_by_their_mark(tmp_path: Path) -> None:
    launcher = LocalLauncher()
    mark = str(tmp_path)
    old = launcher.start(["/bin/sleep", "600"], log=tmp_path / "log", mark=mark)
    other = launcher.start(["/bin/sleep", "600"], log=tmp_path / "log", mark="another")
    wait_until(lambda: launcher.end_leftovers(mark) == 1)
    wait_until(lambda: old.poll() is not None)
    assert other.poll() is None
    other.terminate(30)
    assert other.poll() == -signal.SIGTERM
    assert launcher.end_leftovers(mark) == 0


def test_children_do_not_see_our_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PELLUCID_API_KEYS", "top-secret")
    log = tmp_path / "log"
    process = LocalLauncher().start(["/usr/bin/env"], log=log, mark="m")
    wait_until(lambda: process.poll() == 0)
    assert "top-secret" not in log.read_text()
    assert f"HOME={os.environ['HOME']}" in log.read_text()
