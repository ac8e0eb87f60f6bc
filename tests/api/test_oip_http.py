"""The Open Inference Protocol over HTTP: the same answers, and every refusal in its form."""

import gzip
import json
import math
import time
import zlib

import numpy as np
import pytest

from support.serving import held_feed, probabilities

INFER = "/v2/models/credit/infer"
ROWS = [
    {"age": 41, "owner": True, "since": "2024-05-31T12:00:00+00:00", "purpose": "car"},
    {"age": 20, "owner": False, "since": "1999-01-01T00:00:00+00:00", "purpose": "kite"},
]


def tensors(rows=ROWS, **changes):
    feed = held_feed(rows)
    found = {
        name: {
            "name": name,
            "shape": [len(rows)],
            "datatype": "BYTES" if name == "purpose" else "FP64",
            "data": list(feed[name]),
        }
        for name in feed
    }
    for name, change in changes.items():
        found[name] = found[name] | change
    return list(found.values())


def infer(client, inputs=None, **rest):
    return client.post(INFER, json={"inputs": tensors() if inputs is None else inputs} | rest)


def test_the_server_and_the_model_describe_themselves(credit):
    assert credit.get("/v2").json()["extensions"] == [
        "binary_tensor_data",
        "classification",
        "model_configuration",
        "model_repository",
        "schedule_policy",
        "statistics",
    ]
    assert credit.get("/v2/health/live").json() == {"live": True}
    assert credit.get("/v2/health/ready").json() == {"ready": True}
    for path in ("/v2/models/credit", "/v2/models/credit/versions/1"):
        found = credit.get(path).json()
        assert (found["name"], found["versions"]) == ("credit", ["1"])
        assert found["inputs"][0] == {"name": "age", "datatype": "FP64", "shape": [-1]}
        assert found["inputs"][3] == {"name": "purpose", "datatype": "BYTES", "shape": [-1]}
        assert found["outputs"][1] == {
            "name": "probabilities", "datatype": "FP32", "shape": [-1, 2],
        }  # fmt: skip
        assert credit.get(f"{path}/ready").json() == {"name": "credit", "ready": True}


def test_inference_equals_the_model(credit):
    response = infer(credit, id="42")
    assert response.status_code == 200
    found = response.json()
    assert (found["model_name"], found["model_version"], found["id"]) == ("credit", "1", "42")
    label, shares = found["outputs"]
    expected = probabilities(held_feed(ROWS), 0.03)
    assert (shares["shape"], shares["datatype"]) == ([2, 2], "FP32")
    np.testing.assert_allclose(np.reshape(shares["data"], (2, 2)), expected, atol=1e-6)
    assert label == {"name": "label", "shape": [2], "datatype": "BYTES", "data": ["good", "bad"]}
    versioned = credit.post(
        INFER.replace("/infer", "/versions/1/infer"), json={"inputs": tensors()}
    )
    assert versioned.json()["outputs"] == found["outputs"]


def test_both_ways_into_the_service_agree(credit):
    by_rows = credit.post("/v1/models/credit/predict", json=ROWS).json()["predictions"]
    by_tensors = infer(credit).json()["outputs"][1]["data"]
    assert [p["probabilities"]["good"] for p in by_rows] == by_tensors[1::2]


def test_only_the_outputs_asked_for_come_in_that_order(credit):
    outputs = [{"name": "probabilities", "parameters": {"binary_data": False}}, {"name": "label"}]
    found = infer(credit, outputs=outputs).json()
    assert [each["name"] for each in found["outputs"]] == ["probabilities", "label"]
    found = infer(credit, outputs=outputs[1:]).json()
    assert [each["name"] for each in found["outputs"]] == ["label"]
    assert "id" not in found


@pytest.mark.parametrize(
    ("datatype", "data"),
    [
        ("INT8", [41, 20]), ("INT16", [41, 20]), ("INT32", [41, 20]), ("INT64", [41, 20]),
        ("UINT8", [41, 20]), ("UINT16", [41, 20]), ("UINT32", [41, 20]), ("UINT64", [41, 20]),
        ("FP16", [41, 20.0]), ("FP32", [41.0, 20]), ("FP64", [41, 20]),
    ],
)  # fmt: skip
def test_any_numeric_datatype_is_taken(credit, datatype, data):
    changed = tensors(age={"datatype": datatype, "data": data})
    assert infer(credit, changed).json()["outputs"] == infer(credit).json()["outputs"]


