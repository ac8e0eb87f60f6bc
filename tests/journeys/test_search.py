"""A search on real servers: trials are jobs, one is canceled, a worker dies, the best is served."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pellucid.datasets import bundled
from pellucid.resources.jobs import Job, JobStatus
from support.stack import Stack, running_stack
from support.workers import wait_until

PLAN: dict[str, Any] = {
    "name": "wine",
    "data": {"dataset": "wine"},
    "model": {"kind": "mlp", "widths": [16]},
    "training": {"epochs": 400, "patience": 400, "batch_size": 8},  # long enough to be canceled
    "evaluation": {"resamples": 100},
    "explanation": {"background": 10, "rows": 10},
    "search": {
        "trials": 5,
        "parallel": 2,
        "pruner": "none",
        "space": {
            "optimizer.lr": {"kind": "range", "low": 1e-4, "high": 0.1, "log": True},
            "model.dropout": {"kind": "choice", "values": [0, 0.2]},
        },
    },
}


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_search_survives_a_cancel_and_a_killed_worker(tmp_path: Path) -> None:
    with running_stack(tmp_path / "home", lease_seconds=4.0) as stack:
        table, roles = bundled.load("wine")
        file = tmp_path / "wine.parquet"
        pq.write_table(table, file)
        stack.client.datasets.add(file, name="wine", roles=roles)
        search = stack.client.jobs.submit(PLAN)
        assert search.kind == "search"

        wait_until(lambda: running(stack, search.id), 120)
        os.kill(stack.supervisor.pids()["worker"], signal.SIGKILL)
        later: list[Job] = []
        wait_until(lambda: later.extend(running(stack, search.id, is_later)) or later, 240)
        stack.client.jobs.cancel(later[0].id)

        done = stack.client.jobs.wait(search.id)
        assert done.status is JobStatus.SUCCEEDED, done.reason
        trials = {job.trial: job for job in stack.client.jobs.trials(search.id).items}
        assert sorted(trials) == list(range(5))  # type: ignore[type-var]
        ended = [job.status for job in trials.values()]
        assert ended.count(JobStatus.CANCELED) == 1
        assert ended.count(JobStatus.SUCCEEDED) == 4
        best = min(
            (job for job in trials.values() if job.status is JobStatus.SUCCEEDED),
            key=lambda job: job.result["validation"]["loss"],
        )
        assert done.winner == best.id
        assert done.result["validation"] == best.result["validation"]
        check_the_runs(stack, done, list(trials.values()))
        model = stack.client.models.get("wine")
        assert model.aliases["champion"] == done.model_version == model.latest == 1


def running(
    stack: Stack, search_id: str, wanted: Callable[[Job], bool] = lambda _: True
) -> list[Job]:
    """Trials that train, after at least one epoch."""
    jobs = stack.client.jobs.trials(search_id).items
    return [job for job in jobs if job.status is JobStatus.RUNNING and job.progress and wanted(job)]


def is_later(job: Job) -> bool:
    return (job.trial or 0) >= 2


def check_the_runs(stack: Stack, search: Job, trials: list[Job]) -> None:
    """One run for each job, those of the trials below that of the search, with its figures."""
    (parent,) = stack.runs(search.id)
    assert parent.info.status == "FINISHED"
    for job in trials:
        wait_until(lambda job=job: stack.runs(job.id)[0].info.status != "RUNNING")  # type: ignore[misc]
        (run,) = stack.runs(job.id)
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
    paths = {
        Path(item.path).stem for item in stack.mlflow.list_artifacts(parent.info.run_id, "figures")
    }
    assert {"parallel_coordinates", "search_importance", "search_history"} <= paths
    tables = {
        Path(item.path).name for item in stack.mlflow.list_artifacts(parent.info.run_id, "tables")
    }
    assert "trials.parquet" in tables
