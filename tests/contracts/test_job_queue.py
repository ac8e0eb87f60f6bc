"""The job queue keeps its promises on SQLite and on PostgreSQL, under concurrency too."""

import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from pellucid.db.base import now
from pellucid.db.session import Database
from pellucid.errors import Conflict, IdempotencyConflict, InvalidInput, LeaseLost, NotFound
from pellucid.jobs import claims, rows
from pellucid.jobs.queue import Claim, JobQueue, Position
from pellucid.resources.jobs import BATCH_KINDS, Job, JobKind, JobStatus

LEASE = 60.0


@pytest.fixture
def no_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "rest", lambda crashes: timedelta(0))


def submit(queue: JobQueue, name: str = "credit", key: str | None = None) -> Job:
    job, created = queue.submit(
        {"name": name}, name=name, data_version="d" * 64, idempotency_key=key
    )
    assert created
    return job


def claim(queue: JobQueue, worker: str = "w1") -> Claim:
    found = queue.claim(worker, LEASE)
    assert found is not None
    return found


def states(queue: JobQueue, job_id: str) -> list[str]:
    return [event.data["status"] for event in queue.events(job_id, kinds=["state"])]


def test_a_job_lives_from_submission_to_success(queue: JobQueue) -> None:
    job = submit(queue)
    assert (job.status, job.attempt, job.max_attempts) == (JobStatus.QUEUED, 0, 3)
    held = claim(queue)
    assert held.job.status is JobStatus.RUNNING
    assert (held.job.attempt, held.job.worker) == (1, "w1")
    assert queue.heartbeat(held, LEASE) is False
    queue.set_run(held, "run-1")
    ended = queue.finish(
        held, JobStatus.SUCCEEDED, "Registered.", model_version=2, result={"metrics": {"f1": 1.0}}
    )
    assert ended == queue.get(job.id)
    assert (ended.run_id, ended.model_version, ended.result) == (
        "run-1",
        2,
        {"metrics": {"f1": 1.0}},
    )
    assert ended.finished_at is not None
    assert ended.worker is None
    assert states(queue, job.id) == ["queued", "running", "succeeded"]
    assert queue.unclosed_runs() == []
    assert queue.claim("w2", LEASE) is None


def test_jobs_are_claimed_in_the_order_of_submission(queue: JobQueue) -> None:
    ids = []
    for _ in range(3):
        ids.append(submit(queue).id)
        threading.Event().wait(0.002)  # ids sort by the millisecond
    assert [claim(queue).job_id for _ in ids] == ids


def test_the_same_key_is_the_same_job(queue: JobQueue) -> None:
    job = submit(queue, key="k")
    arguments = {"name": "credit", "data_version": "d" * 64}
    again, created = queue.submit({"name": "credit"}, **arguments, idempotency_key="k")
    assert (again.id, created) == (job.id, False)
    with pytest.raises(IdempotencyConflict):
        queue.submit({}, **arguments, idempotency_key="k", fingerprint="other")
    with pytest.raises(InvalidInput, match="255"):
        queue.submit({}, **arguments, idempotency_key="k" * 256)


def test_one_key_submitted_at_once_makes_one_job(queue: JobQueue) -> None:
    start = threading.Barrier(8)

    def run(_: int) -> tuple[str, bool]:
        start.wait()
        job, created = queue.submit({}, name="n", data_version="d", idempotency_key="same")
        return job.id, created

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(run, range(8)))
    assert len({job_id for job_id, _ in results}) == 1
    assert sum(created for _, created in results) == 1


def test_an_expired_lease_is_taken_over_and_its_writer_refused(queue: JobQueue) -> None:
    job = submit(queue)
    stale = claim(queue)
    assert queue.claim("w2", LEASE) is None
    queue.heartbeat(stale, -1)
    fresh = claim(queue, "w2")
    assert (fresh.job_id, fresh.job.attempt, fresh.fence) == (job.id, 2, stale.fence + 1)
    writes: list[Callable[[], object]] = [
        lambda: queue.heartbeat(stale, LEASE),
        lambda: queue.append_events(stale, [("log", {"text": "late"}, now())]),
        lambda: queue.finish(stale, JobStatus.SUCCEEDED, "late"),
        lambda: queue.requeue(stale, "late"),
        lambda: queue.release(stale, "late"),
        lambda: queue.set_run(stale, "late"),
    ]
    before = queue.get(job.id), queue.events(job.id)
    for write in writes:
        with pytest.raises(LeaseLost):
            write()
    assert (queue.get(job.id), queue.events(job.id)) == before
    assert "w1 fell silent" in queue.events(job.id, kinds=["state"])[-2].data["reason"]


