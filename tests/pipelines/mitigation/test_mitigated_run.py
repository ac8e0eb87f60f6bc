"""A whole run with thresholds of groups: what it logs, hands on, and serves."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pellucid import decisions
from pellucid.analysis.counterfactuals import search
from pellucid.bundle import EXPLAINER, Bundle
from pellucid.datasets import synthetic
from pellucid.errors import InvalidData
from pellucid.jobs.workspace import Workspace, read_spool
from pellucid.plan import Plan, resolve
from pellucid.plan.batch import ExplanationPlan
from pellucid.settings import Settings
from pellucid.tracking.contract import CHAMPION
from pellucid.tracking.memory import MemoryTracker
from pellucid_api.attributing import Attributions
from pellucid_api.engine.attribution import Attributor
from pellucid_api.engine.devices import CPU
from pellucid_api.engine.model import Model
from pellucid_api.wishes import Desired, goals
from pellucid_pipelines import compare, train
from support.serving import serving
from support.training import a_request, schema_of

SMALL = {
    "name": "credit",
    "data": {"dataset": "credit"},
    "model": {"kind": "mlp", "widths": [16]},
    "training": {"epochs": 6, "device": "cpu", "diagnostics": False},
    "evaluation": {"resamples": 100},
    "explanation": {"background": 16, "rows": 16},
}


def prepared(root, **fairness):
    table, roles = synthetic.credit(900, seed=0, bias=2.0)
    unknown = np.arange(900) % 17 == 0
    place = table.schema.get_field_index("sex")
    sex = pa.array(table["sex"].to_pylist(), mask=unknown)
    table = table.set_column(place, "sex", sex)
    pq.write_table(table, root / "data.parquet")
    spec, schema = resolve(Plan.parse(SMALL | {"fairness": fairness}), schema_of(table, roles), 2)
    workspace = Workspace(root / "job")
    workspace.write_request(a_request(spec, schema, root / "data.parquet"))
    return workspace


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workspace = prepared(tmp_path_factory.mktemp("fair"), column="sex", mitigation="thresholds")
    train.run(workspace)
    return workspace


@pytest.fixture(scope="module")
def served(run):
    bundle = Bundle.open(run.bundle)
    return Model(bundle, "cpu", 1)


def test_the_gap_is_closed_on_validation_and_told_of_both_parts(run):
    logged = {entry["key"]: entry["value"] for _, entry in read_spool(run.metrics_path)}
    gap = "mitigation/validation/equalized_odds_gap"
    assert logged[gap] <= 0.02 < logged[f"{gap}_before"]
    for part in ("validation", "test"):
        for name in ("accuracy", "equalized_odds_gap", "demographic_parity_gap"):
            for stage in ("", "_before"):
                key = f"mitigation/{part}/{name}{stage}"
                assert logged[f"{key}_low"] <= logged[key] <= logged[f"{key}_high"]
        cost = logged[f"mitigation/{part}/accuracy_cost"]
        before, after = (logged[f"mitigation/{part}/accuracy{s}"] for s in ("_before", ""))
        assert cost == pytest.approx(before - after)
    assert logged["test/accuracy"] == pytest.approx(logged["mitigation/test/accuracy"])
    table = pq.read_table(run.tables / "mitigation.parquet")
    assert {"validation", "test"} == set(table["part"].to_pylist())


def test_the_card_says_what_was_done_and_what_it_cost(run):
    card = Bundle.open(run.bundle).card
    section = card.split("## Mitigation of bias")[1].split("\n## ")[0]
    assert "Groups: sex" in section
    assert "| female | 0." in section
    assert "| any other | 0." in section
    assert "accuracy cost" in section
    assert "may be decided differently" in section
    assert "The label depends on sex" in card


def test_the_manifest_describes_the_rule_and_its_input(run):
    manifest = Bundle.open(run.bundle).manifest
    assert manifest.decision.columns == ("sex",)
    assert manifest.inputs[-1].name == "sex"
    assert [each.name for each in manifest.features] == [each.name for each in manifest.inputs[:-1]]
    assert "sex" not in manifest.explanation.columns
    assert "sex" not in manifest.explanation.reference, "no counterfactual changes it"


def test_the_served_model_decides_by_the_rule(served):
    assert served.verify() < 1e-5
    feed, _ = served.parity()
    outputs = served.run(feed)
    thresholds = decisions.thresholds(served.manifest, feed)
    assert len(set(thresholds.tolist())) == 3, "two groups, and rows without one"
    yes = outputs["probabilities"][:, 1] >= thresholds
    np.testing.assert_array_equal(outputs["label"], yes.astype(int))
    assert (outputs["label"] != outputs["probabilities"].argmax(axis=1)).any()


def test_explanations_tell_the_same_label(run, served):
    feed, expected = served.parity()
    attributor = Attributor(run.bundle / EXPLAINER, served.manifest)
    found = attributor.read(attributor.run(feed))
    np.testing.assert_array_equal(found.predictions[0], expected["label"])
    assert found.shap.shape[1] == len(served.manifest.features)


@pytest.mark.slow  # shap is imported
def test_permutations_explain_the_same(served):
    feed = {name: values[:2] for name, values in served.parity()[0].items()}
    plan = {"model": "m", "version": 1, "dataset": "d@1", "keep": (), "permutations": 4}
    both = [
        Attributions(served, served.manifest.explanation, told, CPU).explain(feed, [0, 1])
        for method in ("graph", "permutation")
        for told in [ExplanationPlan(**plan, method=method)]
    ]
    assert both[0].shap.shape == both[1].shap.shape
    np.testing.assert_allclose(both[0].explained, both[1].explained, atol=1e-5)


def test_a_counterfactual_is_decided_otherwise_by_the_rows_own_threshold(served):
    feed = served.parity()[0]
    rows = {name: values[:8] for name, values in feed.items()}
    predicted = served.run(rows)
    thresholds = decisions.thresholds(served.manifest, rows)
    told = served.manifest.explanation.reference
    found = 0
    wanted = goals(served.manifest, Desired(), predicted, thresholds)
    for i, goal in enumerate(wanted):
        row = {name: values[i : i + 1] for name, values in rows.items()}
        assert not goal.met(served.run(row)).any()
        for each in search(served.run, row, told, goal).counterfactuals[:1]:
            changed = {name: values.copy() for name, values in row.items()}
            for name, value in each.changes.items():
                changed[name][0] = value
            outputs = served.run(changed)
            assert outputs["label"][0] != predicted["label"][i]
            assert goal.met(outputs).all()
            found += 1
    assert found


@pytest.fixture(scope="module")
def service(run, tmp_path_factory):
    root = tmp_path_factory.mktemp("service")
    registry = MemoryTracker(root / "registry")
    registry.register("run-1", "credit", run.bundle, {"job": "job-1"})
    registry.set_alias("credit", CHAMPION, 1)
    with serving(Settings(home=root / "home", device="cpu"), registry) as client:
        yield client


ROW = {
    "age": 34, "education": "school", "part_time": False, "employment_years": 2.4,
    "income": 1924.47, "amount": 4453.15, "months": 12, "utilisation": None,
    "late_payments": 0, "has_savings": False, "housing": "rent", "purpose": "car",
}  # fmt: skip


def test_over_http_the_group_decides_the_label_and_nothing_else(run, service):
    decision = Bundle.open(run.bundle).manifest.decision
    female, male, missing = decision.thresholds
    rows = [
        ROW | {"amount": float(amount), "late_payments": late, "sex": sex}
        for amount in np.geomspace(500, 60_000, 40)
        for late in range(6)
        for sex in ("female", "male", None, "another")
    ]
    reply = service.post("/v1/models/credit/predict", json=rows)
    assert reply.status_code == 200, reply.text
    found = reply.json()["predictions"]
    for row, each in zip(rows, found, strict=True):
        threshold = {"female": female, "male": male}.get(row["sex"], missing)
        assert each["label"] == int(np.float32(each["probabilities"]["1"]) >= np.float32(threshold))
    alike = [found[i : i + 4] for i in range(0, len(found), 4)]
    assert all(len({str(each["probabilities"]) for each in some}) == 1 for some in alike)
    assert any(len({each["label"] for each in some}) == 2 for some in alike)
    without = service.post("/v1/models/credit/predict", json=[ROW])
    assert without.status_code == 422
    assert "sex" in without.text


def test_over_http_explanations_and_counterfactuals_take_the_group_too(service):
    rows = [ROW | {"sex": sex} for sex in ("female", "male")]
    told = service.post("/v1/models/credit/explain", json=rows).json()["predictions"]
    plain = service.post("/v1/models/credit/predict", json=rows).json()["predictions"]
    assert [each["label"] for each in told] == [each["label"] for each in plain]
    assert all("sex" not in {c["column"] for c in each["contributions"]} for each in told)
    asked = {"rows": rows, "count": 1}
    found = service.post("/v1/models/credit/counterfactuals", json=asked)
    assert found.status_code == 200, found.text
    for before, answer in zip(plain, found.json()["rows"], strict=True):
        for each in answer["counterfactuals"]:
            assert each["prediction"]["label"] != before["label"]
            assert "sex" not in {change["column"] for change in each["changes"]}


def test_versions_are_compared_by_what_they_decide(run):
    again = compare.compare(Bundle.open(run.bundle), run)
    assert again["difference"] == 0
    result = run.read_result()
    path = run.outputs / "result.json"
    text = path.read_text()
    try:
        path.write_text(json.dumps(result | {"gate_metric": "accuracy"}))
        found = compare.compare(Bundle.open(run.bundle), run)
    finally:
        path.write_text(text)
    assert found["candidate"] == pytest.approx(result["metrics"]["accuracy"])


def test_groups_with_too_few_rows_are_refused(tmp_path):
    workspace = prepared(tmp_path, column="sex", mitigation="thresholds", min_rows=10_000)
    with pytest.raises(InvalidData, match="have 10000 validation rows") as caught:
        train.run(workspace)
    stages = [
        e["data"]["stage"] for _, e in read_spool(workspace.events_path) if "stage" in e["data"]
    ]
    assert stages[-1] == "preprocess", "before any training"
    assert caught.value.where == {"path": "fairness.min_rows"}
