"""Explanations over HTTP: what is told, of whom, and every way that they can fail."""

import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import csv

from pellucid.bundle import EXPLAINER, Bundle
from pellucid.resources.explanations import ExplainedPredictions
from support.explaining import (
    MEANS,
    STEPS,
    expected_shap,
    explained_bundle,
    explainer_bytes,
)
from support.serving import ROW, expected_score, held_feed

EXPLAIN, PREDICT = "/v1/models/credit/explain", "/v1/models/credit/predict"
ROWS = [ROW | {"age": age, "purpose": p} for age in (20, 60) for p in ("car", "boat", "kite")]
BIAS = -0.6  # so that some are bad
SCORES = expected_score(held_feed(ROWS), BIAS)
ARROW = "application/vnd.apache.arrow.stream"


@pytest.fixture
def explained(serve, register):
    register(make=explained_bundle, bias=BIAS, amortized=True)
    return serve()


def read(response) -> ExplainedPredictions:
    assert response.status_code == 200, response.text
    return ExplainedPredictions.model_validate_json(response.content)


def shap_of(row):
    """In the order of the columns."""
    told = {each.column: each.shap for each in row.contributions}
    return [told[name] for name in MEANS]


def scrape(client):
    """The explanations' counters, without their prefix and labels of the version."""
    found = {}
    for line in client.get("/metrics").text.splitlines():
        if line.startswith("pellucid_explanation_") and "_bucket" not in line:
            name, value = line.removeprefix("pellucid_explanation_").rsplit(" ", 1)
            outcome = name.partition('outcome="')[2].partition('"')[0]
            found[outcome or name.partition("{")[0].removesuffix("_total")] = float(value)
    return found


def test_values_are_those_of_the_graph_and_add_up(explained):
    found = read(explained.post(EXPLAIN, json=ROWS))
    assert (found.model, found.version, found.method) == ("credit", 1, "deep")
    assert (found.unit, found.background, found.quality) == ("log-odds", 100, {"infidelity": 0.01})
    assert found.hint is None
    assert min(SCORES) < 0 < max(SCORES)
    for row, shap, score, sent in zip(
        found.predictions, expected_shap(ROWS), SCORES, ROWS, strict=True
    ):
        told = {each.column: each for each in row.contributions}
        assert list(told) == sorted(told, key=lambda name: -abs(told[name].shap))
        np.testing.assert_allclose(shap_of(row), shap, atol=1e-6)
        assert {name: each.value for name, each in told.items()} == sent
        assert row.explained.output == "good"
        assert row.explained.value == pytest.approx(score, abs=1e-6)
        assert row.base + sum(shap_of(row)) == pytest.approx(score, abs=1e-5)
        assert row.within_tolerance
        assert row.gap < 1e-5
        assert row.id is None
        assert row.label == ("good" if score > 0 else "bad")


def test_missing_values_are_told_as_they_were_sent(explained):
    (row,) = read(explained.post(EXPLAIN, json=[dict.fromkeys(ROW)])).predictions
    assert [each.value for each in row.contributions] == [None] * 4


def test_many_rows_keep_their_order(explained):
    rows = [ROW | {"age": age} for age in range(500)]
    found = read(explained.post(EXPLAIN, json=rows)).predictions
    ages = [next(c.value for c in row.contributions if c.column == "age") for row in found]
    assert ages == [*range(500)]
    values = [row.explained.value for row in found]
    np.testing.assert_allclose(values, expected_score(held_feed(rows), BIAS), atol=1e-5)


def test_the_other_of_two_classes_has_the_opposite_log_odds(explained):
    good = read(explained.post(EXPLAIN, json=ROWS)).predictions
    bad = read(explained.post(EXPLAIN, params={"class": "bad"}, json=ROWS)).predictions
    for one, other in zip(good, bad, strict=True):
        assert other.explained.output == "bad"
        assert other.base == -one.base
        assert shap_of(other) == [-each for each in shap_of(one)]


def test_a_contrast_explains_the_predicted_class_and_nothing_where_they_are_one(explained):
    found = read(explained.post(EXPLAIN, params={"contrast": "bad"}, json=ROWS)).predictions
    for row, score, sent in zip(found, SCORES, ROWS, strict=True):
        assert row.explained.contrast == "bad"
        assert row.explained.output == row.label
        expected = score if score > 0 else 0.0
        assert row.explained.value == pytest.approx(expected, abs=1e-6)
        shap = expected_shap([sent])[0] if score > 0 else np.zeros(4)
        np.testing.assert_allclose(shap_of(row), shap, atol=1e-6)