def test_a_late_heartbeat_keeps_a_lease_nobody_took(queue: JobQueue) -> None:
    submit(queue)
    held = claim(queue)
    queue.heartbeat(held, -1)
    queue.heartbeat(held, LEASE)
    assert queue.claim("w2", LEASE) is None


def test_a_crash_rests_longer_each_time_and_fails_at_the_last_attempt(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit(queue)
    assert queue.requeue(claim(queue), "Killed.").status is JobStatus.QUEUED
    assert queue.claim("w1", LEASE) is None
    assert rows.rest(1) < rows.rest(2) < rows.rest(3)
    assert rows.rest(1000) == rows.rest(100)
    monkeypatch.setattr(claims, "rest", lambda crashes: timedelta(0))
    while queue.claim("w1", LEASE) is None:
        threading.Event().wait(0.05)
    held = Claim(queue.get(job.id), 2, Position(0, 0))
    queue.requeue(held, "Killed.")
    failed = queue.requeue(claim(queue), "Killed by SIGKILL.")
    assert failed.status is JobStatus.FAILED
    assert failed.reason == "Killed by SIGKILL. That was the last of 3 attempts."
    assert [run.id for run in queue.unclosed_runs()] == [job.id]


def test_a_worker_that_keeps_dying_ends_the_job(queue: JobQueue, no_rest: None) -> None:
    job = submit(queue)
    for _ in range(3):
        queue.heartbeat(claim(queue), -1)
    assert queue.claim("w1", LEASE) is None
    assert queue.get(job.id).status is JobStatus.FAILED


def test_an_attempt_handed_back_does_not_count(queue: JobQueue) -> None:
    submit(queue)
    for attempt in range(1, 6):
        held = claim(queue)
        assert held.job.attempt == attempt
        assert queue.release(held, "The worker stopped.").status is JobStatus.QUEUED
    assert held.job.max_attempts - held.job.attempt == 2


def test_cancel_is_idempotent_in_every_state(queue: JobQueue) -> None:
    waiting = submit(queue)
    assert queue.cancel(waiting.id).status is JobStatus.CANCELED
    assert queue.cancel(waiting.id) == queue.get(waiting.id)
    running = submit(queue)
    held = claim(queue)
    assert queue.cancel(running.id).status is JobStatus.RUNNING
    assert queue.cancel(running.id).cancel_requested
    assert queue.heartbeat(held, LEASE) is True
    queue.finish(held, JobStatus.CANCELED, "Canceled on request.")
    assert queue.cancel(running.id).status is JobStatus.CANCELED
    assert states(queue, running.id) == ["queued", "running", "running", "canceled"]
    with pytest.raises(NotFound):
        queue.cancel("none")


def test_a_cancel_holds_when_the_worker_is_gone(queue: JobQueue) -> None:
    job = submit(queue)
    queue.heartbeat(claim(queue), -1)
    queue.cancel(job.id)
    assert queue.claim("w2", LEASE) is None
    assert queue.get(job.id).status is JobStatus.CANCELED


@pytest.mark.parametrize("ending", ["finish", "requeue"])
def test_a_cancel_races_with_the_end(queue: JobQueue, ending: str, no_rest: None) -> None:
    for _ in range(10):
        job = submit(queue)
        held = claim(queue)
        start = threading.Barrier(2)

        def end(held: Claim = held, start: threading.Barrier = start) -> None:
            start.wait()
            if ending == "finish":
                queue.finish(held, JobStatus.SUCCEEDED, "Done.")
            else:
                queue.requeue(held, "Crashed.")

        thread = threading.Thread(target=end)
        thread.start()
        start.wait()
        queue.cancel(job.id)
        thread.join()
        expected = JobStatus.SUCCEEDED if ending == "finish" else JobStatus.CANCELED
        assert queue.get(job.id).status is expected
        assert states(queue, job.id)[-1] == expected
        assert queue.claim("w2", LEASE) is None


def test_retry_grants_new_attempts_to_the_same_job(queue: JobQueue) -> None:
    job = submit(queue)
    with pytest.raises(Conflict, match="queued"):
        queue.retry(job.id)
    queue.finish(claim(queue), JobStatus.FAILED, "No.")
    retried = queue.retry(job.id)
    assert (retried.id, retried.status, retried.max_attempts) == (job.id, JobStatus.QUEUED, 4)
    assert retried.finished_at is None
    held = claim(queue)
    assert held.job.attempt == 2
    assert not held.job.cancel_requested
    queue.finish(held, JobStatus.SUCCEEDED, "Yes.")
    with pytest.raises(Conflict, match="succeeded"):
        queue.retry(job.id)


def test_a_run_stays_on_the_list_until_it_is_closed(queue: JobQueue) -> None:
    never_started = submit(queue)
    queue.cancel(never_started.id)
    job = submit(queue)
    held = claim(queue)
    queue.set_run(held, "run-1")
    assert queue.unclosed_runs() == []
    queue.finish(held, JobStatus.FAILED, "No.")
    assert [(run.id, run.run_id) for run in queue.unclosed_runs()] == [(job.id, "run-1")]
    queue.mark_run_closed(job.id, "run-1")
    assert queue.unclosed_runs() == []
    with pytest.raises(LeaseLost):
        queue.set_run(held, "run-2")  # opened by a request that hung meanwhile
    assert [run.run_id for run in queue.unclosed_runs()] == ["run-2"]
    queue.retry(job.id)
    queue.mark_run_closed(job.id, "run-2")
    queue.finish(claim(queue), JobStatus.FAILED, "No.")
    assert [run.id for run in queue.unclosed_runs()] == [job.id]


def test_events_are_numbered_without_gaps_while_many_write(queue: JobQueue) -> None:
    job = submit(queue)
    held = claim(queue)
    seen: list[int] = []
    done = threading.Event()

    def read() -> None:
        while not (done.is_set() and len(seen) == 2 + 60):
            new = queue.events(job.id, after=seen[-1] if seen else 0, limit=7)
            seen.extend(event.seq for event in new)

    def write(number: int) -> None:
        for step in range(5):
            queue.append_events(
                held, [("log", {"text": f"{number} {step} {i}"}, now()) for i in (1, 2)]
            )

    reader = threading.Thread(target=read)
    reader.start()
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(write, range(6)))
    done.set()
    reader.join(60)
    assert seen == list(range(1, 63))


