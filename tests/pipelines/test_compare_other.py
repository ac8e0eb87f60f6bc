"""Two versions of models of images, sequences and texts on the job's test rows."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from pellucid.bundle import Bundle
from pellucid.jobs.workspace import Request, Workspace
from pellucid.schema import Role
from pellucid_pipelines.compare import compare
from support.other_bundles import TABLES, make_other_bundle
from support.training import a_plan, schema_of


def sealed(root: Path, modality: Any, seed: int, **options: Any) -> Bundle:
    made = make_other_bundle(root, modality, seed=seed, **options)
    plan = a_plan(evaluation={"resamples": 200}).model_dump(mode="json")
    return Bundle.seal(root, made.bundle.manifest.model_copy(update={"plan": plan}))


def a_job(root: Path, modality: Any, metric: str, **options: Any) -> Workspace:
    rows = TABLES[modality](**options)
    workspace = Workspace(root)
    workspace.write_request(
        Request(
            job_id="j",
            attempt=1,
            plan={},
            data_schema=schema_of(rows, {rows.column_names[-1]: Role.TARGET}),
            data_version="0" * 64,
            data_path="",
        )
    )
    workspace.outputs.mkdir()
    pq.write_table(rows, workspace.outputs / "test_rows.parquet")
    sealed(workspace.bundle, modality, 0, **options)
    workspace.write_result({"gate_metric": metric})
    return workspace


@pytest.mark.parametrize(
    ("modality", "metric", "options"),
    [
        ("image", "log_loss", {}),
        ("sequence", "rmse", {"horizon": 3}),
        ("text", "roc_auc", {}),
    ],
)
def test_champion_and_candidate(tmp_path: Path, modality: str, metric: str, options: Any) -> None:
    job = a_job(tmp_path / "job", modality, metric, **options)
    found = compare(sealed(tmp_path / "champion", modality, 1, **options), job)
    assert found["metric"] == metric
    assert found["rows"] == 40
    better = found["candidate"] - found["champion"]
    assert found["difference"] == pytest.approx(better if metric == "roc_auc" else -better)
    assert found["low"] <= found["difference"] <= found["high"]
    assert found["low"] < found["high"]


def test_the_scores_of_a_forecast(tmp_path: Path) -> None:
    job = a_job(tmp_path / "job", "sequence", "rmse", horizon=2)
    candidate = make_other_bundle(tmp_path / "same", "sequence", horizon=2)
    found = compare(sealed(tmp_path / "champion", "sequence", 1, horizon=2), job)
    truth = np.array(TABLES["sequence"](horizon=2)["next"].to_pylist())
    expected = np.sqrt(((truth - candidate.expected) ** 2).mean())
    assert found["candidate"] == pytest.approx(expected, rel=1e-5)


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    job = a_job(tmp_path / "job", "sequence", "rmse", horizon=2)
    found = compare(sealed(tmp_path / "champion", "sequence", 1), job)
    assert "number of steps" in found["incomparable"]
