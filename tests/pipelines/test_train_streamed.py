"""The training process with rows that are streamed from the disk."""

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pellucid.bundle import WEIGHTS, Bundle
from pellucid.datasets import synthetic
from pellucid.errors import InvalidPlan
from pellucid.jobs.workspace import Workspace, read_spool
from pellucid.plan import Plan, resolve
from pellucid.schema import Role, Schema
from support.training import a_request, schema_of


def prepare(root: Path, path: Path, schema: Schema, **training: object) -> Workspace:
    plan, schema = resolve(
        Plan.parse(
            {
                "name": "credit",
                "data": {"dataset": "credit"},
                "model": {"kind": "mlp", "widths": [16]},
                "training": {
                    "epochs": 8,
                    "checkpoint_seconds": 0,
                    "device": "cpu",
                    "data_in": "stream",
                    **training,
                },
                "evaluation": {"resamples": 100},
                "explanation": {"background": 20, "rows": 30},
            }
        ),
        schema,
        classes=2,
    )
    workspace = Workspace(root)
    workspace.write_request(a_request(plan, schema, path))
    return workspace


def start(workspace: Workspace, *launcher: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, *launcher, "-m", "pellucid_pipelines.train", str(workspace.root)]
    with workspace.log_path.open("ab") as log:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.Popen(command, stdout=log, stderr=log, env=environment)


@pytest.fixture(scope="module")
def credit(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Schema]:
    table, roles = synthetic.credit(400, seed=0)
    path = tmp_path_factory.mktemp("data") / "data.parquet"
    pq.write_table(table, path)
    return path, schema_of(table, roles)


def test_a_run_from_end_to_end(tmp_path, credit):
    workspace = prepare(tmp_path, *credit, class_weights="balanced", refit=0.5)
    assert start(workspace).wait(250) == 0, workspace.log_path.read_text()
    manifest = Bundle.open(workspace.bundle).manifest
    assert manifest.parity.max_error <= manifest.parity.tolerance
    assert manifest.metrics["roc_auc"] > 0.5
    stages = [e["data"]["stage"] for _, e in read_spool(workspace.events_path) if "stage" in str(e)]
    assert {"read", "refit", "pack"} <= set(stages)
    assert not list(workspace.scratch.iterdir())
    tags = next(e["data"]["tags"] for _, e in read_spool(workspace.events_path) if "tags" in str(e))
    assert tags["data_in"] == "stream"


def test_a_disk_that_is_too_small_fails_the_job(tmp_path, credit):
    workspace = prepare(tmp_path, *credit)
    program = (
        "import resource, sys; from pellucid_pipelines.train import main;"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)); sys.exit(main())"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert workspace.read_error()["code"] == "storage_full"
    assert not list(workspace.scratch.iterdir())


def weights(workspace: Workspace) -> dict[str, torch.Tensor]:
    return torch.load(Bundle.open(workspace.bundle).root / WEIGHTS, weights_only=True)


@pytest.mark.slow
def test_a_sigkill_leaves_no_trace_in_the_weights(tmp_path, credit):
    whole = prepare(tmp_path / "whole", *credit, epochs=40, patience=40)
    assert start(whole).wait() == 0, whole.log_path.read_text()
    killed = prepare(tmp_path / "killed", *credit, epochs=40, patience=40)
    process = start(killed)
    while process.poll() is None and not (killed.checkpoint / "state.pt").exists():
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert start(killed).wait() == 0, killed.log_path.read_text()
    for name, value in weights(killed).items():
        assert torch.equal(value, weights(whole)[name])


@pytest.mark.slow
def test_two_processes_share_one_file(tmp_path, credit):
    workspace = prepare(tmp_path, *credit)
    together = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    assert start(workspace, *together).wait() == 0, workspace.log_path.read_text()
    assert Bundle.open(workspace.bundle).manifest.metrics["roc_auc"] > 0.5
    assert not list(workspace.scratch.iterdir())


ROWS, COLUMNS = 4_000_000, 32


def generate(path: Path, rows: int) -> Schema:
    names = [f"x{i}" for i in range(COLUMNS)]
    schema = pa.schema([*((name, pa.float64()) for name in names), ("y", pa.int64())])
    random = np.random.default_rng(0)
    with pq.ParquetWriter(
        path, schema, compression="none", use_dictionary=False, write_statistics=False
    ) as writer:
        for start_row in range(0, rows, 100_000):
            count = min(100_000, rows - start_row)
            x = random.normal(size=(COLUMNS, count))
            y = (x[0] + x[1] + random.normal(size=count) > 0).astype(np.int64)
            writer.write_batch(pa.record_batch([*x, y], schema=schema))
    return schema_of(schema.empty_table(), {"y": Role.TARGET})


def own_memory(process: "subprocess.Popen[bytes]") -> int:
    """The most bytes that a process held while it ran, mapped files not counted."""
    most = 0
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        lines = status.read_text().splitlines()
        held = [line.split()[1] for line in lines if line.startswith("RssAnon:")]
        most = max(most, *(1024 * int(kilobytes) for kilobytes in held), 0)
        time.sleep(0.02)
    return most


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_memory_is_bounded_whatever_the_size_of_the_file(tmp_path):
    found = []
    for rows in (ROWS // 100, ROWS):
        path = tmp_path / f"{rows}.parquet"
        schema = generate(path, rows)
        workspace = prepare(tmp_path / str(rows), path, schema, epochs=1, batch_size=2048)
        process = start(workspace)
        found.append(own_memory(process))
        assert process.returncode == 0, workspace.log_path.read_text()
    assert Bundle.open(workspace.bundle).manifest.metrics["roc_auc"] > 0.85
    size = 8 * (COLUMNS + 1) * ROWS
    assert path.stat().st_size >= size > 1e9
    assert found[1] - found[0] < 0.7 * size


@pytest.mark.parametrize(
    ("part", "path"),
    [({"cross_validation": {}}, "cross_validation"), ({"data": {"windows": {}}}, "data.windows")],
)
def test_what_needs_all_rows_at_once_is_refused(part, path):
    table = pa.table({"t": [1.0], "id": ["a"], "x": [0.5], "y": ["a"]})
    schema = schema_of(table, {"y": Role.TARGET, "id": Role.ID, "t": Role.TIME})
    given = {"name": "n", "data": {"dataset": "d"}, "training": {"data_in": "stream"}}
    given |= {k: {**given.get(k, {}), **v} for k, v in part.items()}
    given |= {"split": {"kind": "random"}}
    with pytest.raises(InvalidPlan, match=f"`{path}` needs all rows") as caught:
        resolve(Plan.parse(given), schema, classes=2)
    assert caught.value.where == {"path": "training.data_in"}
