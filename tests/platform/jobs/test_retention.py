"""Files of scorings and explanations that ended long ago go; those of trainings stay."""

import threading
from datetime import timedelta
from pathlib import Path

import pytest

from pellucid.db.base import now
from pellucid.db.tables.jobs import JobRow
from pellucid.jobs.retention import Retention
from pellucid.resources.jobs import BATCH_KINDS, JobKind
from support.workers import Bench

DAYS = 30


def a_job(bench: Bench, kind: JobKind, *, days_ago: float | None) -> Path:
    """The directory of a job that ended so long ago, or has not ended."""
    job, _ = bench.queue.submit({}, name="credit", data_version="d" * 64, kind=kind)
    if days_ago is not None:
        bench.queue.cancel(job.id)
        with bench.database.transaction() as session:
            session.get_one(JobRow, job.id).finished_at = now() - timedelta(days=days_ago)
    directory = bench.workspace(job.id).root
    (directory / "outputs").mkdir(parents=True)
    (directory / "outputs" / "answers.parquet").write_bytes(b"PAR1")
    return directory


def retention(bench: Bench, days: int = DAYS) -> Retention:
    return Retention(bench.queue, bench.settings.model_copy(update={"job_days": days}))


@pytest.mark.parametrize("kind", BATCH_KINDS)
def test_only_what_ended_long_ago_goes(bench: Bench, kind: JobKind) -> None:
    old = a_job(bench, kind, days_ago=DAYS + 1)
    kept = [
        a_job(bench, kind, days_ago=DAYS - 1),
        a_job(bench, kind, days_ago=None),
        a_job(bench, "training", days_ago=DAYS + 1),
    ]
    assert retention(bench).sweep() == [old.name]
    assert sorted(path.name for path in old.parent.iterdir()) == sorted(k.name for k in kept)
    assert all((path / "outputs" / "answers.parquet").is_file() for path in kept)
    assert retention(bench).sweep() == []
    assert bench.queue.get(old.name).status.final, "the job itself stays"


def test_what_a_dead_worker_left_half_removed_goes_too(bench: Bench) -> None:
    old = a_job(bench, "scoring", days_ago=DAYS + 1)
    left = old.rename(old.with_name(f"{old.name}.removed"))
    retention(bench).sweep()
    assert not left.exists()


def test_a_worker_sweeps_when_it_starts(bench: Bench) -> None:
    old = a_job(bench, "explanation", days_ago=DAYS + 1)
    job_id = bench.submit()
    with bench.working():
        bench.ended(job_id)
    assert not old.exists()
    assert bench.workspace(job_id).root.exists()


def test_zero_days_are_for_ever(bench: Bench) -> None:
    old = a_job(bench, "scoring", days_ago=10_000)
    retention(bench, days=0).run(threading.Event())  # returns at once
    assert old.exists()