def test_events_take_what_json_cannot(queue: JobQueue) -> None:
    submit(queue)
    held = claim(queue)
    data = {"train_loss": float("nan"), "text": "a\0b\ud800", "deep": [{"x": float("inf")}]}
    queue.append_events(held, [("progress", data, now())], Position(10, 20))
    stored = queue.events(held.job_id)[-1].data
    assert stored == {"train_loss": None, "text": "ab?", "deep": [{"x": None}]}
    assert queue.get(held.job_id).progress == stored
    queue.release(held, "again")
    assert claim(queue).position == Position(10, 20)
    with pytest.raises(InvalidInput, match="not finite"):
        queue.submit({"lr": float("inf")}, name="n", data_version="d")


def test_pages_stay_put_while_jobs_are_added(queue: JobQueue) -> None:
    old = [submit(queue, name=f"n{i % 2}").id for i in range(7)]
    found: list[str] = []
    cursor = None
    while True:
        page = queue.list(cursor=cursor, limit=3)
        found += [job.id for job in page.items]
        cursor = page.next_cursor
        threading.Event().wait(0.002)
        new = submit(queue)
        if cursor is None:
            break
    assert found == sorted(old, reverse=True)
    assert queue.list(limit=1).items[0].id == new.id
    assert {job.id for job in queue.list(name="n1").items} == set(old[1::2])
    queue.cancel(old[0])
    assert [job.id for job in queue.list(status=JobStatus.CANCELED).items] == [old[0]]
    assert len(queue.list(data_version="d" * 64).items) == 10
    assert queue.list(data_version="other").items == []


