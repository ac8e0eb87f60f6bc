"""Limits and types of bodies."""

import json

import pytest

from pellucid.settings import Settings
from pellucid.tracking.contract import CHAMPION
from pellucid.tracking.memory import MemoryTracker
from support.serving import ROW, make_bundle, serving

PREDICT = "/v1/models/credit/predict"
INFER = "/v2/models/credit/infer"


LIMITS = {"max_body_bytes": 1000, "max_upload_bytes": 5000}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("small")


@pytest.fixture(scope="module")
def small(home):
    registry = MemoryTracker(home / "registry")
    make_bundle(home / "bundle")
    registry.register("run-1", "credit", home / "bundle", {})
    registry.set_alias("credit", CHAMPION, 1)
    with serving(Settings(home=home, device="cpu", **LIMITS), registry) as client:
        yield client


def chunks(size, count):
    for _ in range(count):
        yield b" " * size


@pytest.mark.parametrize("path", [PREDICT, INFER, "/v1/jobs", "/v1/models/credit/promote"])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_over_the_limit_is_refused(small, path, chunked):
    headers = {"Content-Type": "application/json"}
    content = chunks(300, 4) if chunked else b" " * 1001
    response = small.post(path, content=content, headers=headers)
    assert response.status_code == 413
    told = response.json().get("detail") or response.json()["error"]
    assert "larger than 1,000 bytes" in told
    if path != INFER:
        assert response.json()["code"] == "too_large"
        assert "PELLUCID_MAX_BODY_BYTES" in response.json()["remedy"]


@pytest.mark.parametrize("chunked", [False, True])
def test_an_upload_has_its_own_limit(small, chunked, home):
    def form():
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.csv"\r\n\r\n'
        yield b"a,b\n" + b"1,2\n" * 2000
        yield b"\r\n--x--\r\n"

    content = form() if chunked else b"".join(form())
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    response = small.post("/v1/datasets", content=content, headers=headers)
    assert response.status_code == 413
    assert "PELLUCID_MAX_UPLOAD_BYTES" in response.json()["remedy"]
    assert not list((home / "tmp").glob("*"))


def test_a_body_within_the_limit_passes(small):
    assert small.post(PREDICT, json=[ROW]).status_code == 200


@pytest.mark.parametrize("path", [PREDICT, INFER, "/v1/jobs"])
@pytest.mark.parametrize("kind", ["text/html", "multipart/form-data; boundary=x", "image/png"])
def test_a_wrong_content_type_is_refused(small, path, kind):
    response = small.post(path, content=b"[]", headers={"Content-Type": kind})
    assert response.status_code == 415
    assert kind.partition(";")[0] in response.text


@pytest.mark.parametrize(
    "kind",
    ["application/json", "application/json; charset=utf-8", "application/x-www-form-urlencoded",
     "application/vnd.rows+json", None],
)  # fmt: skip
def test_what_curl_sends_is_json(small, kind):
    headers = {"Content-Type": kind} if kind else {}
    response = small.post(PREDICT, content=json.dumps([ROW]), headers=headers)
    assert response.status_code == 200


@pytest.mark.parametrize("path", [PREDICT, INFER])
@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "The body is empty."),
        (b"  \n", "The body is empty."),
        (b'{"inputs": [{"name": ', "is not JSON"),
        (b'{"inputs": [{"name": NaN}]}', "null stands for a missing value"),
        (b'{"\xff": 1}', "not JSON"),
        (b"[" * 100_00, "larger than"),
    ],
)
def test_what_is_no_json_is_refused(small, path, body, said):
    response = small.post(path, content=body, headers={"Content-Type": "application/json"})
    expected = 413 if said == "larger than" else 400 if path == INFER else 422
    assert response.status_code == expected
    assert said in response.text


@pytest.mark.parametrize(
    ("path", "start", "status", "said"),
    [(PREDICT, b"", 422, "recursion limit"), (INFER, b'{"inputs": ', 400, "Expected `object`")],
)
def test_what_is_nested_too_deeply_is_refused(small, path, start, status, said):
    response = small.post(path, content=start + b"[" * 900)
    assert response.status_code == status
    assert said in response.text


def test_a_byte_order_mark_is_passed_over(small):
    body = b"\xef\xbb\xbf" + json.dumps([ROW]).encode()
    assert small.post(PREDICT, content=body).status_code == 200


def test_a_small_body_is_checked_too(small):
    response = small.put("/v1/models/credit/aliases/champion", json={"version": 0})
    assert response.status_code == 422
    assert response.json()["where"] == {"path": "body.version"}


@pytest.mark.parametrize(
    "body", [b"a: 2024-13-45", b"!!bool x", b"[" * 400 + b"]" * 400, b"&a [*a]"]
)
def test_a_plan_that_is_no_yaml_is_refused(small, body):
    response = small.post("/v1/jobs", content=body, headers={"Content-Type": "application/yaml"})
    assert response.status_code == 422
    assert response.json()["code"] == "invalid_plan"


def test_other_routes_want_json(small):
    response = small.post("/v1/models/credit/promote", content=b"{", headers={})
    assert response.status_code == 422
