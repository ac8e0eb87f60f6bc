"""Counterfactuals of a trained network on German credit (Hofmann 1994, UCI)."""

import numpy as np
import onnxruntime
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import torch

from pellucid.analysis.counterfactuals import ClassGoal, search
from pellucid.jobs.workspace import Workspace
from pellucid.plan import Plan, resolve
from pellucid.schema import Role
from pellucid_pipelines import data, fitting
from pellucid_pipelines.explain.reference import reference
from pellucid_pipelines.export import export_model, raw_inputs
from pellucid_pipelines.journal import Journal
from support.stack import SHARED_DATA
from support.training import a_request, schema_of

CREDIT = SHARED_DATA / "german_credit.csv"
GOOD, BAD = 1, 2
NEVER = (
    *("age", "personal_status", "foreign_worker", "people_liable_for", "credit_history"),
    *("purpose", "residence_since", "number_of_credits"),
)
CONSTRAINTS = {name: {"change": "never"} for name in NEVER} | {
    "skill_level": {"change": "never"},
    "month": {"low": 6},
    "employment": {"change": "free"},
}
pytestmark = pytest.mark.skipif(not CREDIT.exists(), reason="the data set is not at hand")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The rows of all, a session of the trained model, its classes, and the columns' reference."""
    root = tmp_path_factory.mktemp("german")
    table = pyarrow.csv.read_csv(CREDIT)
    pq.write_table(table, root / "data.parquet")
    spec = {
        "name": "german",
        "data": {"dataset": "german", "constraints": CONSTRAINTS},
        "model": {"kind": "mlp"},
        "training": {"epochs": 30, "device": "cpu", "diagnostics": False},
    }
    plan, schema = resolve(Plan.parse(spec), schema_of(table, {"credit": Role.TARGET}), classes=2)
    request = a_request(plan, schema, root / "data.parquet")
    examples = data.prepare(table, data.split(table, plan), schema, plan)
    workspace = Workspace(root / "job")
    workspace.write_request(request)
    with Journal(workspace) as journal:
        device = torch.device("cpu")
        network, _ = fitting.train(request, plan, examples, device, workspace, journal)
    export_model(network, examples.preprocessing, examples.target, root / "model.onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(root / "model.onnx", options)
    inputs = examples.preprocessing.inputs
    told = reference(examples.take(examples.parts.train), inputs, schema)
    return raw_inputs(table, inputs), session, examples.target.classes, told


def test_declined_rows_find_what_would_have_been_granted(trained):
    rows, session, classes, told = trained
    names = [each.name for each in session.get_outputs()]

    def predict(columns):
        return dict(zip(names, session.run(None, columns), strict=True))

    declined = np.flatnonzero(predict(rows)["label"] == BAD)
    goal = ClassGoal([classes.index(GOOD)])
    counts, searched = [], []
    for row in declined:
        given = {name: column[row : row + 1] for name, column in rows.items()}
        found = search(predict, given, told, goal)
        searched.append(found.rows)
        for each in found.counterfactuals:
            assert not each.changes.keys() & set(NEVER)
            changed = {name: column.copy() for name, column in given.items()}
            for name, value in each.changes.items():
                changed[name][0] = value
            assert predict(changed)["label"][0] == GOOD
            counts.append(len(each.changes))
    assert len(declined) > 100
    assert len(counts) >= 0.95 * len(declined)
    assert np.median(counts) <= 3
    assert max(searched) <= 10_000
