"""What a run records of its inputs: everything that decides its outcome, and nothing else."""

import pytest
import torch

from pellucid.datasets import synthetic
from pellucid.jobs.workspace import Workspace
from pellucid.plan import Plan, resolve
from pellucid.provenance import Provenance, differences
from pellucid_pipelines import data
from pellucid_pipelines.fitting import train
from pellucid_pipelines.journal import Journal
from pellucid_pipelines.provenance import Recorder, of_tensors
from support.training import a_request, schema_of

CPU = torch.device("cpu")


def run(directory, change=lambda table: table, **training):
    """The provenance of a small run."""
    table, roles = synthetic.credit(300, seed=0)
    table = change(table)
    spec = {
        "name": "credit",
        "data": {"dataset": "credit"},
        "model": {"kind": "mlp", "widths": [8]},
        "training": {"epochs": 3, "device": "cpu", **training},
    }
    spec, schema = resolve(Plan.parse(spec), schema_of(table, roles), classes=2)
    request = a_request(spec, schema)
    workspace = Workspace(directory)
    recorder = Recorder(request, spec, CPU)
    examples = data.prepare(table, data.split(table, spec), schema, spec)
    recorder.prepared(examples, spec.training.seed)
    with Journal(workspace) as journal:
        network, state = train(request, spec, examples, CPU, workspace, journal, [recorder])
    recorder.ended(state, network.state_dict())
    recorder.write(workspace)
    return Provenance.read(workspace.bundle / "provenance.json")


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    return run(tmp_path_factory.mktemp("first"))


def test_the_same_inputs_give_the_same_record_and_the_same_weights(first, tmp_path):
    assert run(tmp_path) == first
    assert {"code.commit", "lock_file", "threads", "tf32.matmul", "order"} <= set(first.inputs)
    assert set(first.outcome) == {"epochs", "losses", "weights"}


def changed_cells(table):
    column = table.column_names.index("income")
    values = table["income"].to_numpy().copy()
    values[:50] *= 2
    return table.set_column(column, "income", [values])


@pytest.mark.parametrize(
    ("change", "training", "name"),
    [
        (changed_cells, {}, "inputs.train"),
        (lambda table: table, {"seed": 1}, "plan.training"),
    ],
    ids=["some cells", "the seed"],
)
def test_the_first_input_that_differs_is_the_one_that_was_changed(
    first, tmp_path, change, training, name
):
    other = run(tmp_path, change, **training)
    assert next(differences(first.inputs, other.inputs)).name == name
    assert {each.name for each in differences(first.outcome, other.outcome)} >= {
        "losses",
        "weights",
    }


def test_a_digest_of_tensors_sees_every_bit_the_shape_and_the_type():
    ones = torch.ones(2, 3)
    same = of_tensors({"a": ones})
    assert of_tensors({"a": ones.t().contiguous().t()}) == same
    nudged = ones.clone()
    nudged[1, 2] = torch.nextafter(nudged[1, 2], torch.tensor(2.0))
    for other in (nudged, ones.view(3, 2), ones.double(), ones.to(torch.bfloat16)):
        assert of_tensors({"a": other}) != same
    assert of_tensors({"b": ones}) != same
