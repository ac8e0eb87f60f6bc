"""Networks of every kind of input, trained, and a data set explained by each as a job does."""

import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pellucid.bundle import Bundle
from pellucid.datasets import synthetic
from pellucid.datasets.synthetic_reviews import reviews
from pellucid.jobs.batch import explaining_command
from pellucid.jobs.workspace import BatchRequest, Workspace
from pellucid.plan import Plan, resolve
from pellucid.plan.batch import ExplanationPlan
from pellucid.resources.jobs import JobStatus
from pellucid.schema import Role
from pellucid_pipelines.train import run as train
from support.other_bundles import png
from support.stack import Stack, running_stack
from support.training import a_request, schema_of
from support.workers import wait_until

QUICK = {
    "training": {"epochs": 2, "device": "cpu", "checkpoint_seconds": 0},
    "evaluation": {"resamples": 100},
    "explanation": {"background": 8, "rows": 8},
}
ROWS = 20

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]


def trained(directory: Path, table: Any, roles: dict[str, Role], **spec: Any) -> Bundle:
    directory.mkdir(parents=True)
    pq.write_table(table, directory / "data.parquet")
    given = {"name": "small", "data": {"dataset": "small"}, **QUICK, **spec}
    plan, schema = resolve(Plan.parse(given), schema_of(table, roles))
    workspace = Workspace(directory)
    workspace.write_request(a_request(plan, schema, directory / "data.parquet"))
    train(workspace)
    return Bundle.open(workspace.bundle)


def explained(bundle: Bundle, directory: Path, rows: Any, **how: Any) -> tuple[dict[str, Any], Any]:
    """The result of a job's process, and its table."""
    workspace = Workspace(directory)
    workspace.root.mkdir(parents=True)
    pq.write_table(rows, directory / "rows.parquet")
    shutil.copytree(bundle.root, workspace.initial)
    how = {"method": "auto", "permutations": 1, "keep": ()} | how
    plan = ExplanationPlan(model="small", version=1, dataset="rows@1", **how)
    workspace.write_request(
        BatchRequest(plan=plan, data_path=str(directory / "rows.parquet"), device="cpu")
    )
    subprocess.run(explaining_command(directory), check=True)
    result = workspace.read_result()
    assert result is not None
    return result, pq.read_table(workspace.answers(plan))


def values(found: Any, bundle: Bundle) -> Any:
    told = bundle.manifest.explanation
    assert told is not None
    return np.stack([found[f"shap_{name}"].to_numpy() for name in told.columns], axis=1)


def check(found: Any, bundle: Bundle) -> None:
    """Base and values add up to the prediction."""
    told = bundle.manifest.explanation
    assert told is not None
    total = found["base"].to_numpy() + values(found, bundle).sum(axis=1)
    missed = abs(total - found["prediction"].to_numpy())
    assert missed.max() <= told.tolerance * max(told.scale) * 1.01


def test_classes_of_a_table(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(200, 3))
    kinds = np.array(["low", "middle", "high"])[np.digitize(x[:, 0] + x[:, 1], [-0.5, 0.5])]
    table = pa.table(
        {"a": x[:, 0], "b": x[:, 1], "c": random.choice(["u", "v"], 200), "kind": kinds}
    )
    roles = {"kind": Role.TARGET}
    bundle = trained(tmp_path / "train", table, roles, model={"kind": "mlp", "widths": [8]})
    rows = table.slice(0, ROWS)
    result, found = explained(bundle, tmp_path / "auto", rows, keep=("kind",))
    assert result["rows"] == ROWS
    assert found.num_rows == 3 * ROWS
    assert found["class"].to_pylist()[:3] == [str(each) for each in bundle.manifest.classes]
    assert found["kind"].to_pylist() == np.repeat(kinds[:ROWS], 3).tolist()
    check(found, bundle)
    result, other = explained(bundle, tmp_path / "other", rows, method="permutation")
    assert result["methods"] == {"permutation": ROWS}
    check(other, bundle)
    both = values(found, bundle).ravel(), values(other, bundle).ravel()
    assert np.corrcoef(*both)[0, 1] > 0.9


