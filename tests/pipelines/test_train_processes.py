"""The training process killed again and again, and several of them together."""

import os
import random
import signal
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest
import torch

from pellucid.bundle import WEIGHTS, Bundle
from pellucid.jobs.workspace import Workspace
from pellucid.plan import Plan, resolve
from support.inputs import example
from support.training import a_request, schema_of

ALONE = [sys.executable, "-m", "pellucid_pipelines.train"]
TWO = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
CASES = {
    "mlp": ("tabular", {"kind": "mlp", "widths": [16]}),
    "tabm": ("tabular", {"kind": "tabm", "members": 4, "width": 16, "bins": 8}),
    "cnn": ("image", {"kind": "cnn", "widths": [4, 8], "blocks": 1}),
    "lstm": ("sequence", {"kind": "lstm", "width": 8}),
}
KILLS = 10


def prepare(root, case, epochs=30):
    modality, model = CASES[case]
    table = example(modality, "binary", rows=300).table
    root.mkdir()
    pq.write_table(table, root / "data.parquet")
    plan, schema = resolve(
        Plan.parse(
            {
                "name": case,
                "data": {"dataset": case},
                "target": "y",
                "task": "classification",
                "model": model,
                "training": {
                    "epochs": epochs,
                    "patience": epochs,
                    "batch_size": 64,
                    "checkpoint_seconds": 0,
                },
                "evaluation": {"resamples": 100},
                "explanation": {"background": 10, "rows": 10},
            }
        ),
        schema_of(table, {}),
    )
    workspace = Workspace(root)
    workspace.write_request(a_request(plan, schema, root / "data.parquet"))
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
@pytest.mark.parametrize("case", CASES)
def test_ten_sigkills_leave_no_trace_in_the_weights(tmp_path, case):
    whole = prepare(tmp_path / "whole", case, epochs=400)
    assert start(whole).wait() == 0, whole.log_path.read_text()
    killed = prepare(tmp_path / "killed", case, epochs=400)
    chance = random.Random(case)
    for _ in range(KILLS):
        process = start(killed)
        size = killed.metrics_path.stat().st_size if killed.metrics_path.exists() else 0
        while process.poll() is None:  # until it trains, and a little more
            grown = killed.metrics_path.exists() and killed.metrics_path.stat().st_size > size
            if grown and chance.random() < 0.2:
                break
            time.sleep(chance.random() / 50)
        process.kill()
        assert process.wait() == -signal.SIGKILL, "it ended before it could be killed"
    assert start(killed).wait() == 0, killed.log_path.read_text()
    expected = weights(whole)
    for name, value in weights(killed).items():
        assert torch.equal(value, expected[name])


@pytest.mark.slow
def test_two_processes_make_one_bundle(tmp_path):
    alone, together = (prepare(tmp_path / name, "mlp") for name in ("alone", "together"))
    assert start(alone).wait() == 0, alone.log_path.read_text()
    process = start(together, [*TWO, "-m", "pellucid_pipelines.train"])
    assert process.wait() == 0, together.log_path.read_text()
    first, second = alone.read_result(), together.read_result()
    assert second["metrics"]["roc_auc"] == pytest.approx(first["metrics"]["roc_auc"], abs=0.05)
    assert Bundle.open(together.bundle).manifest.parity.max_error <= 1e-5
    assert not list(together.root.glob("error.json"))