def test_unknown_jobs_are_not_found(queue: JobQueue) -> None:
    for ask in (queue.get, queue.events, queue.retry):
        with pytest.raises(NotFound, match="nope"):
            ask("nope")
    assert queue.events(submit(queue).id, after=10**30) == []


HAMMER = """
import json, random, sys
from datetime import UTC, datetime, timedelta
from pellucid.db.session import Database
from pellucid.errors import LeaseLost
from pellucid.jobs import claims as workers_side
from pellucid.jobs.queue import JobQueue
from pellucid.resources.jobs import JobStatus

workers_side.rest = lambda crashes: timedelta(0)
url, name = sys.argv[1:]
queue = JobQueue(Database(url), max_attempts=1000)
draw = random.Random(name).random
claims = []
while queue.list(status=JobStatus.QUEUED, limit=1).items or queue.list(
    status=JobStatus.RUNNING, limit=1
).items:
    claim = queue.claim(name, 30)
    if claim is None:
        continue
    claims.append((claim.job_id, claim.job.attempt))
    queue.append_events(claim, [("work", {"attempt": claim.job.attempt}, datetime.now(UTC))])
    chance = draw()
    if chance < 0.2:
        queue.heartbeat(claim, -1)  # falls silent
    elif chance < 0.4:
        queue.requeue(claim, "crash")
    else:
        queue.finish(claim, JobStatus.SUCCEEDED, "done")
print(json.dumps(claims))
"""


def test_processes_claim_each_attempt_exactly_once(url: str, database: Database) -> None:
    queue = JobQueue(database, max_attempts=1000)
    jobs = [submit(queue).id for _ in range(30)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", HAMMER, url, f"w{n}"], stdout=subprocess.PIPE, text=True
        )
        for n in range(3)
    ]
    outputs = [process.communicate(timeout=240)[0] for process in processes]
    claims = Counter(tuple(pair) for output in outputs for pair in json.loads(output))
    assert set(claims.values()) == {1}
    for job_id in jobs:
        events = queue.events(job_id, limit=10_000)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        attempts = [event.data["attempt"] for event in events if event.kind == "work"]
        assert attempts == list(range(1, queue.get(job_id).attempt + 1))
        assert queue.get(job_id).status is JobStatus.SUCCEEDED
    assert sum(claims.values()) > len(jobs)


@pytest.mark.parametrize("kind", BATCH_KINDS)
def test_a_batch_is_claimed_like_a_training_and_has_no_run(queue: JobQueue, kind: JobKind) -> None:
    job, _ = queue.submit({"model": "credit"}, name="credit", data_version="a" * 64, kind=kind)
    held = claim(queue)
    assert (held.job.id, held.job.kind) == (job.id, kind)
    queue.finish(held, JobStatus.FAILED, "Row 3 does not fit.")
    assert queue.unclosed_runs() == []
    assert queue.claim_search("keeper", 60.0) is None
    assert queue.retry(job.id).status is JobStatus.QUEUED


def test_jobs_by_kind_and_by_how_long_ago_they_ended(queue: JobQueue) -> None:
    training = submit(queue)
    made: dict[JobKind, Job] = {
        kind: queue.submit({}, name="credit", data_version="a" * 64, kind=kind)[0]
        for kind in BATCH_KINDS
    }
    assert [job.id for job in queue.list(kind="training").items] == [training.id]
    for kind, job in made.items():
        assert [found.id for found in queue.list(kind=kind, name="credit").items] == [job.id]
    assert queue.list(kind="scoring", status=JobStatus.FAILED).items == []
    assert queue.ended(BATCH_KINDS, 0) == []
    for job in (training, *made.values()):
        queue.cancel(job.id)
    assert set(queue.ended(BATCH_KINDS, 0)) == {job.id for job in made.values()}
    assert queue.ended(["scoring"], 0) == [made["scoring"].id]
    assert queue.ended(BATCH_KINDS, 60) == []