def test_a_reference_row_takes_the_place_of_the_background(explained):
    reference = ROW | {"age": 30, "owner": False}
    body = {"rows": ROWS, "reference": reference}
    found = read(explained.post(EXPLAIN, json=body)).predictions
    start = expected_score(held_feed([reference]), BIAS)[0]
    differences = expected_shap(ROWS) - expected_shap([reference])
    for row, score, shap in zip(found, SCORES, differences, strict=True):
        assert row.base == pytest.approx(start, abs=1e-6)
        np.testing.assert_allclose(shap_of(row), shap, atol=1e-6)
        assert sum(shap_of(row)) == pytest.approx(score - start, abs=1e-5)
    columns = {name: [row[name] for row in ROWS] for name in ROW}
    same = explained.post(EXPLAIN, json={"columns": columns, "reference": reference})
    assert read(same).predictions == found


@pytest.mark.parametrize("reference", [{"age": 3}, [ROW], 7, ROW | {"age": "old"}])
def test_a_reference_that_does_not_fit_is_named(explained, reference):
    response = explained.post(EXPLAIN, json={"rows": ROWS, "reference": reference})
    assert response.status_code == 422
    problem = response.json()
    assert problem["code"] == "invalid_rows"
    assert problem["detail"].startswith("The reference does not fit.")
    assert problem["where"]["row"] == "reference"


def test_the_columns_that_are_not_told_are_summed_up(explained):
    whole = read(explained.post(EXPLAIN, json=ROWS)).predictions
    found = read(explained.post(EXPLAIN, params={"top_k": 1}, json=ROWS)).predictions
    for row, all_ in zip(found, whole, strict=True):
        assert row.contributions == all_.contributions[:1]
        assert row.others.columns == 3
        assert row.others.shap == pytest.approx(sum(c.shap for c in all_.contributions[1:]))
    (row,) = read(explained.post(EXPLAIN, params={"top_k": 9}, json=[ROW])).predictions
    assert row.others is None


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"class": "fair"}, 'no output "fair"'),
        ({"contrast": "fair"}, 'no output "fair"'),
        ({"top_k": 0}, "top_k"),
        ({"top_k": "x"}, "top_k"),
        ({"method": "magic"}, "method"),
        ({"superpixels": -1}, "superpixels"),
    ],
)
def test_a_query_that_asks_for_nothing_there_is_refused(explained, params, said):
    response = explained.post(EXPLAIN, params=params, json=ROWS)
    assert response.status_code == 422
    assert said in response.json()["detail"]


@pytest.mark.parametrize("body", [[], [{"age": 1}], {"row": []}, "rows", [ROW | {"owner": 7}]])
def test_rows_that_do_not_fit_are_refused_as_by_predict(explained, body):
    response, expected = (explained.post(url, json=body) for url in (EXPLAIN, PREDICT))
    assert response.status_code == 422
    assert response.json() == expected.json()
    assert scrape(explained)["invalid"] == 1


def test_an_explained_prediction_is_recorded_and_an_explanation_is_not(explained):
    found = read(explained.post(PREDICT, params={"explain": True}, json=ROWS))
    plain = explained.post(PREDICT, json=ROWS).json()["predictions"]
    ids = [row.id for row in found.predictions]
    assert ids == sorted(set(ids))
    for row, expected in zip(found.predictions, plain, strict=True):
        assert row.label == expected["label"]
        assert row.probabilities == pytest.approx(expected["probabilities"], abs=1e-6)
    logged = explained.get(f"/v1/predictions/{ids[3]}").json()
    assert logged["inputs"]["age"] == ROWS[3]["age"]
    assert logged["outputs"]["label"] == found.predictions[3].label
    explained.post(EXPLAIN, json=ROWS)
    explained.services.siblings.flush()
    assert explained.services.recorder.recorded == 2 * len(ROWS)


def test_csv_and_arrow_are_spoken(explained):
    head = ",".join(ROW)
    lines = [",".join(str(value) for value in row.values()) for row in ROWS]
    sent = "\n".join([head, *lines])
    headers = {"content-type": "text/csv", "accept": "text/csv"}
    response = explained.post(EXPLAIN, content=sent, headers=headers)
    assert response.headers["x-model-version"] == "1"
    table = csv.read_csv(pa.BufferReader(response.content))
    assert table.column_names == [
        *("label", "probability_bad", "probability_good", "explained_output", "explained_value"),
        *("base", "gap", "within_tolerance", "shap_age", "shap_owner", "shap_since"),
        "shap_purpose",
    ]
    shap = np.stack([table[f"shap_{name}"] for name in MEANS], axis=1)
    np.testing.assert_allclose(shap, expected_shap(ROWS), atol=1e-6)
    response = explained.post(
        PREDICT, params={"explain": "true"}, json=ROWS, headers={"accept": ARROW}
    )
    table = pa.ipc.open_stream(response.content).read_all()
    assert table.column_names[0] == "prediction_id"
    assert table.schema.metadata[b"model"] == b"credit"
    np.testing.assert_allclose(table["explained_value"], SCORES, atol=1e-6)


