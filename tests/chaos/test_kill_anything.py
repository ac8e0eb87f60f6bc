"""`kill -9` of the training process, the worker, the API and MLflow, while a job runs.

Whatever dies, and whenever: the job succeeds exactly once, with one registered version, one
finished run, and curves without a gap or a repeated step. `PELLUCID_CHAOS_ROUNDS` sets the number
of rounds; the table of what happened is printed at the end (`pytest -s`).
"""

import os
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from pellucid.datasets import synthetic
from pellucid.errors import Unavailable
from pellucid.resources.jobs import Job, JobStatus
from support.stack import Stack, running_stack

ROUNDS = int(os.environ.get("PELLUCID_CHAOS_ROUNDS", "20"))
EPOCHS = 150
SECONDS_PER_ROUND = 900.0  # of which a usual machine needs a tenth
TARGETS = ("training", "worker", "api", "mlflow")


@dataclass
class Round:
    seed: int
    kills: list[str] = field(default_factory=list)
    seconds: float = 0.0
    attempts: int = 0
    repeated: int = 0

    def row(self) -> str:
        kills = ", ".join(self.kills)
        return f"{self.seed:>5} {self.seconds:>7.1f} {self.attempts:>8} {self.repeated:>8}  {kills}"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(
        tmp_path_factory.mktemp("chaos"), lease_seconds=5.0, max_attempts=8
    ) as stack:
        yield stack


@pytest.fixture(scope="module")
def table() -> Iterator[list[Round]]:
    rounds: list[Round] = []
    yield rounds
    print(f"\n{'round':>5} {'seconds':>7} {'attempts':>8} {'repeated':>8}  killed (at seconds)")
    for one in rounds:
        print(one.row())


@pytest.fixture(scope="module")
def dataset(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> str:
    import pyarrow.parquet as pq

    content, roles = synthetic.credit(4000, seed=1)
    path = Path(tmp_path_factory.mktemp("data") / "credit.parquet")
    pq.write_table(content, path)
    return stack.client.datasets.add(path, name="chaos", roles=roles).name


def _rounds() -> list[object]:
    first, *rest = range(ROUNDS)
    return [first, *(pytest.param(seed, marks=pytest.mark.slow) for seed in rest)]


@pytest.mark.timeout(SECONDS_PER_ROUND + 60)
@pytest.mark.parametrize("seed", _rounds())
def test_a_job_survives_the_death_of_anything(
    stack: Stack, dataset: str, table: list[Round], seed: int
) -> None:
    chance = random.Random(seed)
    result = Round(seed)
    job = _submit(stack, dataset, seed)
    started = time.monotonic()
    for target in chance.sample(TARGETS, k=len(TARGETS)):
        killed = False
        while not killed and not _final(stack, job):
            _wait_for_progress(stack, job, chance.uniform(0.0, 6.0))
            killed = _kill(stack, target)
        if killed:
            result.kills.append(f"{target} {time.monotonic() - started:.1f}")
    done = _wait(stack, job, started + SECONDS_PER_ROUND)
    result.seconds, result.attempts = time.monotonic() - started, done.attempt
    result.repeated = _repeated_steps(stack, job)
    table.append(result)
    _check_everything_happened_once(stack, done)


def _submit(stack: Stack, dataset: str, seed: int) -> Job:
    plan = {
        "name": f"chaos-{seed}",
        "data": {"dataset": dataset},
        "model": {"kind": "mlp"},
        "training": {
            "epochs": EPOCHS,
            "patience": EPOCHS,
            "batch_size": 16,
            "seed": seed,
            "checkpoint_seconds": 2.0,
        },
        "evaluation": {"resamples": 100},
        "explanation": {"rows": 16, "background": 16},
    }
    return stack.client.jobs.submit(plan, idempotency_key=f"chaos-{seed}")


def _wait_for_progress(stack: Stack, job: Job, seconds: float) -> None:
    """Until the job has a training process (or has ended), and some random time more."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not stack.training_pids() and not _final(stack, job):
        time.sleep(0.1)
    time.sleep(seconds)


def _kill(stack: Stack, target: str) -> bool:
    pids = stack.training_pids() if target == "training" else [stack.supervisor.pids().get(target)]
    killed = False
    for pid in pids:
        try:
            for process in [psutil.Process(pid), *_helpers(pid, target)]:
                process.send_signal(signal.SIGKILL)
                killed = True
        except (psutil.NoSuchProcess, TypeError, ValueError):
            continue
    return killed


def _helpers(pid: int | None, target: str) -> list[psutil.Process]:
    """MLflow's own worker processes; a worker's training process is left to the kernel."""
    return psutil.Process(pid).children(recursive=True) if target in ("mlflow", "api") else []


def _final(stack: Stack, job: Job) -> bool:
    try:
        return stack.client.jobs.get(job.id).status.final
    except Unavailable:  # the API was just killed
        return False


def _wait(stack: Stack, job: Job, deadline: float) -> Job:
    while not _final(stack, job) and time.monotonic() < deadline:
        time.sleep(0.3)
    while True:
        try:
            return stack.client.jobs.get(job.id)
        except Unavailable:
            time.sleep(0.3)


def _repeated_steps(stack: Stack, job: Job) -> int:
    """Steps that a later attempt computed again; they must not reach the tracker."""
    from pellucid.jobs.workspace import read_spool

    lines = [entry for _, entry in read_spool(stack.workspace(job.id).metrics_path)]
    points = [(line["key"], line["step"]) for line in lines]
    return len(points) - len(set(points))


def _check_everything_happened_once(stack: Stack, job: Job) -> None:
    assert job.status is JobStatus.SUCCEEDED, f"{job.status}: {job.reason}"
    (run,) = stack.runs(job.id)
    assert (run.info.run_id, run.info.status) == (job.run_id, "FINISHED")
    versions = stack.mlflow.search_model_versions(f"name = '{job.name}'")
    assert [int(version.version) for version in versions] == [job.model_version] == [1]
    model = stack.mlflow.get_registered_model(job.name)
    assert {name: int(version) for name, version in model.aliases.items()} == {"champion": 1}
    for key in ("train/loss", "validation/loss", "lr", "gradient_norm"):
        steps = [point.step for point in stack.mlflow.get_metric_history(run.info.run_id, key)]
        assert steps == list(range(1, EPOCHS + 1)), key
    for key in run.data.metrics:
        steps = [point.step for point in stack.mlflow.get_metric_history(run.info.run_id, key)]
        assert len(steps) == len(set(steps)), key
    ends = [
        event.data["status"]
        for event in stack.client.jobs.events(job.id)
        if event.kind == "state" and JobStatus(event.data["status"]).final
    ]
    assert ends == ["succeeded"]
