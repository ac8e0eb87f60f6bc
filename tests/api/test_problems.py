"""Errors over HTTP: every class is mapped, every path has its form, nothing leaks."""

import inspect
import logging

import pytest

from pellucid import errors
from pellucid_api.problems import STATUS

KINDS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.PellucidError)
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_has_a_status(kind):
    assert 400 <= STATUS[kind] < 600


def test_the_table_names_nothing_else():
    assert set(STATUS) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_is_told_whole(credit, monkeypatch, kind):
    def fail(**_):
        raise kind("It is so.", where={"row": 3}, remedy="Do that.")

    monkeypatch.setattr(credit.services.datasets, "list", fail)
    response = credit.get("/v1/datasets")
    assert response.status_code == STATUS[kind]
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["code"] == kind.code
    assert problem["status"] == STATUS[kind]
    assert problem["type"] == f"urn:pellucid:problem:{kind.code}"
    assert (problem["detail"], problem["where"]) == ("It is so.", {"row": 3})
    assert problem["remedy"] == "Do that."
    assert ("retry-after" in response.headers) == (STATUS[kind] == 503)


@pytest.mark.parametrize("kind", KINDS)
def test_the_protocol_has_its_own_form(credit, monkeypatch, kind):
    def fail(_name):
        raise kind("It is so.", where={"row": 3}, remedy="Do that.")

    monkeypatch.setattr(credit.services.pool, "champion", fail)
    response = credit.get("/v2/models/credit")
    assert response.status_code == (400 if STATUS[kind] == 422 else STATUS[kind])
    assert response.json() == {"error": "It is so. (row 3) Do that."}


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/nothing", 404, "not_found"),
        ("DELETE", "/v1/jobs", 405, "method_not_allowed"),
        ("GET", "/v1/datasets/", 404, "not_found"),
    ],
)
def test_an_unknown_route_is_a_problem(credit, method, path, status, code):
    response = credit.request(method, path)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["code"] == code
    assert path in response.json()["detail"]


def test_an_unknown_route_of_the_protocol(credit):
    assert credit.get("/v2/nothing").json().keys() == {"error"}


def test_parameters_out_of_bounds_are_named(credit):
    problem = credit.get("/v1/jobs?limit=0&status=odd").json()
    assert problem["status"] == 422
    assert problem["where"] == {"path": ["query.status", "query.limit"]}
    assert "'queued', 'running', 'succeeded', 'failed', 'canceled' or 'pruned'" in problem["detail"]


@pytest.mark.parametrize("path", ["/v1/datasets", "/v2/models/credit"])
def test_a_surprise_is_a_plain_500_that_leaks_nothing(credit, monkeypatch, caplog, path):
    def fail(*_, **__):
        raise RuntimeError("the password is 1234")

    monkeypatch.setattr(credit.services.datasets, "list", fail)
    monkeypatch.setattr(credit.services.pool, "champion", fail)
    with caplog.at_level(logging.ERROR):
        response = credit.get(path, headers={"X-Request-ID": "abc-1"})
    assert response.status_code == 500
    assert response.headers["x-request-id"] == "abc-1"
    assert "1234" not in response.text
    assert "Traceback" not in response.text
    assert ("error" if path.startswith("/v2") else "detail") in response.json()
    assert "abc-1" in caplog.text
    assert "the password is 1234" in caplog.text  # for the operator


def test_requests_are_logged_with_their_id(credit, caplog):
    with caplog.at_level(logging.INFO, "pellucid_api.access"):
        identity = credit.get("/v1/jobs").headers["x-request-id"]
        credit.get("/health/live")
    lines = [record.getMessage() for record in caplog.records]
    assert any(line.startswith("GET /v1/jobs 200") and line.endswith(identity) for line in lines)
    assert not any("/health/live" in line for line in lines)


def test_an_odd_request_id_is_replaced(credit):
    given = "x" * 65
    assert credit.get("/v1/jobs", headers={"X-Request-ID": given}).headers["x-request-id"] != given


def test_json_that_is_sent_as_a_form_is_told_its_header(credit):
    body = b'{"rules": [], "by": "ada"}'
    form = {"content-type": "application/x-www-form-urlencoded"}
    problem = credit.put("/v1/alert-rules", content=body, headers=form).json()
    assert problem["remedy"] == "Send JSON, with the header Content-Type: application/json."
    problem = credit.put("/v1/alert-rules", json=[1]).json()
    assert (problem["where"], problem["remedy"]) == ({"path": "body"}, "")


def test_what_a_client_sent_is_not_told_at_any_length(credit):
    for path, kind in (("/v1", "detail"), ("/v2", "error")):
        answer = credit.get(f"{path}/models/{'x' * 20_000}")
        assert answer.status_code == 404
        assert "x" * 1000 in answer.json()[kind]
        assert len(answer.content) < 20_000
