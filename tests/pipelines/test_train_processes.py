"""The training process killed again and again, and several of them together."""

import os
import random
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest
import torch

from pellucid.bundle import WEIGHTS, Bundle
from pellucid.datasets import synthetic
from pellucid.jobs.workspace import Request, Workspace
from pellucid.plan import Plan, resolve
from support.training import schema_of

ALONE = [sys.executable, "-m", "pellucid_pipelines.train"]
TWO = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
MODELS = {
    "mlp": {"kind": "mlp", "widths": [16]},
    "tabm": {"kind": "tabm", "members": 4, "width": 16, "bins": 8},
}


@pytest.fixture(scope="module")
def credit(tmp_path_factory):
    table, roles = synthetic.credit(400, seed=0)
    path = tmp_path_factory.mktemp("data") / "data.parquet"
    pq.write_table(table, path)
    return path, schema_of(table, roles)


def prepare(directory, credit, model):
    path, schema = credit
    plan, schema = resolve(
        Plan.parse(
            {
                "name": "credit",
                "data": {"dataset": "credit"},
                "model": MODELS[model],
                "training": {"epochs": 30, "patience": 30, "checkpoint_seconds": 0},
                "evaluation": {"resamples": 100},
                "explanation": {"background": 10, "rows": 10},
            }
        ),
        schema,
        classes=2,
    )
    workspace = Workspace(directory)
    workspace.write_request(
        Request(
            job_id="j1",
            attempt=1,
            plan=plan.model_dump(mode="json"),
            data_schema=schema,
            data_version="0" * 64,
            data_path=str(path),
        )
    )
    return workspace


def start(workspace, command=ALONE):
    with workspace.log_path.open("ab") as log:
        return subprocess.Popen(
            [*command, str(workspace.root)],
            stdout=log,
            stderr=log,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )


def weights(workspace):
    return torch.load(Bundle.open(workspace.bundle).root / WEIGHTS, weights_only=True)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("model", MODELS)
def test_ten_sigkills_leave_no_trace_in_the_weights(tmp_path, credit, model):
    whole = prepare(tmp_path / "whole", credit, model)
    assert start(whole).wait() == 0, whole.log_path.read_text()
    killed = prepare(tmp_path / "killed", credit, model)
    chance = random.Random(model)
    for _ in range(10):
        process = start(killed)
        size = killed.metrics_path.stat().st_size if killed.metrics_path.exists() else 0
        while process.poll() is None:  # until it trains, and a little more
            grown = killed.metrics_path.exists() and killed.metrics_path.stat().st_size > size
            if grown and chance.random() < 0.2:
                break
            time.sleep(chance.random() / 50)
        process.kill()
        process.wait()
    if killed.read_result() is None:
        assert start(killed).wait() == 0, killed.log_path.read_text()
    expected = weights(whole)
    for name, value in weights(killed).items():
        assert torch.equal(value, expected[name])


@pytest.mark.slow
def test_two_processes_make_one_bundle(tmp_path, credit):
    alone = prepare(tmp_path / "alone", credit, "mlp")
    together = prepare(tmp_path / "together", credit, "mlp")
    assert start(alone).wait() == 0, alone.log_path.read_text()
    process = start(together, [*TWO, "-m", "pellucid_pipelines.train"])
    assert process.wait() == 0, together.log_path.read_text()
    first, second = alone.read_result(), together.read_result()
    assert second["metrics"]["roc_auc"] == pytest.approx(first["metrics"]["roc_auc"], abs=0.05)
    assert Bundle.open(together.bundle).manifest.parity.max_error <= 1e-5
    assert not list(together.root.glob("error.json"))
