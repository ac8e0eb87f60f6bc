"""Whole training runs of sequences and texts: read, train, score, explain, export."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pellucid.bundle import TOKENIZER, Bundle
from pellucid.datasets.synthetic_reviews import reviews
from pellucid.jobs.workspace import Workspace
from pellucid.plan import Plan, resolve
from pellucid.schema import Role
from pellucid_pipelines.train import run
from support.training import a_request, schema_of

SMALL = {
    "training": {"epochs": 2, "device": "cpu", "checkpoint_seconds": 0},
    "evaluation": {"resamples": 100},
    "explanation": {"background": 4, "rows": 4},
}


def trained(directory, table, roles, spec):
    pq.write_table(table, directory / "data.parquet")
    plan, schema = resolve(Plan.parse({"name": "small", **SMALL, **spec}), schema_of(table, roles))
    workspace = Workspace(directory)
    workspace.write_request(a_request(plan, schema, directory / "data.parquet"))
    run(workspace)
    return workspace, Bundle.open(workspace.bundle)


def test_a_forecast_from_a_long_table(tmp_path):
    hours = np.arange(160)
    load = np.sin(hours / 4) + 0.1 * np.random.default_rng(0).normal(size=160)
    table = pa.table({"hour": hours, "load": load, "warm": hours % 24 > 12})
    spec = {
        "data": {"dataset": "load", "windows": {"time": "hour", "steps": 6, "horizon": 3}},
        "target": "load",
        "model": {"kind": "tcn", "width": 4, "layers": 1},
    }
    workspace, bundle = trained(tmp_path, table, {}, spec)
    manifest = bundle.manifest
    assert (manifest.task, manifest.target) == ("regression", "load_next")
    assert manifest.outputs[0].shape == (-1, 3)
    assert [(each.name, each.shape) for each in manifest.inputs] == [("load", (6,)), ("warm", (6,))]
    assert manifest.metrics["rmse"] > 0
    assert (workspace.figures / "error_by_step.png").is_file()


@pytest.mark.parametrize("kind", ["bag_of_words"])
def test_texts(tmp_path, kind):
    table, roles = reviews(150)
    spec = {
        "data": {"dataset": "reviews", "roles": {"product": Role.SENSITIVE}},
        "modality": "text",
        "model": {"kind": kind, "width": 4},
    }
    _, bundle = trained(tmp_path, table, roles, spec)
    assert (bundle.root / TOKENIZER).is_file()
    assert [each.kind for each in bundle.manifest.inputs] == ["text"]
    assert bundle.manifest.metrics["roc_auc"] > 0