def test_images(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    pixels = random.integers(0, 60, (90, 8, 8), np.uint8)
    pixels[np.arange(90), random.integers(2, 6, 90)] = 250
    photos = pa.array([png(each) for each in pixels], pa.large_binary())
    table = pa.table({"photo": photos, "which": random.choice(["x", "y", "z"], 90)})
    model = {"kind": "cnn", "widths": [4], "blocks": 1}
    bundle = trained(tmp_path / "train", table, {"which": Role.TARGET}, model=model)
    result, found = explained(bundle, tmp_path / "auto", table.slice(0, ROWS), keep=("which",))
    assert (result["rows"], found.num_rows) == (ROWS, ROWS)
    check(found, bundle)
    places = np.array(found["places_photo"].to_pylist())
    assert places.shape == (ROWS, 64)
    np.testing.assert_allclose(places.sum(axis=1), found["shap_photo"], atol=1e-4)
    assert set(found["class"].to_pylist()) <= {"x", "y", "z"}


def test_a_forecast(tmp_path: Path) -> None:
    hours = np.arange(160)
    load = np.sin(hours / 4) + 0.1 * np.random.default_rng(0).normal(size=160)
    table = pa.table({"hour": hours, "load": load, "warm": hours % 24 > 12})
    spec = {
        "data": {"dataset": "load", "windows": {"time": "hour", "steps": 6, "horizon": 3}},
        "target": "load",
        "model": {"kind": "tcn", "width": 4, "layers": 1},
    }
    bundle = trained(tmp_path / "train", table, {}, **spec)
    starts = range(ROWS)
    rows = pa.table(
        {
            "load": [load[i : i + 6].tolist() for i in starts],
            "warm": [(hours[i : i + 6] % 24 > 12).astype(float).tolist() for i in starts],
        }
    )
    _, found = explained(bundle, tmp_path / "auto", rows)
    check(found, bundle)
    assert len(set(found["class"].to_pylist())) == 3
    assert np.array(found["places_warm"].to_pylist()).shape == (3 * ROWS, 6)
    _, other = explained(bundle, tmp_path / "other", rows, method="permutation")
    check(other, bundle)
    assert "places_warm" not in other.column_names


def test_texts(tmp_path: Path) -> None:
    table, roles = reviews(150)
    spec = {
        "data": {"dataset": "reviews", "roles": {"product": Role.SENSITIVE}},
        "modality": "text",
        "model": {"kind": "bag_of_words", "width": 4},
    }
    bundle = trained(tmp_path / "train", table, roles, **spec)
    _, found = explained(bundle, tmp_path / "auto", table.slice(0, ROWS))
    check(found, bundle)
    (name,) = [each.name for each in bundle.manifest.inputs]
    places = np.array(found[f"places_{name}"].to_pylist())
    np.testing.assert_allclose(places.sum(axis=1), found[f"shap_{name}"], atol=1e-4)


def test_an_explanation_survives_its_worker(tmp_path: Path) -> None:
    rows = 40_000  # several parts, each of five seconds
    with running_stack(tmp_path / "home", lease_seconds=4.0) as stack:
        a_champion(stack, tmp_path)
        table, _ = synthetic.credit(rows, seed=9)
        pq.write_table(table, tmp_path / "new.parquet")
        stack.client.datasets.add(tmp_path / "new.parquet", name="new")
        job = stack.client.jobs.explain("credit", "new", register_as="why")
        parts = stack.workspace(job.id).checkpoint
        wait_until(lambda: len(list(parts.glob("*.parquet"))) >= 1, 120)
        os.kill(stack.supervisor.pids()["worker"], signal.SIGKILL)
        done = stack.client.jobs.wait(job.id)
        assert (done.status, done.attempt) == (JobStatus.SUCCEEDED, 2), done.reason
        assert (done.result["rows"], done.result["dataset"]) == (rows, "why@1")
        assert stack.runs(job.id) == []
        stack.client.jobs.download_explanations(job.id, tmp_path / "out.parquet")
        found = pq.read_table(tmp_path / "out.parquet")
        assert found["application"].equals(table["application"])
        assert np.max(found["gap"]) <= done.result["tolerance"]


def a_champion(stack: Stack, directory: Path) -> None:
    table, roles = synthetic.credit(2000, seed=3)
    pq.write_table(table, directory / "credit.parquet")
    stack.client.datasets.add(directory / "credit.parquet", name="credit", roles=roles)
    plan = {"name": "credit", "data": {"dataset": "credit"}, **QUICK}
    done = stack.client.jobs.wait(stack.client.jobs.submit(plan).id)
    assert done.model_version == 1, done.reason
