"""The HTTP protocol class and the application's routes give the same answers."""

import json
import time

import pytest

from support.serving import ROW

PREDICT, INFER = "/v1/models/credit/predict", "/v2/models/credit/infer"


def tensors(**changes):
    columns = {
        "age": {"shape": [2], "datatype": "FP64", "data": [41, None]},
        "owner": {"shape": [2], "datatype": "BOOL", "data": [True, False]},
        "since": {"shape": [2, 1], "datatype": "FP64", "data": [1.7e9, 1.5e9]},
        "purpose": {"shape": [2], "datatype": "BYTES", "data": ["car", "kite"]},
    }
    inputs = [{"name": k} | v | changes.get(k, {}) for k, v in columns.items()]
    return {"id": "7", "inputs": inputs}


REQUESTS = {
    "a row": (PREDICT, [ROW]),
    "rows in an object": (PREDICT, {"rows": [ROW, ROW | {"age": None, "purpose": "kite"}]}),
    "a certain version": ("/v1/models/credit/versions/1/predict", [ROW]),
    "no rows": (PREDICT, []),
    "a wrong type": (PREDICT, [ROW | {"age": "old"}]),
    "a column too many": (PREDICT, [ROW | {"agee": 4}]),
    "another key": (PREDICT, {"row": [ROW]}),
    "no JSON": (PREDICT, "{"),
    "tensors": (INFER, tensors()),
    "an output": (INFER, tensors() | {"outputs": [{"name": "probabilities"}]}),
    "no such output": (INFER, tensors() | {"outputs": [{"name": "odds"}]}),
    "a shape that lies": (INFER, tensors(age={"shape": [3]})),
    "a huge shape": (INFER, tensors(purpose={"shape": [2**62]})),
    "a wrong datatype": (INFER, tensors(purpose={"datatype": "FP64"})),
    "no such model": ("/v2/models/other/infer", tensors()),
}


def pieces(body):
    yield body[:10]
    yield body[10:]


def comparable(response):
    content = response.json()
    content.get("parameters", {}).pop("prediction_id", None)
    for prediction in content.get("predictions", []):
        assert prediction.pop("id")
    headers = {k: v for k, v in response.headers.items() if k not in ("date", "x-request-id")}
    return response.status_code, headers, content


@pytest.mark.parametrize("request_", REQUESTS)
def test_both_fronts_give_the_same_answer(credit, request_):
    path, content = REQUESTS[request_]
    body = (content if isinstance(content, str) else json.dumps(content)).encode()
    headers = {"content-type": "application/json"}
    here = credit.post(path, content=body, headers=headers)
    there = credit.post(path, content=pieces(body), headers=headers)  # chunked: for the routes
    status, told, found = comparable(here)
    status_there, told_there, found_there = comparable(there)
    assert (status, found) == (status_there, found_there)
    assert {k: v for k, v in told.items() if k != "content-length"} == {
        k: v for k, v in told_there.items() if k != "content-length"
    }


def test_a_plain_request_is_answered_in_the_protocol(credit, monkeypatch):
    plane = credit.services.plane
    seen = []
    answer = type(plane).answer
    monkeypatch.setattr(
        type(plane),
        "answer",
        lambda self, codec, served, headers, body, reply: (
            seen.append(getattr(reply, "func", reply).__qualname__)
            or answer(self, codec, served, headers, body, reply)
        ),
    )
    assert credit.post(PREDICT, json=[ROW]).status_code == 200
    assert credit.post(PREDICT + "?trace=1", json=[ROW]).status_code == 200
    assert [name.split(".")[0] for name in seen] == ["Protocol", "DataPlane"]


def test_large_tables_are_read_in_a_thread(credit, monkeypatch):
    plane = credit.services.plane
    seen = []
    in_thread = type(plane).in_thread

    def noted(self, call, *arguments):
        seen.append(call.__name__)
        return in_thread(self, call, *arguments)

    monkeypatch.setattr(type(plane), "in_thread", noted)
    line = ",".join(str(value) for value in ROW.values())
    small, large = (",".join(ROW) + f"\n{line}" * rows for rows in (3, 200))
    for body in (small, large):
        headers = {"content-type": "Text/CSV"}
        assert credit.post(PREDICT, content=body, headers=headers).status_code == 200
    rows = json.dumps([ROW] * 200)
    assert 65_536 > len(rows) > len(large) > 4096 > len(small)
    assert credit.post(PREDICT, content=rows).status_code == 200
    assert seen == ["decode"]


@pytest.mark.parametrize(
    ("given", "kept"), [("abc-1.2_3", True), ("x" * 65, False), ("a b", False), ("", False)]
)
def test_a_plain_request_id_is_kept(credit, given, kept):
    found = credit.post(PREDICT, json=[ROW], headers={"x-request-id": given})
    assert found.status_code == 200
    assert (found.headers["x-request-id"] == given) is kept
    assert found.headers["x-request-id"]


def test_a_moved_alias_is_followed_by_both(serve, register):
    register(bias=0.0)
    client = serve()
    assert client.post(PREDICT, json=[ROW]).json()["version"] == 1
    register(bias=1.0)
    pool = client.services.pool
    while pool.champion("credit").version == 1:
        time.sleep(0.01)
    for body in (json.dumps([ROW]).encode(), pieces(json.dumps([ROW]).encode())):
        assert client.post(PREDICT, content=body).json()["version"] == 2