@pytest.mark.parametrize(
    ("datatype", "data"), [("BOOL", [True, False]), ("BOOL", [1, 0]), ("INT8", [1, 0])]
)
def test_booleans(credit, datatype, data):
    changed = tensors(owner={"datatype": datatype, "data": data})
    assert infer(credit, changed).json()["outputs"] == infer(credit).json()["outputs"]


@pytest.mark.parametrize("data", [[[41], [20]], [41, 20]])
def test_a_column_may_be_two_dimensional(credit, data):
    changed = tensors(age={"shape": [2, 1], "data": data})
    assert infer(credit, changed).json()["outputs"] == infer(credit).json()["outputs"]


def test_null_is_missing(credit):
    rows = [dict(ROWS[0], age=math.nan, owner=math.nan, purpose=None)]
    nulls = {name: {"data": [None]} for name in ("age", "owner", "purpose", "since")}
    found = infer(credit, tensors(rows, **nulls)).json()["outputs"][1]["data"]
    feed = held_feed(rows) | {"since": np.array([math.nan])}
    np.testing.assert_allclose(found, probabilities(feed, 0.03)[0], atol=1e-6)


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ([], "Missing inputs: age, owner, since, purpose"),
        (tensors()[1:], "Missing inputs: age"),
        ([*tensors(), tensors()[0]], "given twice"),
        ([*tensors(), tensors()[0] | {"name": "zzz"}], "no such input"),
        (tensors(age={"datatype": "BYTES", "data": ["1", "2"]}), "its datatype is BYTES"),
        (tensors(purpose={"datatype": "FP64", "data": [1, 2]}), "its datatype is FP64"),
        (tensors(age={"datatype": "FLOAT"}), "its datatype is FLOAT"),
        (tensors(age={"datatype": "INT64", "data": [1.5, 2]}), "row 1: 1.5 is not a whole number"),
        (tensors(age={"datatype": "INT8", "data": [1, 200]}), "row 2: 200 is not a whole number"),
        (tensors(age={"datatype": "UINT8", "data": [-1, 2]}), "row 1: -1"),
        (tensors(age={"datatype": "BOOL", "data": [2, 1]}), "row 1: 2 is not true or false"),
        (tensors(age={"data": ["41", 20]}), 'row 1: "41" is not a finite number'),
        (tensors(age={"data": [[41], 20]}), "row 1: [41] is not a finite number"),
        (tensors(owner={"data": [0.5, 1]}), "row 1: 0.5 is not true or false"),
        (tensors(purpose={"data": ["car", 3]}), "row 2: 3 is not a string"),
        (tensors(age={"shape": [3]}), "its shape is [3] and it has 2 values"),
        (tensors(age={"shape": [2], "data": [1]}), "it has 1 values"),
        (tensors(age={"shape": [1], "data": [1]}), "differ in their number of rows"),
        (tensors(age={"shape": [2, 2], "data": [1, 2, 3, 4]}), "its shape is [2, 2]"),
        (tensors(age={"shape": []}), "its shape is []"),
        (tensors(age={"shape": [-1]}), "shape"),
        (tensors(age={"shape": [0], "data": []}), "its shape is [0]"),
        (tensors(age={"data": None}), "it has no data"),
        (tensors(age={"data": 41}), "its data are no list"),
        (tensors(age={"parameters": {"binary_data_size": 16}}), "both in JSON and as binary data"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(credit, inputs, said):
    response = infer(credit, inputs)
    assert response.status_code == 400
    assert response.json().keys() == {"error"}
    assert said in response.json()["error"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ([], "The body"),
        ({}, "inputs"),
        ({"inputs": [], "ouputs": []}, "ouputs"),
        ({"inputs": tensors(), "outputs": [{"name": "zzz"}]}, "no such output"),
        ({"inputs": tensors(), "outputs": [{"name": "label"}] * 2}, "asked for twice"),
        ({"inputs": tensors(), "parameters": {"binary_data_output": "yes"}}, "true or false"),
        ({"inputs": tensors(), "parameters": {"timeout": -1}}, "'timeout' is -1"),
        ({"inputs": tensors(), "parameters": {"timeout": 1.5}}, "a whole number"),
        ({"inputs": tensors(), "parameters": {"priority": True}}, "'priority' is true"),
        ({"inputs": tensors(), "parameters": [1]}, "parameters"),
        (
            {"inputs": tensors(), "outputs": [{"name": "label", "parameters": {"binary_data": 2}}]},
            "'binary_data' is 2",
        ),
        (
            {
                "inputs": tensors(),
                "outputs": [{"name": "label", "parameters": {"classification": 1}}],
            },
            "has no classification",
        ),
    ],
)
def test_messages_that_do_not_fit_are_refused(credit, body, said):
    response = credit.post(INFER, json=body)
    assert response.status_code == 400
    assert said in response.json()["error"]


