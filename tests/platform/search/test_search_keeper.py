"""Searches, step by step: trials are jobs, the table alone remembers, anybody may go on."""

import math
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pellucid.db.base import now
from pellucid.errors import Conflict, LeaseLost
from pellucid.jobs.queue import Claim
from pellucid.resources.jobs import Job, JobStatus
from pellucid.search import keeper as keepers
from pellucid.search.keeper import PARENT_TAG, SearchKeeper
from pellucid.tracking.memory import MemoryTracker
from support.workers import Bench, wait_until

SPACE = {"optimizer.lr": {"kind": "range", "low": 1e-4, "high": 1.0, "log": True}}
QUEUED, RUNNING = JobStatus.QUEUED, JobStatus.RUNNING
SUCCEEDED, FAILED = JobStatus.SUCCEEDED, JobStatus.FAILED
CANCELED, PRUNED = JobStatus.CANCELED, JobStatus.PRUNED


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.database.close()


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keepers, "_STEP_SECONDS", 0.0)


def submit(bench: Bench, **search: Any) -> str:
    return bench.submit(search={"space": SPACE, "trials": 4, "parallel": 2} | search)


def keeper(bench: Bench, tracker: MemoryTracker | None = None) -> SearchKeeper:
    return SearchKeeper(
        bench.queue, bench.datasets, tracker or bench.tracker, name="keeper", lease_seconds=60
    )


def loss_of(job: Job) -> float:
    return abs(math.log10(job.params["optimizer.lr"]) + 2)


def claim(bench: Bench) -> Claim:
    found = bench.queue.claim("worker", 60)
    assert found is not None
    return found


def succeed(bench: Bench, held: Claim) -> float:
    loss = loss_of(held.job)
    result = {"validation": {"loss": loss}}
    bench.queue.finish(held, SUCCEEDED, "Done.", result=result)
    return loss


def tell(bench: Bench, held: Claim, epoch: int, loss: float) -> None:
    data = {"epoch": epoch, "epochs": 100, "validation_loss": loss}
    bench.queue.append_events(held, [("progress", data, now())])


def test_a_search_goes_from_trials_to_its_winner(bench: Bench) -> None:
    search_id = submit(bench)
    keep = keeper(bench)
    assert bench.queue.claim("worker", 60) is None  # a search is no worker's
    losses: list[float] = []
    for _ in range(4):
        assert keep.step()
        active = [job for job in bench.queue.trials(search_id) if not job.status.final]
        assert len(active) == min(2, 4 - len(losses))
        losses.append(succeed(bench, claim(bench)))
    keep.step()
    search = bench.queue.get(search_id)
    trials = bench.queue.trials(search_id)
    best = min(range(4), key=losses.__getitem__)
    assert (search.status, search.winner) == (QUEUED, trials[best].id)
    assert f"Trial {best} is the best of 4" in search.reason
    assert not keep.step()
    held = claim(bench)
    assert held.job_id == search_id
    assert held.job.plan == trials[best].plan
    assert held.job.plan["optimizer"]["lr"] == trials[best].params["optimizer.lr"]
    assert held.job.plan["search"] is None
    assert bench.queue.get(search_id).plan["search"]["trials"] == 4
    assert [job.id for job in bench.queue.list().items] == [search_id]
    listed = bench.queue.list(parent=search_id).items
    assert [job.trial for job in listed] == [3, 2, 1, 0]


def test_the_search_tells_of_every_trial_once_and_how_it_stands(bench: Bench) -> None:
    search_id = submit(bench, trials=2)
    keeper(bench).step()
    for _ in range(2):
        succeed(bench, claim(bench))
        keeper(bench).step()  # a new one each time: the table remembers
    events = [event.data for event in bench.queue.events(search_id, kinds=["trial"])]
    assert [(data["trial"], data["status"]) for data in events] == [
        (0, "queued"),
        (1, "queued"),
        (0, "succeeded"),
        (1, "succeeded"),
    ]
    progress = bench.queue.events(search_id, kinds=["progress"])[-1].data
    assert (progress["trials"], progress["ended"], progress["metric"]) == (2, 2, "loss")
    assert progress["best"]["value"] == min(data["value"] for data in events[2:])


