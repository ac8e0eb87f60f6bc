"""The training process as the worker starts it: exit status, files, and kills."""

import math
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pellucid.bundle import CARD, EXPLANATIONS, PROFILE, SAMPLE, Bundle
from pellucid.datasets import synthetic
from pellucid.jobs.workspace import Workspace, read_spool
from pellucid.plan import Plan, resolve
from support.training import a_request, schema_of

STAGES = ["read", "split", "preprocess", "train", "evaluate", "explain", "draw", "export", "pack"]


@pytest.fixture(scope="module")
def credit(tmp_path_factory):
    table, roles = synthetic.credit(400, seed=0)
    path = tmp_path_factory.mktemp("data") / "data.parquet"
    pq.write_table(table, path)
    return path, schema_of(table, roles)


def prepare(directory, credit, **parts):
    path, schema = credit
    small = {
        "name": "credit",
        "data": {"dataset": "credit"},
        "model": {"kind": "mlp", "widths": [16]},
        "training": {"epochs": 8, "checkpoint_seconds": 0, "device": "cpu"},
        "evaluation": {"resamples": 100},
        "explanation": {"background": 20, "rows": 30},
    }
    for key, value in parts.items():
        small[key] = {**small.get(key, {}), **value}
    plan, schema = resolve(Plan.parse(small), schema, classes=2)
    workspace = Workspace(directory)
    workspace.write_request(a_request(plan, schema, path))
    return workspace


def start(workspace):
    command = [sys.executable, "-m", "pellucid_pipelines.train", str(workspace.root)]
    with workspace.log_path.open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def entries(path):
    return [entry for _, entry in read_spool(path)]


def curves(workspace):
    """(key, step) -> value of what was measured, the machine's own metrics aside."""
    found = {}
    for m in entries(workspace.metrics_path):
        if not m["key"].startswith("system/"):
            found.setdefault((m["key"], m["step"]), m["value"])
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory, credit):
    workspace = prepare(tmp_path_factory.mktemp("job"), credit)
    assert start(workspace).wait(250) == 0, workspace.log_path.read_text()
    return workspace


def test_events_tell_stages_environment_and_progress(finished):
    events = entries(finished.events_path)
    assert [e["data"]["stage"] for e in events if e["kind"] == "stage"] == STAGES
    tags = next(e["data"]["tags"] for e in events if e["kind"] == "environment")
    assert tags["device"] == "cpu"
    progress = [e["data"] for e in events if e["kind"] == "progress"]
    assert progress[-1]["epoch"] == progress[-1]["epochs"] == 8


def test_curves_have_every_epoch_and_the_test_scores_their_limits(finished):
    found = curves(finished)
    for key in ("train/loss", "validation/loss", "validation/roc_auc", "lr", "gradient_norm"):
        assert [step for name, step in found if name == key] == list(range(1, 9))
    low, value, high = (found[f"test/roc_auc{part}", 0] for part in ("_low", "", "_high"))
    assert 0 < low < value < high <= 1
    assert value > 0.5
    assert all(math.isfinite(value) for value in found.values())


def test_the_result_agrees_with_the_spool(finished):
    result = finished.read_result()
    assert result["gate_metric"] == "roc_auc"
    assert result["metrics"]["roc_auc"] == curves(finished)["test/roc_auc", 0]
    assert result["additivity_error"] < 1e-4
    assert result["epochs"] == 8
    assert 1 <= result["best_epoch"] <= 8


def test_the_bundle_is_whole(finished):
    bundle = Bundle.open(finished.bundle)
    manifest = bundle.manifest
    assert manifest.parity.rows >= 256
    assert manifest.parity.max_error <= manifest.parity.tolerance
    parts = {CARD, EXPLANATIONS, PROFILE, SAMPLE, "model.onnx", "parity.npz"}
    assert parts <= set(manifest.files)
    assert [output.name for output in manifest.outputs] == ["label", "probabilities"]
    assert manifest.metrics == finished.read_result()["metrics"]
    assert bundle.card.startswith("# ")


def test_groups_are_compared_by_what_is_fair(finished):
    tables = {
        name: pq.read_table(finished.tables / f"{name}.parquet").to_pylist()
        for name in ("fairness", "fairness_criteria", "impact_ratios")
    }
    columns = {"sex", "age_group", "sex x age_group"}
    assert all({row["column"] for row in rows} == columns for rows in tables.values())
    assert {row["status"] for row in tables["fairness_criteria"]} <= {"ok", "alarm", "unclear"}
    bundle = Bundle.open(finished.bundle)
    assert [each.name for each in bundle.manifest.sensitive] == ["sex", "age_group"]
    assert bundle.manifest.sensitive[0].categories == ("female", "male")
    assert "### Impact ratios by sex x age" in bundle.card


def test_tables_figures_and_environment_lie_beside_it(finished):
    assert pq.read_table(finished.tables / "shap_values.parquet").num_rows == 30
    groups = pq.read_table(finished.tables / "groups.parquet")
    assert {"column", "group", "metric", "value", "verdict"} <= set(groups.column_names)
    rows = pq.read_table(finished.outputs / "test_rows.parquet")
    assert rows.num_rows == 80
    assert "torch==" in (finished.outputs / "environment.txt").read_text()
    assert len(list(finished.figures.glob("*.png"))) >= 8


def test_a_killed_attempt_is_resumed_as_if_nothing_happened(tmp_path, credit, finished):
    epoch = 4
    workspace = prepare(tmp_path, credit)
    process = start(workspace)
    deadline = time.monotonic() + 180
    while ("train/loss", epoch) not in curves(workspace):
        assert process.poll() is None, workspace.log_path.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert workspace.read_result() is None
    assert start(workspace).wait(250) == 0, workspace.log_path.read_text()
    assert curves(workspace) == curves(finished)
    spooled = [m["step"] for m in entries(workspace.metrics_path) if m["key"] == "train/loss"]
    assert len(spooled) < 8 + epoch, "it did not start over"


@pytest.mark.parametrize(
    ("parts", "code", "says"),
    [
        ({"optimizer": {"kind": "sgd", "lr": 1e30}}, "training_failed", "became"),
        ({"training": {"device": "cuda"}}, "device_unavailable", "asks for CUDA"),
    ],
)
def test_what_no_attempt_can_mend_exits_2_with_an_error(tmp_path, credit, parts, code, says):
    workspace = prepare(tmp_path, credit, **parts)
    assert start(workspace).wait(250) == 2, workspace.log_path.read_text()
    error = workspace.read_error()
    assert error["code"] == code
    assert says in error["message"]
    assert error["remedy"]
    assert workspace.read_result() is None


def test_sigterm_ends_it_promptly(tmp_path, credit):
    workspace = prepare(tmp_path, credit, training={"epochs": 100_000, "patience": 100_000})
    process = start(workspace)
    deadline = time.monotonic() + 180
    while ("train/loss", 2) not in curves(workspace):
        assert process.poll() is None, workspace.log_path.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.terminate()
    assert process.wait(60) == -signal.SIGTERM
    assert [path.name for path in Path(workspace.checkpoint).iterdir()] in (
        ["state.pt"],
        ["state.pt", f".state.pt.{process.pid}.tmp"],
        [f".state.pt.{process.pid}.tmp", "state.pt"],
    )
