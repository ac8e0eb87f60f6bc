"""Searches and trials in the job table keep their promises on SQLite and on PostgreSQL."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from pellucid.errors import Conflict, LeaseLost
from pellucid.jobs.queue import Claim, JobQueue
from pellucid.resources.jobs import Job, JobStatus

QUEUED, RUNNING, SUCCEEDED = JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.SUCCEEDED
FAILED, CANCELED, PRUNED = JobStatus.FAILED, JobStatus.CANCELED, JobStatus.PRUNED
LEASE = 60.0


def a_search(queue: JobQueue) -> Job:
    plan = {"search": {"trials": 2}}
    return queue.submit(plan, name="credit", data_version="a" * 64, kind="search")[0]


def stepped(queue: JobQueue, lease: float = LEASE) -> Claim:
    found = queue.claim_search("keeper", lease)
    assert found is not None
    return found


def add(queue: JobQueue, step: Claim, number: int, plan: Any = None) -> Job:
    job = queue.add_trial(
        step, number, {"optimizer.lr": 0.1}, {"n": number} if plan is None else plan
    )
    assert job is not None
    return job


def claimed(queue: JobQueue) -> Claim:
    found = queue.claim("worker", LEASE)
    assert found is not None
    return found


def test_a_search_waits_for_its_keeper_and_trials_for_workers(queue: JobQueue) -> None:
    search = a_search(queue)
    assert queue.claim("worker", LEASE) is None
    step = stepped(queue)
    assert step.job_id == search.id
    assert queue.claim_search("another", LEASE) is None
    trial = add(queue, step, 0)
    assert (trial.parent_id, trial.trial, trial.params) == (search.id, 0, {"optimizer.lr": 0.1})
    assert claimed(queue).job_id == trial.id
    queue.next_step(step, 0.0)
    again = stepped(queue)
    assert again.fence > step.fence
    assert again.job.attempt == 1


def test_writes_of_a_lost_step_are_refused(queue: JobQueue) -> None:
    a_search(queue)
    lost = stepped(queue, lease=-1.0)
    trial = add(queue, lost, 0)
    held = stepped(queue)
    for write in (
        lambda: queue.add_trial(lost, 1, {}, {}),
        lambda: queue.prune(lost, trial.id, "Bad."),
        lambda: queue.stop_trials(lost),
        lambda: queue.conclude(lost, trial.id, "Done."),
        lambda: queue.next_step(lost, 0.0),
        lambda: queue.finish(lost, FAILED, "Bad."),
    ):
        with pytest.raises(LeaseLost):
            write()
    assert [job.status for job in queue.trials(held.job_id)] == [QUEUED]


def test_the_winner_lends_its_plan_to_the_search(queue: JobQueue) -> None:
    search = a_search(queue)
    step = stepped(queue)
    trial = add(queue, step, 0)
    queue.finish(claimed(queue), SUCCEEDED, "Done.", result={"validation": {"loss": 0.5}})
    concluded = queue.conclude(step, trial.id, "The best of 1.")
    assert (concluded.status, concluded.winner) == (QUEUED, trial.id)
    assert queue.claim_search("keeper", LEASE) is None
    claim = claimed(queue)
    assert (claim.job_id, claim.job.plan) == (search.id, {"n": 0})
    assert claim.job.attempt == 1
    with pytest.raises(LeaseLost):
        queue.next_step(step, 0.0)
    done = queue.finish(claim, SUCCEEDED, "Registered.", model_version=1)
    assert done.plan == search.plan


def test_a_pruned_trial_says_so_whatever_its_state_was(queue: JobQueue) -> None:
    a_search(queue)
    step = stepped(queue)
    waiting, running = add(queue, step, 1), None
    add(queue, step, 0)
    running = claimed(queue)
    ids = {job.id for job in queue.trials(step.job_id)}
    for job_id in ids:
        queue.prune(step, job_id, "Others did better.")
    assert queue.heartbeat(running, LEASE)
    queue.finish(running, CANCELED, "Canceled on request.")
    assert {job.status for job in queue.trials(step.job_id)} == {PRUNED}
    assert queue.cancel(waiting.id).status is PRUNED
    with pytest.raises(Conflict):
        queue.retry(waiting.id)


def test_a_cancel_reaches_all_trials_and_no_more_are_added(queue: JobQueue) -> None:
    search = a_search(queue)
    step = stepped(queue)
    for number in range(3):
        add(queue, step, number)
    running = claimed(queue)
    queue.cancel(search.id)
    assert queue.add_trial(step, 3, {}, {}) is None
    assert queue.heartbeat(running, LEASE)
    statuses = {job.id: job.status for job in queue.trials(search.id)}
    assert statuses.pop(running.job_id) is RUNNING
    assert list(statuses.values()) == [CANCELED, CANCELED]


def test_a_search_that_waits_is_canceled_at_once(queue: JobQueue) -> None:
    assert queue.cancel(a_search(queue).id).status is CANCELED
    assert queue.claim_search("keeper", LEASE) is None


def test_a_trial_without_a_plan_has_failed(queue: JobQueue) -> None:
    a_search(queue)
    job = add(queue, stepped(queue), 0, "optimizer.lr: too large.")
    assert (job.status, job.reason) == (FAILED, "optimizer.lr: too large.")
    assert queue.claim("worker", LEASE) is None


def test_many_keepers_and_a_cancel_at_once_end_in_one_state(queue: JobQueue) -> None:
    search = a_search(queue)

    def keep(worker: int) -> None:
        for _ in range(10):
            step = queue.claim_search(f"keeper{worker}", LEASE)
            if step is None:
                continue
            try:
                number = len(queue.trials(search.id))
                if queue.add_trial(step, number, {}, {}) is not None:
                    queue.next_step(step, 0.0)
            except LeaseLost:
                pass

    with ThreadPoolExecutor(5) as pool:
        tasks = [pool.submit(keep, i) for i in range(4)]
        tasks.append(pool.submit(queue.cancel, search.id))
        for task in tasks:
            task.result()
    trials = queue.trials(search.id)
    assert [job.trial for job in trials] == list(range(len(trials)))
    assert queue.get(search.id).cancel_requested
    assert all(job.status is CANCELED for job in trials)
