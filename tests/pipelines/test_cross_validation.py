"""Folds as scikit-learn deals them, nothing learnt from what is held out, one network of all."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.datasets import synthetic
from pellucid.errors import InvalidData, InvalidPlan
from pellucid.jobs.workspace import Workspace, read_spool
from pellucid.plan import Plan, resolve
from pellucid.schema import Role
from pellucid_pipelines import cross_validation, data, fitting, train
from pellucid_pipelines.ensemble import Ensemble, Folded
from pellucid_pipelines.export import export_model, measure_parity
from pellucid_pipelines.folds import deal
from pellucid_pipelines.journal import Journal
from pellucid_pipelines.loop import predict
from pellucid_pipelines.tensors import Target
from support.training import a_request, schema_of

ROWS = 240
CPU = torch.device("cpu")


def a_table(seed: int = 0) -> pa.Table:
    """Two numbers with holes, a category, a group, a class, a number and a class of three."""
    random = np.random.default_rng(seed)
    x, z = random.normal(size=(2, ROWS))
    kinds = random.choice(["a", "b", "c", "rare"], ROWS, p=[0.5, 0.3, 0.19, 0.01])
    y = x - z + (kinds == "b") + 0.3 * random.normal(size=ROWS)
    return pa.table(
        {
            "x": pa.array(np.where(random.random(ROWS) < 0.1, np.nan, x), from_pandas=True),
            "z": z,
            "kind": kinds,
            "group": random.integers(0, 30, ROWS),
            "bad": np.where(y > 0, "yes", "no"),
            "amount": 100 + 20 * y,
            "grade": np.array(["low", "mid", "top"])[np.digitize(y, [-0.7, 0.7])],
        }
    )


class Case:
    """A plan on the table, ready to be cross-validated."""

    def __init__(
        self, root: Path, target: str = "bad", table: pa.Table | None = None, **chosen: Any
    ) -> None:
        self.table = a_table() if table is None else table
        roles = dict.fromkeys(("bad", "amount", "grade"), Role.IGNORE)
        roles |= {"group": Role.ID, target: Role.TARGET}
        schema = schema_of(self.table, roles)
        value = {
            "name": "toy",
            "data": {"dataset": "toy"},
            "model": {"kind": "mlp", "widths": [8]},
            "training": {"epochs": 5, "batch_size": 32, "checkpoint_seconds": 0},
            "optimizer": {"kind": "adamw", "lr": 0.02},
            "cross_validation": {"folds": 3} | chosen,
        }
        self.spec, self.schema = resolve(Plan.parse(value), schema)
        self.workspace = Workspace(root)
        self.request = a_request(self.spec, self.schema)
        self.parts = data.split(self.table, self.spec)
        self.fits = 0

    def run(self, fail_at: int | None = None) -> cross_validation.Outcome:
        with Journal(self.workspace) as journal:

            def fit(spec, examples, workspace, journal, stopping=None):  # type: ignore[no-untyped-def]
                self.fits += 1
                if self.fits == fail_at:
                    raise KeyboardInterrupt
                its = (self.request, spec, examples, CPU, workspace, journal)
                return fitting.train(*its, (), stopping)

            examples = data.prepare(self.table, self.parts, self.schema, self.spec)
            return cross_validation.run(self.spec, examples, self.workspace, journal, fit)

    def points(self) -> dict[str, list[int]]:
        found: dict[str, list[int]] = {}
        for _, entry in read_spool(self.workspace.metrics_path):
            found.setdefault(entry["key"], []).append(entry["step"])
        return found


# Folds


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(["kfold", "stratified", "group"]),
    st.sampled_from(["bad", "amount"]),
    st.integers(2, 7),
    st.integers(0, 5),
)
def test_every_row_is_held_out_once(kind: str, target: str, folds: int, seed: int) -> None:
    table = a_table()
    value = {
        "name": "toy",
        "data": {"dataset": "toy", "roles": {"group": "id"}},
        "target": target,
        "training": {"seed": seed},
        "cross_validation": {"kind": kind, "folds": folds},
    }
    spec, _ = resolve(Plan.parse(value), schema_of(table, {}))
    rows = np.sort(np.random.default_rng(seed).choice(ROWS, 200, replace=False))
    dealt = deal(table, rows, spec, folds)
    assert len(dealt) == folds
    held = np.concatenate([fold.held for fold in dealt])
    assert np.array_equal(np.sort(held), rows)
    for fold in dealt:
        assert not set(fold.train) & set(fold.held)
        assert np.array_equal(np.sort(np.concatenate([*fold])), rows)
        if kind != "group":
            assert abs(len(fold.held) - len(rows) / folds) < 1 + folds
    again = deal(table, rows, spec, folds)
    assert all(np.array_equal(a.held, b.held) for a, b in zip(dealt, again, strict=True))
    groups = [set(table["group"].to_numpy()[fold.held]) for fold in dealt]
    if kind == "group":
        assert sum(map(len, groups)) == len(set.union(*groups))
    if kind == "stratified" and target == "bad":
        share = [np.mean(table["bad"].to_numpy()[fold.held] == "yes") for fold in dealt]
        assert max(share) - min(share) < 1.5 / min(len(fold.held) for fold in dealt)


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ({"folds": 40, "kind": "group"}, "groups"),
        ({"folds": 40}, "rows of the rarest class"),
    ],
)
def test_too_few_rows_are_refused(tmp_path: Path, chosen: dict[str, Any], said: str) -> None:
    table = a_table().slice(0, 60)
    with pytest.raises(InvalidData, match=said):
        Case(tmp_path, table=table, **chosen).run()


def test_a_class_that_one_fold_holds_whole_is_refused(tmp_path: Path) -> None:
    table = a_table()
    odd = [i in (3, 5) for i in range(ROWS)]
    for name, values in (
        ("bad", np.where(odd, "odd", "usual")),
        ("group", np.where(odd, 99, np.arange(ROWS) % 20)),
    ):
        table = table.set_column(table.column_names.index(name), name, pa.array(values))
    spec = Case(tmp_path, kind="group").spec
    with pytest.raises(InvalidData, match="'odd' are held out"):
        deal(table, np.arange(ROWS), spec, 3)


def test_what_the_plan_leaves_out_is_settled() -> None:
    schema = schema_of(a_table(), {"bad": Role.TARGET, "group": Role.ID})
    base = {"name": "toy", "data": {"dataset": "toy"}, "cross_validation": {}}

    def chosen(**parts: Any) -> Any:
        return resolve(Plan.parse(base | parts), schema)[0].cross_validation

    assert chosen().kind == "stratified"
    grouped = chosen(split={"kind": "group"})
    assert (grouped.kind, grouped.group) == ("group", "group")
    for wrong, said in (
        ({"split": {"kind": "time", "column": "z"}}, "future"),
        ({"cross_validation": {"group": "group"}}, "no group"),
        ({"cross_validation": {"kind": "group", "group": "gruop"}}, "gruop"),
        ({"cross_validation": {"inner": 1}}, "at least 2"),
    ):
        with pytest.raises(InvalidPlan, match=said):
            chosen(**wrong)


# Fits


@pytest.mark.parametrize("target", ["bad", "amount", "grade"])
def test_the_ensemble_is_the_mean_of_its_members(tmp_path: Path, target: str) -> None:
    case = Case(tmp_path, target)
    outcome = case.run()
    network, examples = outcome.network, outcome.examples
    assert isinstance(network, Ensemble)
    assert isinstance(examples.preprocessing, Folded)
    table = examples.take(examples.parts.test)
    dense = examples.preprocessing(examples.preprocessing.encode(table))
    with torch.no_grad():
        mean = examples.target.head()(predict(network, dense))
        members = []
        for member, its, where in zip(
            network.members, examples.preprocessing._each(), examples.preprocessing.places(),
            strict=True,
        ):  # fmt: skip
            own = its(its.encode(table))
            assert torch.equal(own, dense[:, where])
            members.append((member.eval(), own))
        heads = [head_of(case, number) for number in range(3)]
        expected = torch.stack([h(m(own)) for h, (m, own) in zip(heads, members, strict=True)])
    assert torch.allclose(mean, expected.mean(dim=0), rtol=1e-5, atol=1e-6)


def head_of(case: Case, number: int) -> torch.nn.Module:
    """The head of a fold's own target."""
    fold = folds_of(case)[number]
    name = str(case.spec.target)
    assert case.spec.task != "auto"
    column = case.table[name].take(pa.array(fold.train))
    return Target.fit(column, name, case.spec.task, None).head()