def test_times_beyond_those_of_python_are_told_in_seconds(explained):
    far = pa.array([2**40], pa.timestamp("s", "UTC"))
    table = pa.table({"age": [41.0], "owner": [True], "since": far, "purpose": ["car"]})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    content = sink.getvalue().to_pybytes()
    response = explained.post(EXPLAIN, content=content, headers={"content-type": ARROW})
    (row,) = read(response).predictions
    assert {each.column: each.value for each in row.contributions}["since"] == 2**40


def test_a_regression_is_explained_in_its_own_units(serve, register):
    register(make=explained_bundle, task="regression", bias=500.0)
    client = serve()
    (row,) = read(client.post(EXPLAIN, json=[ROW])).predictions
    assert row.explained.unit == "bad"
    assert row.explained.value == pytest.approx(row.value, rel=1e-6)
    response = client.post(EXPLAIN, params={"contrast": "bad"}, json=[ROW])
    assert response.status_code == 422
    assert "reference" in response.json()["remedy"]


def test_rows_explained_before_come_from_memory(explained):
    first = explained.post(EXPLAIN, json=ROWS).json()
    again = explained.post(EXPLAIN, json=[ROW | {"age": 99}, *ROWS, ROWS[0]]).json()
    assert again["predictions"][1:-1] == first["predictions"]
    assert again["predictions"][-1] == first["predictions"][0]
    found = scrape(explained)
    assert (found["cache_hits"], found["cache_misses"]) == (len(ROWS) + 1, len(ROWS) + 1)
    assert found["executed_rows"] == len(ROWS) + 1
    assert (found["rows"], found["succeeded"]) == (2 * len(ROWS) + 2, 2)
    assert found["request_duration_seconds_count"] == 2


def test_without_memory_every_row_is_run(serve, register):
    register(make=explained_bundle)
    client = serve(explanation_cache_bytes=0)
    for _ in range(2):
        assert len(read(client.post(EXPLAIN, json=ROWS)).predictions) == len(ROWS)
    assert scrape(client)["executed_rows"] == 2 * len(ROWS)


def test_what_was_learnt_is_asked_for_by_name(explained):
    found = read(explained.post(EXPLAIN, params={"method": "amortized"}, json=ROWS))
    assert found.method == "amortized"
    assert found.quality["r2"] == 0.99
    assert {row.method for row in found.predictions} == {"amortized"}
    assert read(explained.post(EXPLAIN, params={"method": "deep"}, json=ROWS)).method == "deep"


def test_a_method_that_the_version_has_not_is_a_conflict(serve, register):
    register(make=explained_bundle)
    client = serve()
    for method in ("amortized", "exact"):
        response = client.post(EXPLAIN, params={"method": method}, json=ROWS)
        assert response.status_code == 409
        assert "deep" in response.json()["remedy"]


@pytest.mark.parametrize("path", [EXPLAIN, "/v1/models/credit/versions/1/explain", PREDICT])
def test_a_version_without_explanations_says_what_to_do(credit, path):
    response = credit.post(path, params={"explain": True}, json=[ROW])
    assert response.status_code == 409
    problem = response.json()
    assert "explain.onnx" in problem["detail"]
    assert "/explanations" in problem["remedy"]


def test_a_model_that_is_not_there_is_not_found(credit):
    assert credit.post("/v1/models/other/explain", json=[ROW]).status_code == 404
    assert credit.post("/v1/models/credit/versions/9/explain", json=[ROW]).status_code == 404


@pytest.mark.parametrize("content", [b"no graph", explainer_bytes("classification", 0.5)])
def test_a_graph_that_is_not_the_models_is_not_served_and_predictions_are(serve, register, content):
    def damaged(root, **bundle):
        made = explained_bundle(root, **bundle)
        (root / EXPLAINER).write_bytes(content)
        Bundle.seal(root, made.manifest)

    register(make=damaged)
    client = serve()
    for _ in range(2):
        response = client.post(EXPLAIN, json=ROWS)
        assert response.status_code == 503
        assert "explanations cannot be served" in response.json()["detail"]
    assert client.post(PREDICT, json=ROWS).status_code == 200


def test_rows_above_the_tolerance_are_run_again_with_more_steps(serve, register):
    register(make=explained_bundle, error=0.05, tolerance=1e-3)
    client = serve()
    found = read(client.post(EXPLAIN, json=ROWS))
    assert found.method == "gradients"
    assert found.hint is None
    for row in found.predictions:
        assert row.within_tolerance
        assert row.gap == pytest.approx(0.05 / (16 * STEPS), rel=0.01)
    counts = scrape(client)
    assert (counts["refined_rows"], counts["inexact_rows"]) == (2 * len(ROWS), 0)