def test_parameters_that_nobody_knows_are_ignored(credit):
    given = tensors(age={"parameters": {"units": "years"}})
    response = infer(credit, given, parameters={"who": "me", "n": 1.5, "yes": True, "no": None})
    assert response.json()["outputs"] == infer(credit).json()["outputs"]


@pytest.mark.parametrize("parameters", [{"timeout": 0, "priority": 0}, {"timeout": 10**9}])
def test_a_request_in_time_is_answered(credit, parameters):
    assert infer(credit, parameters=parameters).status_code == 200
    headers = {"X-Request-Timeout-Ms": "60000.5"}
    body = {"inputs": tensors(), "parameters": parameters}
    assert credit.post(INFER, json=body, headers=headers).status_code == 200


@pytest.mark.parametrize("given", ["0", "-5", "soon", "nan", "inf", "1e999"])
def test_a_time_that_is_none_is_refused(credit, given):
    headers = {"X-Request-Timeout-Ms": given}
    response = credit.post(INFER, json={"inputs": tensors()}, headers=headers)
    assert response.status_code == 400
    assert "X-Request-Timeout-Ms" in response.json()["error"]


def test_a_time_that_is_over_is_told(credit):
    response = infer(credit, parameters={"timeout": 1})
    assert response.status_code == 504
    assert "time was over" in response.json()["error"]
    headers = {"X-Request-Timeout-Ms": "0.001"}
    body = {"inputs": tensors(), "parameters": {"timeout": 10**9}}  # the shorter of the two holds
    assert credit.post(INFER, json=body, headers=headers).status_code == 504


def test_classification(credit):
    outputs = [{"name": "probabilities", "parameters": {"classification": 2}}]
    (found,) = infer(credit, outputs=outputs).json()["outputs"]
    assert (found["datatype"], found["shape"]) == ("BYTES", [2, 2])
    bad, good = probabilities(held_feed(ROWS), 0.03)[0]
    first, second = found["data"][:2]
    assert first.endswith(":1:good")
    assert second.endswith(":0:bad")
    assert float(first.split(":")[0]) == pytest.approx(good, abs=2e-6)
    assert float(second.split(":")[0]) == pytest.approx(bad, abs=2e-6)
    assert found["data"][2].endswith(":0:bad")


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_compressed_body(credit, encoding):
    body = json.dumps({"inputs": tensors()}).encode()
    packed = gzip.compress(body) if encoding == "gzip" else zlib.compress(body)
    headers = {"Content-Type": "application/json", "Content-Encoding": encoding}
    response = credit.post(INFER, content=packed, headers=headers)
    assert response.json()["outputs"] == infer(credit).json()["outputs"]
    for damaged in (packed[:-5], packed + b"0", body):
        assert credit.post(INFER, content=damaged, headers=headers).status_code == 400
    bomb = gzip.compress(bytes(10**8)) if encoding == "gzip" else zlib.compress(bytes(10**8))
    assert credit.post(INFER, content=bomb, headers=headers).status_code == 413


def test_an_encoding_that_nobody_knows(credit):
    headers = {"Content-Type": "application/json", "Content-Encoding": "br"}
    assert credit.post(INFER, content=b"0", headers=headers).status_code == 415


def test_the_configuration_is_true(credit):
    for path in ("/v2/models/credit", "/v2/models/credit/versions/1"):
        found = credit.get(f"{path}/config").json()
        assert (found["backend"], found["max_batch_size"]) == ("onnxruntime", 100_000)
        assert found["input"][0] == {"name": "age", "data_type": "TYPE_FP64", "dims": []}
        assert found["output"][1]["dims"] == [2]
        assert found["instance_group"][0]["kind"] == "KIND_CPU"