def folds_of(case: Case) -> list[Any]:
    rows = np.sort(np.concatenate([case.parts.train, case.parts.validation]))
    return deal(case.table, rows, case.spec, case.spec.cross_validation.folds)  # type: ignore[union-attr]


@pytest.mark.parametrize("target", ["bad", "amount"])
@pytest.mark.parametrize("inner", [0, 2])
def test_a_fold_learns_nothing_from_what_is_held_out(
    tmp_path: Path, target: str, inner: int
) -> None:
    """Features of held-out rows change; without early stopping on them, so may their targets."""
    case = Case(tmp_path / "one", target, inner=inner, kind="kfold")
    fold = folds_of(case)[0]
    columns = {name: case.table[name].to_pylist() for name in case.table.column_names}
    changed = ["x", "z", "kind"] + (["amount"] if inner and target == "amount" else [])
    for row in fold.held:
        for name in changed:
            columns[name][row] = "new" if name == "kind" else 1e3 + row
    other_table = pa.table(columns, schema=case.table.schema)
    other = Case(tmp_path / "two", target, other_table, inner=inner, kind="kfold")
    other.parts = case.parts
    first, second = case.run(), other.run()
    mine, theirs = (o.network.members[0].state_dict() for o in (first, second))  # type: ignore[union-attr,index]
    if inner:
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert all(mine[name].shape == theirs[name].shape for name in mine)
    its = [o.examples.preprocessing._each()[0].state_dict() for o in (first, second)]  # type: ignore[attr-defined]
    assert all(torch.equal(its[0][name], its[1][name]) for name in its[0])