def test_the_same_seed_and_order_give_the_same_trials(bench: Bench) -> None:
    params = []
    for _ in range(2):
        search_id = submit(bench, parallel=1)
        for _ in range(4):
            keeper(bench).step()
            succeed(bench, claim(bench))
        keeper(bench).step()
        bench.queue.finish(claim(bench), SUCCEEDED, "Registered.")
        params.append([job.params for job in bench.queue.trials(search_id)])
    assert params[0] == params[1]


def test_a_keeper_that_dies_in_a_step_is_followed_by_another(bench: Bench) -> None:
    search_id = submit(bench)
    dead = bench.queue.claim_search("dead", 0.0)
    assert dead is not None
    bench.queue.add_trial(dead, 0, {"optimizer.lr": 0.1}, bench.queue.get(search_id).plan)
    assert keeper(bench).step()
    assert [job.trial for job in bench.queue.trials(search_id)] == [0, 1]
    for write in (
        lambda: bench.queue.add_trial(dead, 2, {}, {}),
        lambda: bench.queue.prune(dead, search_id, ""),
        lambda: bench.queue.conclude(dead, search_id, ""),
        lambda: bench.queue.stop_trials(dead),
        lambda: bench.queue.next_step(dead, 0),
    ):
        with pytest.raises(LeaseLost):
            write()


def test_only_one_keeper_steps_a_search_at_a_time(bench: Bench) -> None:
    submit(bench)
    held = bench.queue.claim_search("one", 60)
    assert held is not None
    assert bench.queue.claim_search("two", 60) is None
    bench.queue.next_step(held, 0)
    assert bench.queue.claim_search("two", 60) is not None


def test_bad_trials_are_pruned_at_a_rung(bench: Bench) -> None:
    search_id = submit(bench, trials=3, parallel=3, first_rung=2)
    keeper(bench).step()
    held = [claim(bench) for _ in range(3)]
    for number, loss in enumerate([0.1, 0.5, 0.6]):
        tell(bench, held[number], 1, loss)
    keeper(bench).step()
    assert not any(bench.queue.get(each.job_id).cancel_requested for each in held)
    for number, loss in enumerate([0.1, 0.5, 0.6]):
        tell(bench, held[number], 2, loss)
    keeper(bench).step()
    asked = [bench.queue.get(each.job_id).cancel_requested for each in held]
    assert asked == [False, True, True]
    for each in held[1:]:
        ended = bench.queue.finish(each, CANCELED, "Canceled on request.")
        assert ended.status is PRUNED
        with pytest.raises(Conflict):
            bench.queue.retry(ended.id)
    succeed(bench, held[0])
    keeper(bench).step()
    assert bench.queue.get(search_id).winner == held[0].job_id


def test_a_canceled_search_cancels_its_trials(bench: Bench) -> None:
    search_id = submit(bench, parallel=2)
    keeper(bench).step()
    held = claim(bench)
    bench.queue.cancel(search_id)
    trials = bench.queue.trials(search_id)
    assert [job.status for job in trials] == [RUNNING, CANCELED]
    assert trials[0].cancel_requested
    keeper(bench).step()
    assert bench.queue.get(search_id).status is RUNNING  # until its last trial has ended
    bench.queue.finish(held, CANCELED, "Canceled on request.")
    keeper(bench).step()
    assert bench.queue.get(search_id).status is CANCELED
    assert len(bench.queue.trials(search_id)) == 2


def test_a_canceled_search_goes_on_when_it_is_retried(bench: Bench) -> None:
    search_id = submit(bench)
    keeper(bench).step()
    bench.queue.cancel(search_id)
    keeper(bench).step()
    trial = bench.queue.trials(search_id)[0]
    with pytest.raises(Conflict, match="Retry the search"):
        raise_for(lambda: bench.queue.retry(trial.id))
    bench.queue.retry(search_id)
    assert [job.status for job in bench.queue.trials(search_id)] == [QUEUED, QUEUED]
    for _ in range(4):
        keeper(bench).step()
        succeed(bench, claim(bench))
    keeper(bench).step()
    assert bench.queue.get(search_id).winner


def raise_for(call: Any) -> None:
    """The error as a user sees it, its remedy included."""
    try:
        call()
    except Conflict as error:
        raise Conflict(str(error)) from error


