"""A data set through a trained network as a job, on real servers, over a worker's death."""

import os
import signal
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pellucid.datasets import synthetic
from pellucid.resources.jobs import JobStatus
from support.stack import Stack, running_stack
from support.workers import wait_until

ROWS = 600_000
COMPARED = 5000


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_a_scoring_survives_its_worker(tmp_path: Path) -> None:
    with running_stack(tmp_path / "home", lease_seconds=4.0) as stack:
        train(stack, tmp_path)
        rows, _ = synthetic.credit(ROWS, seed=9)
        assert rows["employment_years"].null_count
        pq.write_table(rows, tmp_path / "new.parquet")
        stack.client.datasets.add(tmp_path / "new.parquet", name="new")

        job = stack.client.jobs.score("credit", "new")
        parts = stack.workspace(job.id).checkpoint
        wait_until(lambda: len(list(parts.glob("*.parquet"))) >= 2, 120)
        os.kill(stack.supervisor.pids()["worker"], signal.SIGKILL)
        done = stack.client.jobs.wait(job.id)
        assert (done.status, done.attempt) == (JobStatus.SUCCEEDED, 2), done.reason
        assert done.result["rows"] == ROWS
        assert stack.runs(job.id) == []

        stack.client.jobs.download_predictions(job.id, tmp_path / "out.parquet")
        found = pq.read_table(tmp_path / "out.parquet")
        assert found["application"].equals(rows["application"])
        some = np.random.default_rng(0).choice(ROWS, COMPARED, replace=False)
        inputs = [each["name"] for each in stack.client.models.version("credit", 1).inputs]
        assert {"employment_years", "purpose"} <= set(inputs)
        answers = stack.client.predict_table("credit", rows.take(some).select(inputs), 1)
        for name in ("label", "probability_0", "probability_1"):
            given, wanted = found[name].take(some), answers[name]
            np.testing.assert_allclose(given, wanted, rtol=0, atol=1e-6)


def train(stack: Stack, directory: Path) -> None:
    table, roles = synthetic.credit(2000, seed=3)
    pq.write_table(table, directory / "credit.parquet")
    stack.client.datasets.add(directory / "credit.parquet", name="credit", roles=roles)
    plan = {"name": "credit", "data": {"dataset": "credit"}, "training": {"epochs": 2}}
    quick = {"evaluation": {"resamples": 100}, "explanation": {"background": 10, "rows": 10}}
    done = stack.client.jobs.wait(stack.client.jobs.submit(plan | quick).id)
    assert done.model_version == 1, done.reason
