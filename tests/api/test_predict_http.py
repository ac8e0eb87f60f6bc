"""Predictions over HTTP: plain rows in, answers out, and every way that rows can be wrong."""

import json

import numpy as np
import pytest

from pellucid.resources.predictions import Predictions
from support.serving import ROW, held_feed, probabilities

PREDICT = "/v1/models/credit/predict"


def test_answers_equal_the_model(credit):
    rows = [ROW | {"age": age, "purpose": p} for age in (20, 60) for p in ("car", "kite", None)]
    response = credit.post(PREDICT, json=rows)
    assert response.status_code == 200
    found = Predictions.model_validate_json(response.content)
    assert (found.model, found.version) == ("credit", 1)
    shares = [[p.probabilities["bad"], p.probabilities["good"]] for p in found.predictions]
    expected = probabilities(held_feed(rows), 0.03)
    np.testing.assert_allclose(shares, expected, atol=1e-6)
    assert [p.label for p in found.predictions] == [
        ("bad", "good")[i] for i in expected.argmax(axis=1)
    ]
    ids = [p.id for p in found.predictions]
    assert ids == sorted(set(ids))


def test_rows_may_be_wrapped(credit):
    assert credit.post(PREDICT, json={"rows": [ROW]}).status_code == 200


def test_a_regression_answers_with_values(serve, register):
    register(task="regression", bias=500.0)
    (answer,) = serve().post(PREDICT, json=[ROW]).json()["predictions"]
    assert answer["value"] == pytest.approx(500, abs=10)
    assert answer.keys() == {"id", "value"}


def test_nulls_and_unseen_categories_are_answered(credit):
    rows = [dict.fromkeys(ROW), ROW | {"purpose": "never seen"}]
    assert len(credit.post(PREDICT, json=rows).json()["predictions"]) == 2


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ([], "There are no rows"),
        ({"rows": []}, "There are no rows"),
        ({"row": [ROW]}, "keys: 'row'"),
        ({f"k{i}": 1 for i in range(100)}, "and 80 more"),
        ({}, "keys: none"),
        ("rows", "no list"),
        ([[41]], "no object"),
        ([{k: v for k, v in ROW.items() if k != "age"}], "missing 'age'"),
        ([ROW | {"zzz": 1}], "'zzz' is no input"),
        ([{("agee" if k == "age" else k): v for k, v in ROW.items()}], "did you mean 'age'?"),
        ([ROW | {"age": "41"}], "send it without quotes: 41."),
        ([ROW | {"owner": "true"}], "is not true or false"),
        ([ROW | {"since": "yesterday"}], "ISO 8601"),
        ([ROW | {"purpose": 7}], "put it in quotes"),
    ],
)
def test_rows_that_do_not_fit_are_refused(credit, body, said):
    response = credit.post(PREDICT, json=body)
    assert response.status_code == 422
    problem = response.json()
    assert problem["code"] == "invalid_rows"
    assert said in problem["detail"]


def test_the_place_of_a_wrong_value_is_told(credit):
    rows = [ROW] * 7 + [ROW | {"age": "old"}]
    problem = credit.post(PREDICT, json=rows).json()
    assert problem["where"] == {"row": 8, "column": "age"}
    assert '"old"' in problem["detail"]


def test_a_hundred_thousand_rows_are_answered(credit):
    body = json.dumps([ROW] * 100_000)
    found = credit.post(PREDICT, content=body).json()["predictions"]
    assert len({each["id"] for each in found}) == 100_000
    assert len({each["probabilities"]["good"] for each in found}) == 1


def test_a_hundred_thousand_wrong_rows_are_a_short_answer(credit):
    body = json.dumps([ROW | {"age": "x"}] * 100_000)
    response = credit.post(PREDICT, content=body)
    assert response.status_code == 422
    assert len(response.content) < 1000


def test_one_row_more_is_too_many(credit):
    response = credit.post(PREDICT, content=json.dumps([ROW] * 100_001))
    assert response.status_code == 413
    assert "100,001 rows are more than 100,000" in response.json()["detail"]


@pytest.mark.parametrize("name", ["credot", "..%2f..%2fetc", "%00", "a" * 300])
def test_an_unknown_model_is_not_found(credit, name):
    assert credit.post(f"/v1/models/{name}/predict", json=[ROW]).status_code == 404
    assert credit.post(f"/v1/models/{name}/versions/1/predict", json=[ROW]).status_code == 404


@pytest.mark.parametrize(("version", "status"), [("9", 404), ("0", 422), ("x", 422), ("-1", 422)])
def test_an_unknown_version_is_refused(credit, version, status):
    response = credit.post(f"/v1/models/credit/versions/{version}/predict", json=[ROW])
    assert response.status_code == status


def test_a_version_answers_for_itself(serve, register):
    register()
    register(bias=2.0, alias=None)
    found = serve().post("/v1/models/credit/versions/2/predict", json=[ROW]).json()
    assert found["version"] == 2
    expected = probabilities(held_feed([ROW]), 2.0)[0, 1]
    assert found["predictions"][0]["probabilities"]["good"] == pytest.approx(expected, abs=1e-6)


def test_a_model_without_a_champion_is_not_ready(serve, register):
    register(alias="challenger")
    response = serve().post(PREDICT, json=[ROW])
    assert response.status_code == 503
    assert "promote" in response.json()["remedy"].lower()
    assert response.headers["retry-after"]


def test_answers_go_on_while_the_champion_changes(serve, register):
    register()
    credit = serve()
    seen = {credit.post(PREDICT, json=[ROW]).json()["version"]}
    for round_ in range(3):
        newest = register(bias=round_ + 1.0)
        while newest not in seen:
            response = credit.post(PREDICT, json=[ROW])
            assert response.status_code == 200
            seen.add(response.json()["version"])
    assert seen == {1, 2, 3, 4}