def test_one_canceled_trial_leaves_the_others(bench: Bench) -> None:
    search_id = submit(bench, trials=2)
    keeper(bench).step()
    bench.queue.cancel(bench.queue.trials(search_id)[0].id)
    succeed(bench, claim(bench))
    keeper(bench).step()
    assert bench.queue.get(search_id).winner == bench.queue.trials(search_id)[1].id


def test_a_search_without_a_good_trial_fails_and_says_why(bench: Bench) -> None:
    search_id = submit(bench, trials=2)
    keeper(bench).step()
    for _ in range(2):
        bench.queue.finish(claim(bench), FAILED, "The loss became nan.")
    keeper(bench).step()
    search = bench.queue.get(search_id)
    assert search.status is FAILED
    assert "The loss became nan." in search.reason


def test_a_search_whose_trials_all_fail_gives_up_early(bench: Bench) -> None:
    search_id = submit(bench, trials=100)
    for _ in range(5):
        keeper(bench).step()
        bench.queue.finish(claim(bench), FAILED, "Out of memory.")
    keeper(bench).step()
    search = bench.queue.get(search_id)
    assert search.status is FAILED
    assert "Out of memory." in search.reason
    assert all(job.status.final for job in bench.queue.trials(search_id))


def test_values_that_the_plan_does_not_take_fail_their_trial(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keepers, "suggest", lambda *_: {"optimizer.lr": -1.0})
    search_id = submit(bench, trials=1)
    keeper(bench).step()
    (trial,) = bench.queue.trials(search_id)
    assert trial.status is FAILED
    assert "optimizer.lr" in trial.reason


def test_runs_of_trials_lie_below_the_run_of_their_search(bench: Bench) -> None:
    search_id = submit(bench, trials=1)
    bench.tracker.down = True
    keep = keeper(bench)
    keep.step()  # trials start, whether the tracker answers or not
    held = claim(bench)
    bench.tracker.down = False
    bench.queue.set_run(held, bench.tracker.open_run(held.job_id, "trial", {}))
    keeper(bench).step()
    search_run = bench.queue.get(search_id).run_id
    assert search_run is not None
    trial_run = bench.queue.get(held.job_id).run_id
    assert trial_run is not None
    assert bench.tracker.runs[trial_run].tags[PARENT_TAG] == search_run
    assert bench.tracker.runs[search_run].params["search.trials"] == "1"


def test_one_worker_runs_a_whole_search(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keepers, "_STEP_SECONDS", 0.1)
    search_id = submit(bench, pruner="none", trials=3)
    with bench.working():
        search = bench.ended(search_id)
        assert search.status is SUCCEEDED, search.reason
        wait_until(lambda: not bench.queue.unclosed_runs())
    trials = bench.queue.trials(search_id)
    assert [job.status for job in trials] == [SUCCEEDED] * 3
    assert [job.model_version for job in trials] == [None] * 3
    assert search.model_version == 1
    best = min(trials, key=loss_of)
    assert search.winner == best.id
    assert search.result["alias"] == "champion"
    assert {run.status for run in bench.tracker.runs.values()} == {"FINISHED"}
    assert len(bench.tracker.runs) == 4
    (version,) = bench.tracker.versions("toy")
    assert version.run_id == search.run_id
    run = bench.tracker.runs[str(search.run_id)]
    assert run.params["optimizer.lr"] == str(best.params["optimizer.lr"])
    study = bench.workspace(search_id).read_request().study
    assert study is not None
    assert [entry["trial"] for entry in study["trials"]] == [0, 1, 2]
    steps = [point.step for point in run.history if point.key == "train/loss"]
    assert steps == list(range(1, 9))  # the winner's curve, not trained again


def test_a_killed_worker_leaves_a_search_that_goes_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keepers, "_STEP_SECONDS", 0.1)
    search_id = submit(bench, pruner="none", trials=3)
    with bench.working_process("hang") as process:
        wait_until(lambda: any(job.progress for job in bench.queue.trials(search_id)))
        process.kill()
    with bench.working():
        search = bench.ended(search_id)
    assert search.status is SUCCEEDED, search.reason
    assert sum(job.attempt for job in bench.queue.trials(search_id)) == 4


def test_nothing_is_due_without_a_search(bench: Bench) -> None:
    bench.submit()
    assert not keeper(bench).step(threading.Event())
