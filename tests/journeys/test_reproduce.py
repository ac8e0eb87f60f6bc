"""A finished run is run again, bit by bit, and looked into."""

import json
import os
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from pellucid.datasets import synthetic
from support.stack import running_stack

PLAN = {
    "name": "credit",
    "data": {"dataset": "credit"},
    "model": {"kind": "mlp", "widths": [16]},
    "training": {"epochs": 5},
    "evaluation": {"resamples": 100},
    "explanation": {"rows": 10, "background": 10},
}


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_reproduce_and_inspect(tmp_path):
    table, roles = synthetic.credit(300, seed=0)
    pq.write_table(table, tmp_path / "credit.parquet")
    with running_stack(tmp_path / "home") as stack:
        client = stack.client
        client.datasets.add(tmp_path / "credit.parquet", name="credit", roles=roles)
        job = client.jobs.wait(client.jobs.submit(PLAN).id)
        assert job.status == "succeeded", job.reason
        client.datasets.download("credit@1", tmp_path / "again.parquet")
        assert pq.read_table(tmp_path / "again.parquet").equals(table)

        def run(command, reference, **variables):
            environment = os.environ | {
                "PELLUCID_URL": stack.settings.resolved_url,
                "PELLUCID_MLFLOW_URL": stack.settings.resolved_mlflow_url,
                "PELLUCID_HOME": str(tmp_path / "elsewhere"),
                **variables,
            }
            command = [sys.executable, "-m", "pellucid.cli", command, reference, "--json"]
            return subprocess.run(command, env=environment, text=True, capture_output=True)

        done = run("reproduce", "credit@champion")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == {"inputs": [], "outcome": []}

        done = run("reproduce", "credit/7")
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert "(name=credit, version=7) not found" in done.stderr

        onward = PLAN | {"transfer": {"version": "models:/credit@champion"}}
        second = client.jobs.wait(client.jobs.submit(onward).id)
        assert second.status == "succeeded", second.reason
        done = run("reproduce", second.run_id, CUBLAS_WORKSPACE_CONFIG=":16:8")
        assert done.returncode == 0, done.stderr
        changed = {
            "name": "variable.CUBLAS_WORKSPACE_CONFIG",
            "before": None,
            "after": ":16:8",
        }
        assert json.loads(done.stdout) == {"inputs": [changed], "outcome": []}

        done = run("inspect", job.id)
        assert done.returncode == 0, done.stderr
        drawn = json.loads(done.stdout)["figures"]
        logged = stack.mlflow.list_artifacts(job.run_id, "figures/inspect")
        assert {file.path.split("/")[-1] for file in logged} == set(drawn)
        assert {"loss_landscape.png", "activations.png", "gradients.png"} <= set(drawn)