def test_scores_and_curves_are_told_by_fold(tmp_path: Path) -> None:
    case = Case(tmp_path)
    outcome = case.run()
    points = case.points()
    for number in (1, 2, 3):
        steps = points[f"fold_{number}/validation/loss"]
        assert steps == list(range(1, len(steps) + 1))
        assert points[f"fold_{number}/out_of_fold/roc_auc"] == [0]
    assert points["out_of_fold/roc_auc_standard_error"] == [0]
    summary = outcome.summary()
    values = [fold["roc_auc"] for fold in outcome.scores]
    told = summary["cross_validation"]
    assert told["mean"]["roc_auc"] == pytest.approx(np.mean(values))
    error = np.std(values, ddof=1) / np.sqrt(3)
    assert told["standard_error"]["roc_auc"] == pytest.approx(error)
    assert summary["validation"]["loss"] == pytest.approx(
        np.mean([min(state.losses) for state in outcome.states]), rel=1e-5
    )


def test_nested_folds_choose_when_to_stop(tmp_path: Path) -> None:
    case = Case(tmp_path, inner=2)
    outcome = case.run()
    assert case.fits == 3 * (2 + 1)
    points = case.points()
    for number in (1, 2, 3):
        assert f"fold_{number}/inner_2/validation/loss" in points
        assert len(points[f"fold_{number}/validation/loss"]) == outcome.states[number - 1].epoch
    assert all(state.stopped for state in outcome.states)


def test_an_interrupted_run_goes_on_and_ends_the_same(tmp_path: Path) -> None:
    whole = Case(tmp_path / "whole").run()
    case = Case(tmp_path / "broken")
    with pytest.raises(KeyboardInterrupt):
        case.run(fail_at=3)
    before = copy.deepcopy(case.points())
    outcome = case.run()
    weights = whole.network.state_dict()
    again = outcome.network.state_dict()
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    after = case.points()
    for key in before:
        if "/validation" in key:
            assert after[key] == before[key]  # finished folds are not trained again


@pytest.mark.parametrize("target", ["bad", "amount"])
def test_the_ensemble_is_one_onnx_model(tmp_path: Path, target: str) -> None:
    outcome = Case(tmp_path, target).run()
    examples = outcome.examples
    path = tmp_path / "model.onnx"
    export_model(outcome.network, examples.preprocessing, examples.target, path)
    rows = examples.take(examples.parts.test)
    parity = measure_parity(
        outcome.network, examples.preprocessing, examples.target, rows, tmp_path
    )
    assert parity.max_error <= 1e-5
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [each.name for each in session.get_inputs()] == ["x", "z", "kind"]


def test_a_whole_run_is_cross_validated(tmp_path: Path) -> None:
    table, roles = synthetic.credit(500, seed=1)
    path = tmp_path / "data.parquet"
    pq.write_table(table, path)
    value = {
        "name": "credit",
        "data": {"dataset": "credit"},
        "model": {"kind": "mlp", "widths": [8]},
        "training": {"epochs": 4},
        "cross_validation": {"folds": 3},
        "evaluation": {"resamples": 100},
        "explanation": {"background": 10, "rows": 10},
    }
    plan, schema = resolve(Plan.parse(value), schema_of(table, roles), classes=2)
    workspace = Workspace(tmp_path / "job")
    workspace.write_request(a_request(plan, schema, path))
    train.run(workspace)
    result = workspace.read_result()
    assert result is not None
    assert len(result["cross_validation"]["folds"]) == 3
    assert 0 <= result["cross_validation"]["standard_error"]["roc_auc"] < 0.5
    assert result["metrics"]["roc_auc"] > 0.5
    assert (workspace.bundle / "model.onnx").is_file()