def test_rows_that_miss_the_tolerance_say_so(serve, register):
    register(make=explained_bundle, error=5.0, tolerance=1e-4)
    client = serve()
    for _ in range(2):  # computed, and from memory
        found = read(client.post(EXPLAIN, json=ROWS))
        assert not any(row.within_tolerance for row in found.predictions)
        assert found.predictions[0].gap == pytest.approx(5.0 / 512, rel=0.01)  # the most steps
        assert f"tolerance: {len(ROWS)}." in found.hint
        assert "POST /v1/models/credit/explanations" in found.hint
    assert scrape(client)["inexact_rows"] == len(ROWS)


def test_a_request_has_its_deadline(explained):
    assert explained.post(EXPLAIN, json=ROWS).status_code == 200  # it is open
    headers = {"x-request-timeout-ms": "0.001"}
    response = explained.post(EXPLAIN, json=[ROW | {"age": 1}], headers=headers)
    assert response.status_code == 504
    assert scrape(explained)["expired"] == 1


def test_predictions_do_not_wait_for_explanations_and_too_many_of_these_are_refused(
    serve, register
):
    register(make=explained_bundle)
    client = serve(max_queue_seconds=0.05)
    assert client.post(EXPLAIN, json=ROWS).status_code == 200
    served = client.services.pool.champion("credit")
    free = threading.Event()
    served.aside.lane.submit(free.wait, 120)
    with ThreadPoolExecutor(1) as executor:
        try:
            waiting = executor.submit(client.post, EXPLAIN, json=[ROW | {"age": 1}])
            headers = {"x-request-timeout-ms": "50"}
            for _ in range(400):  # until it is seen that the run does not begin
                response = client.post(EXPLAIN, json=[ROW | {"age": 2}], headers=headers)
                if response.status_code == 503:
                    break
                assert response.status_code == 504
            assert response.headers["retry-after"]
            assert response.json()["code"] == "overloaded"
            assert client.post(PREDICT, json=ROWS).status_code == 200
            assert not waiting.done()
        finally:
            free.set()
        assert waiting.result().status_code == 200


def test_a_version_can_be_opened_when_it_is_loaded(serve, register):
    register(make=explained_bundle)
    client = serve(explain_early=True)
    explainer = client.services.pool.champion("credit").explainers[""]
    assert explainer._opening is not None
    assert explainer._opening.result(60).rows >= 1


def test_answers_are_json_that_any_client_reads(explained):
    response = explained.post(EXPLAIN, json=[ROW])
    assert response.headers["content-type"] == "application/json"
    (row,) = json.loads(response.text)["predictions"]
    assert row.keys() == {
        *("label", "probabilities", "explained", "base", "contributions", "gap"),
        *("within_tolerance", "method"),
    }


def until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_what_nobody_waits_for_is_not_run(explained):
    assert explained.post(EXPLAIN, json=ROWS).status_code == 200
    served = explained.services.pool.champion("credit")
    explainer, free = served.explainers[""], threading.Event()
    served.aside.lane.submit(free.wait, 120)
    body = json.dumps([ROW | {"age": 2}]).encode()
    head = f"POST {EXPLAIN} HTTP/1.1\r\nHost: here\r\nContent-Length: {len(body)}\r\n\r\n"
    with ThreadPoolExecutor(1) as executor:
        # The first is in the thread already; the second waits in the queue, and leaves.
        first = executor.submit(explained.post, EXPLAIN, json=[ROW | {"age": 1}])
        until(lambda: explainer.statistics.misses == len(ROWS) + 1 and not explainer.waiting)
        with socket.create_connection(("127.0.0.1", explained.base_url.port)) as second:
            second.sendall(head.encode() + body)
            until(lambda: explainer.waiting == 1)
        ((_, _, work),) = explainer._graph.batchers[0]._queue
        until(lambda: work.cancelled)
        free.set()
        assert first.result().status_code == 200
    until(lambda: explainer.statistics.dropped == 1)
    assert explainer.statistics.executed_rows == len(ROWS) + 1


def test_an_explained_prediction_is_answered_by_the_challenger(serve, register):
    register(make=explained_bundle, bias=BIAS)
    register(make=explained_bundle, bias=1.0, alias="challenger")
    client = serve()
    rules = {"challenger": {"version": 2, "share": 1.0}}
    assert client.put("/v1/models/credit/traffic", json=rules).status_code == 200
    until(lambda: client.services.pool.champion("credit").trial)
    found = read(client.post(PREDICT, params={"explain": True}, json=[ROW]))
    assert found.version == 2
    assert found.predictions[0].base == pytest.approx(sum(MEANS.values()) + 1.0)
    assert read(client.post(EXPLAIN, json=[ROW])).version == 1
