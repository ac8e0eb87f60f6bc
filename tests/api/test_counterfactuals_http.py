"""Counterfactuals over HTTP: what is found, what is not and why, and what cannot be asked."""

import json
from datetime import datetime

import numpy as np
import pytest
from typer.testing import CliRunner

from pellucid.bundle import Bundle, ColumnReference, Explanation, Input
from pellucid.cli import app
from pellucid.client import Client
from pellucid.schema import Kind
from pellucid.settings import Settings
from pellucid.tracking.contract import CHAMPION
from pellucid.tracking.memory import MemoryTracker
from support.serving import ROW, expected_score, held_feed, make_bundle, probabilities, serving

FIND = "/v1/models/credit/counterfactuals"
DECLINED = {"age": 20, "owner": False, "since": "2005-05-31T12:00:00+00:00", "purpose": "boat"}
AGES = tuple(float(age) for age in range(18, 79, 3))
REFERENCE = {
    "age": ColumnReference(quantiles=AGES, whole=True, mad=10.0),
    "owner": ColumnReference(quantiles=(0.0, 1.0), whole=True, mad=0.4),
    "since": ColumnReference(change="never", quantiles=(0.0, 1.7e9), whole=True, mad=1e8),
    "purpose": ColumnReference(categories=("car", "boat")),
}


def explainable_bundle(root, reference=REFERENCE, **options):
    """A bundle that knows what its columns may be."""
    bundle = make_bundle(root, **options)
    explanation = Explanation(
        method="exact",
        columns=tuple(REFERENCE),
        outputs=("good",),
        unit="log-odds",
        base=(0.0,),
        scale=(1.0,),
        background=1,
        tolerance=1e-4,
        reference=reference,
    )
    manifest = bundle.manifest.model_copy(update={"explanation": explanation})
    return Bundle.seal(root, manifest)


@pytest.fixture(scope="module")
def credit(tmp_path_factory):
    root = tmp_path_factory.mktemp("counterfactuals")
    registry = MemoryTracker(root / "registry")
    models = {
        "credit": {},
        "value": {"task": "regression"},
        "grouped": {"sensitive": (Input.of("sex", Kind.CATEGORICAL, ("f", "m")),)},
        "still": {"reference": dict.fromkeys(REFERENCE, ColumnReference(change="never"))},
        "dated": {"reference": {"since": REFERENCE["since"].model_copy(update={"change": "free"})}},
    }
    for name, options in models.items():
        explainable_bundle(root / name, **options)
        registry.register(f"run-{name}", name, root / name, {"job": "job-1"})
        registry.set_alias(name, CHAMPION, 1)
    make_bundle(root / "older")
    registry.register("run-older", "older", root / "older", {"job": "job-1"})
    registry.set_alias("older", CHAMPION, 1)
    settings = Settings(home=root / "home", alias_poll_seconds=0.05, device="cpu")
    with serving(settings, registry) as client:
        yield client


def find(client, rows=(DECLINED,), path=FIND, **asked):
    response = client.post(path, json={"rows": list(rows), **asked})
    assert response.status_code == 200, response.text
    return response.json()["rows"]


def changed(row, found):
    return row | {each["column"]: each["to"] for each in found["changes"]}


def test_what_is_found_changes_the_decision(credit):
    rows = [DECLINED, ROW, DECLINED | {"age": 60}]
    found = find(credit, rows)
    assert [each["prediction"]["label"] for each in found] == ["bad", "good", "bad"]
    for row, each in zip(rows, found, strict=True):
        (best,) = each["counterfactuals"]
        before, after = probabilities(held_feed([row, changed(row, best)]))
        assert before.argmax() != after.argmax()
        assert best["verified"] is True
        assert best["prediction"]["label"] == ("bad", "good")[after.argmax()]
        assert best["prediction"]["probabilities"]["good"] == pytest.approx(after[1], abs=1e-6)
        assert {each["column"]: each["from"] for each in best["changes"]}.items() <= row.items()
        assert each["reason"] == ""
        assert 0 < each["model_rows"] <= 10_000


