"""The reference profile and the sample that training puts into a bundle."""

from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from pellucid import plan
from pellucid.analysis.watching.sketches import summary
from pellucid.bundle import MODEL, PROFILE, SAMPLE, Datatype, Manifest, Output, Parity
from pellucid.datasets import synthetic
from pellucid.monitoring.profiles.profiling import ReferenceProfile
from pellucid.monitoring.profiles.windows import profile_rows
from pellucid.schema import Role
from pellucid_pipelines import architectures, data, fairness, reference_profile
from pellucid_pipelines.export import export_model, raw_inputs, run_onnx
from support.training import schema_of

REDACTED = ("income", "sex")


@pytest.fixture(scope="module")
def examples():
    table, roles = synthetic.credit(400, seed=0)
    roles = {**roles, "age": Role.SENSITIVE, "housing": Role.SENSITIVE}
    schema, spec = schema_of(table, roles), _plan(roles)
    return data.prepare(table, data.split(table, spec), schema, spec)


def _plan(roles):
    target = next(name for name, role in roles.items() if role is Role.TARGET)
    parts = {"name": "credit", "data": {"dataset": "credit"}, "target": target}
    parts |= {"task": "classification", "modality": "tabular", "split": {"kind": "random"}}
    return plan.Plan.parse(parts | {"serving": {"log": {"redact": list(REDACTED)}}})


@pytest.fixture(scope="module")
def made(examples, tmp_path_factory):
    directory = tmp_path_factory.mktemp("bundle")
    torch.manual_seed(0)
    target, fitted = examples.target, examples.preprocessing
    network = architectures.build(plan.Mlp(widths=(8,)), fitted.features, target.outputs)
    export_model(network, fitted, target, directory / MODEL)
    numbered = isinstance(target.classes[0], int)
    label = Datatype.INT64 if numbered else Datatype.BYTES
    manifest = Manifest(
        name="credit",
        task="classification",
        target=target.name,
        classes=target.classes,
        inputs=fitted.inputs,
        sensitive=fairness.described(examples, 0),
        outputs=(
            Output(name="label", datatype=label, shape=(-1,)),
            Output(name="probabilities", datatype=Datatype.FP32, shape=(-1, 2)),
        ),
        opset=20,
        files={},
        parity=Parity(rows=1, tolerance=1e-5, max_error=0.0),
        metrics={},
        data_version="0" * 64,
        job_id="j1",
        created="2026-11-22T00:00:00+00:00",
        plan={},
        environment={},
    )
    means = {each.name: 1.0 + i for i, each in enumerate(fitted.inputs)}
    explained = SimpleNamespace(importance=lambda: means)
    spec = _plan({target.name: Role.TARGET})
    reference_profile.write(manifest, examples, explained, spec, directory)
    return directory, manifest


def test_inputs_are_those_of_the_training_rows(made, examples):
    profile = ReferenceProfile.find(made[0])
    names = [each.name for each in made[1].inputs if each.name not in REDACTED]
    train = examples.take(examples.parts.train)
    assert list(profile.inputs.bins) == names
    assert profile.rows == len(examples.parts.train)
    for name in names:
        tally = profile.inputs.tallies[name]
        assert tally.rows == profile.rows
        assert tally.missing == train[name].null_count
        assert tally.outside == tally.wrong == 0
        assert summary(profile.sketches[name]).rows == profile.rows - tally.missing
    assert sum(profile.importance.values()) < 1 - 1e-9  # the redacted column's share


def test_outputs_are_those_of_held_out_rows_by_group(made, examples):
    directory, manifest = made
    outputs = ReferenceProfile.find(directory).outputs
    held = examples.take(examples.parts.test)
    found = run_onnx(directory / MODEL, raw_inputs(held, manifest.inputs))
    names = list(map(str, manifest.classes))
    label = outputs.tallies["outputs.label"]
    often = dict(zip(outputs.bins["outputs.label"].categories, label.counts, strict=False))
    assert often == {name: sum(map(name.__eq__, map(str, found["label"]))) for name in names}
    scores = outputs.tallies[f"outputs.probabilities.{names[1]}"]
    middle = outputs.bins[f"outputs.probabilities.{names[1]}"].middle
    assert scores.total / scores.rows + middle == pytest.approx(found["probabilities"][:, 1].mean())
    assert set(outputs.groups) == {"age", "housing"} | (
        {each.name for each in manifest.sensitive} - set(REDACTED)
    )
    for groups in outputs.groups.values():
        assert sum(each.rows for each in groups.values()) == len(held)
        assert (
            sum(each.tallies["outputs.label"].counts[0] for each in groups.values())
            == (label.counts[0])
        )


def test_the_sample_has_the_form_of_the_log(made, examples):
    directory, manifest = made
    sample, profile = pq.read_table(directory / SAMPLE), ReferenceProfile.find(directory)
    assert sample.column_names == ["inputs", "outputs", "sensitive", "target"]
    assert len(sample) == len(examples.parts.test)
    logged = {field.name for field in sample.schema.field("inputs").type}
    assert logged == {each.name for each in manifest.inputs} - set(REDACTED)
    target = examples.take(examples.parts.test)[manifest.target]
    assert sample["target"].to_pylist() == target.to_pylist()
    found = profile_rows(sample.combine_chunks().to_batches()[0], profile)
    for name, tally in profile.outputs.tallies.items():
        assert found.tallies[name].counts.tolist() == tally.counts.tolist()


def test_nothing_tells_what_is_redacted(made):
    for name in (PROFILE, SAMPLE):
        content = (made[0] / name).read_bytes()
        assert not any(column.encode() in content for column in REDACTED)


def test_many_rows_are_read_in_pieces(made, examples, monkeypatch):
    directory, manifest = made
    args = (manifest, examples, REDACTED, directory)
    rows = examples.parts.train
    whole = reference_profile.LoggedRows(*args)
    expected = whole.inputs(rows), whole.outputs(rows)
    monkeypatch.setattr(reference_profile, "_PIECE_ROWS", 50)
    pieces = reference_profile.LoggedRows(*args)
    for name, column in pieces.inputs(rows).items():
        assert np.array_equal(
            np.asarray(column, object), np.asarray(expected[0][name], object)
        ) or (column.equals(expected[0][name]))
    for name, tally in pieces.outputs(rows).tallies.items():
        assert tally.counts.sum() == expected[1].tallies[name].counts.sum() == len(rows)