def test_statistics_count_what_was_answered(serve, register):
    register()
    client = serve()
    (before,) = client.get("/v2/models/stats").json()["model_stats"]
    assert (before["inference_count"], before["last_inference"]) == (0, 0)
    assert infer(client).status_code == 200
    assert infer(client, []).status_code == 400
    for path in ("/v2/models", "/v2/models/credit", "/v2/models/credit/versions/1"):
        (found,) = client.get(f"{path}/stats").json()["model_stats"]
        assert (found["name"], found["version"]) == ("credit", "1")
        assert (found["inference_count"], found["execution_count"]) == (2, 1)
        assert found["inference_stats"]["success"]["count"] == 1
        assert found["inference_stats"]["success"]["ns"] > 0
        assert found["inference_stats"]["fail"]["count"] == 1
        assert time.time() - 60 < found["last_inference"] / 1000 <= time.time()


def test_a_model_is_unloaded_until_it_is_loaded(serve, register):
    register()
    register(bias=0.5, alias=None)
    client = serve()
    assert client.get("/v2/models/credit/versions/2/ready").json()["ready"]
    listed = client.post("/v2/repository/index").json()
    assert [(each["version"], each["state"]) for each in listed] == [("1", "READY"), ("2", "READY")]
    assert client.post("/v2/repository/models/credit/unload").status_code == 200
    for path in (
        "/v2/models/credit",
        "/v2/models/credit/versions/1",
        "/v2/models/credit/versions/2",
    ):
        response = client.post(f"{path}/infer", json={"inputs": tensors()})
        assert response.status_code == 503
        assert "was unloaded" in response.json()["error"]
    assert not client.get("/v2/models/credit/ready").json()["ready"]
    client.services.pool.refresh()  # the alias does not bring it back
    (entry,) = client.post("/v2/repository/index", json={}).json()
    assert (entry["state"], entry["reason"]) == ("UNAVAILABLE", "It was unloaded.")
    assert client.post("/v2/repository/index", json={"ready": True}).json() == []
    assert client.post("/v2/repository/models/credit/load", json={}).status_code == 200
    assert infer(client).status_code == 200


def test_a_load_follows_an_alias_at_once(serve, register, registry):
    register()
    client = serve(alias_poll_seconds=600)
    version = register(bias=0.5)
    assert infer(client).json()["model_version"] == "1"
    assert client.post("/v2/repository/models/credit/load").status_code == 200
    assert infer(client).json()["model_version"] == str(version)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("models/credit/load", {"parameters": {"config": "{}"}}, 400),
        ("models/credit/load", {"parameters": {"file:1/model.onnx": "AAAA"}}, 400),
        ("models/credit/load", {"parameters": 3}, 400),
        ("models/credit/load", [], 400),
        ("models/nobody/load", {}, 404),
        ("models/nobody/unload", {}, 404),
        ("models/credit/unload", {"parameters": {"force": True}}, 400),
        ("index", {"ready": "yes"}, 400),
    ],
)
def test_what_the_repository_cannot_do_is_refused(credit, path, body, status):
    response = credit.post(f"/v2/repository/{path}", json=body)
    assert response.status_code == status
    assert response.json().keys() == {"error"}
    assert infer(credit).status_code == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/models/nobody", 404),
        ("/v2/models/nobody/ready", 404),
        ("/v2/models/credit/versions/9", 404),
        ("/v2/models/credit/versions/9/ready", 404),
        ("/v2/models/credit/versions/x", 400),
    ],
)
def test_unknown_models_and_versions(credit, path, status):
    response = credit.get(path)
    assert response.status_code == status
    assert response.json().keys() == {"error"}


def test_a_model_that_cannot_be_served_is_not_ready(serve, register):
    register(claimed_bias=3.0)
    client = serve()
    response = client.get("/v2/models/credit/ready")
    assert (response.status_code, response.json()["ready"]) == (503, False)
    assert client.get("/v2/health/ready").status_code == 503
    assert "differs from PyTorch" in infer(client).json()["error"]


def test_a_hundred_thousand_rows(credit):
    response = infer(credit, tensors(ROWS * 50_000), outputs=[{"name": "probabilities"}])
    assert response.json()["outputs"][0]["shape"] == [100_000, 2]
    assert infer(credit, tensors(ROWS * 50_001)).status_code == 413