def test_sensitive_columns_may_come_along_and_never_change(credit):
    path = "/v1/models/grouped/counterfactuals"
    bare, whole = (find(credit, [row], path) for row in (DECLINED, DECLINED | {"sex": "f"}))
    for (each,) in (bare, whole):
        (best,) = each["counterfactuals"]
        assert {change["column"] for change in best["changes"]} <= set(DECLINED)
    assert bare[0]["prediction"] == whole[0]["prediction"]


def test_values_keep_their_types(credit):
    rows = [DECLINED, DECLINED | {"purpose": "car"}]
    changes = [
        change
        for row in find(credit, rows, count=5)
        for each in row["counterfactuals"]
        for change in each["changes"]
    ]
    types = {change["column"]: type(change["to"]) for change in changes}
    assert types == {"age": int, "owner": bool, "purpose": str}


def test_times_change_where_that_is_allowed(credit):
    row = DECLINED | {"purpose": "car"}
    path = "/v1/models/dated/counterfactuals"
    ((best,),) = ([*each["counterfactuals"]] for each in find(credit, [row], path))
    (change,) = best["changes"]
    assert change["column"] == "since"
    assert datetime.fromisoformat(change["to"]) > datetime.fromisoformat(change["from"])


def test_a_probability_may_be_asked_for(credit):
    desired = {"class": "good", "probability": 0.8}
    (found,) = find(credit, desired=desired, count=2)
    for each in found["counterfactuals"]:
        assert probabilities(held_feed([changed(DECLINED, each)]))[0, 1] >= 0.8


def test_frozen_and_constrained_columns_are_obeyed(credit):
    row = DECLINED | {"age": 40, "since": "2015-05-31T12:00:00+00:00"}
    (free,) = find(credit, [row])
    assert [each["column"] for each in free["counterfactuals"][0]["changes"]] == ["purpose"]
    (found,) = find(
        credit, [row], frozen=["purpose"], constraints={"age": {"change": "increase", "high": 70}}
    )
    (best,) = found["counterfactuals"]
    told = {each["column"]: each["to"] for each in best["changes"]}
    assert told.keys() == {"age", "owner"}
    assert 40 < told["age"] <= 70


def test_a_request_cannot_lift_what_the_plan_forbids(credit):
    path = "/v1/models/still/counterfactuals"
    (found,) = find(credit, path=path, constraints={"age": {"change": "free"}})
    assert found["counterfactuals"] == []
    assert found["reason"] == "No column may change."


def test_several_differ(credit):
    row = DECLINED | {"owner": True, "since": "2015-05-31T12:00:00+00:00"}
    (found,) = find(credit, [row], count=3)
    columns = [tuple(c["column"] for c in each["changes"]) for each in found["counterfactuals"]]
    assert len(set(columns)) == len(columns) > 1
    sizes = [(len(c["changes"]), c["distance"]) for c in found["counterfactuals"]]
    assert sizes == sorted(sizes)


def test_where_none_is_found_the_answer_says_why(credit):
    rows = [DECLINED | {"purpose": "car"}]
    limits = {"age": {"high": 25}}
    (found,) = find(credit, rows, frozen=["purpose", "owner"], constraints=limits)
    assert found["counterfactuals"] == []
    assert found["binding"] == ["age", "owner", "since"]  # times change only where the plan says so
    assert "'age', 'owner', 'since'" in found["reason"]


def test_a_row_that_is_decided_as_desired_needs_none(credit):
    (found,) = find(credit, [ROW], desired="good")
    assert found["counterfactuals"] == []
    assert found["reason"] == "The row is decided as desired already."


def test_time_ends_a_search(credit):
    headers = {"X-Request-Timeout-Ms": "0.001"}
    response = credit.post(FIND, json={"rows": [DECLINED]}, headers=headers)
    (found,) = response.json()["rows"]
    assert found["counterfactuals"] == []
    assert "time" in found["reason"]


def test_missing_values_are_handled(credit):
    row = dict.fromkeys(DECLINED) | {"purpose": "boat"}
    (found,) = find(credit, [row])
    (best,) = found["counterfactuals"]
    assert best["verified"]
    assert all(each["to"] is not None for each in best["changes"])


def test_a_value_is_asked_for_by_its_bounds(credit):
    path = "/v1/models/value/counterfactuals"
    desired = {"at_least": 0.5, "at_most": 0.75}
    (found,) = find(credit, path=path, desired=desired)
    (best,) = found["counterfactuals"]
    value = expected_score(held_feed([changed(DECLINED, best)]), 0.0)[0]
    assert best["prediction"] == {"value": pytest.approx(value, abs=1e-5)}
    assert 0.5 <= value <= 0.75


def test_a_certain_version_answers(credit):
    (found,) = find(credit, path="/v1/models/credit/versions/1/counterfactuals")
    assert found["counterfactuals"]


def test_searches_are_no_predictions(credit):
    before = credit.get("/v1/models/credit/stats").json()["versions"][0]
    find(credit)
    after = credit.get("/v1/models/credit/stats").json()["versions"][0]
    assert after["requests"] == before["requests"]


@pytest.mark.parametrize(
    ("asked", "status", "said"),
    [
        ({"rows": []}, 422, "no rows"),
        ({"rows": [DECLINED] * 33}, 413, "33 rows are more than 32"),
        ({"rows": [{"age": 3}]}, 422, "missing"),
        ({"frozen": ["agee"]}, 422, "no column 'agee'"),
        ({"constraints": {"agee": {"change": "never"}}}, 422, "no column 'agee'"),
        ({"constraints": {"purpose": {"change": "increase"}}}, 422, "no order"),
        ({"constraints": {"age": {"change": "sideways"}}}, 422, "'decrease'"),
        ({"constraints": {"age": {"low": 9, "high": 3}}}, 422, "above"),
        ({"desired": "great"}, 422, "no class"),
        ({"desired": {"at_least": 3}}, 422, "predicts classes"),
        ({"desired": {"class": "good", "probability": 1}}, 422, "probability"),
        ({"count": 0}, 422, "count"),
        ({"budget": 10**9}, 422, "budget"),
        ({"colour": "red"}, 422, "colour"),
    ],
)
def test_what_cannot_be_asked(credit, asked, status, said):
    response = credit.post(FIND, json={"rows": [DECLINED]} | asked)
    assert response.status_code == status
    assert said in response.text


@pytest.mark.parametrize(
    ("desired", "said"),
    [(None, "predicts a value"), ("good", "predicts a value"),
     ({"at_least": 3, "at_most": 1}, "above")],
)  # fmt: skip
def test_what_cannot_be_asked_of_values(credit, desired, said):
    path = "/v1/models/value/counterfactuals"
    response = credit.post(path, json={"rows": [DECLINED], "desired": desired})
    assert response.status_code == 422
    assert said in response.text


def test_versions_without_a_reference_say_so(credit):
    response = credit.post("/v1/models/older/counterfactuals", json={"rows": [DECLINED]})
    assert response.status_code == 409
    assert "Train it again" in response.text
    assert credit.post("/v1/models/none/counterfactuals", json={"rows": []}).status_code == 404


def test_the_client_and_the_command_ask(credit, monkeypatch):
    with Client(str(credit.base_url)) as client:
        found = client.counterfactuals(
            "credit", [DECLINED | {"age": np.float64(20)}], 1, desired="good", frozen=["owner"]
        )
    (best,) = found.rows[0].counterfactuals
    assert best.verified
    assert {each.column for each in best.changes} == {"age", "purpose"}

    monkeypatch.setenv("PELLUCID_URL", str(credit.base_url))
    options = ["--row", json.dumps(DECLINED), "--desired", "good", "--freeze", "owner"]
    result = CliRunner().invoke(app, ["counterfactuals", "credit", *options])
    assert result.exit_code == 0, result.output
    assert "purpose: boat -> car" in result.output
    result = CliRunner().invoke(
        app, ["counterfactuals", "credit", *options, "--constraint", "age=18..50", "--json"]
    )
    (row,) = json.loads(result.stdout)["rows"]
    assert row["binding"] == ["age", "owner", "since"]
