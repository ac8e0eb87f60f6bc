"""Registered models over HTTP: facts, cards, aliases, promotion and the way back."""

import time

import pytest

from pellucid.resources.base import Page
from pellucid.resources.models import ModelSummary, ModelVersionDetail
from support.serving import ROW


@pytest.fixture
def two(serve, register):
    """A champion and a challenger."""
    register(bias=0.0)
    register(bias=2.0, alias="challenger")
    return serve()


def served_version(client):
    return client.post("/v1/models/credit/predict", json=[ROW]).json()["version"]


def wait_for(client, version):
    deadline = time.monotonic() + 60
    while served_version(client) != version:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_models_are_listed_with_what_is_loaded(two, register):
    register("other", alias=None)
    page = Page[ModelSummary].model_validate(two.get("/v1/models").json())
    assert page.items == [
        ModelSummary(
            name="credit", aliases={"champion": 1, "challenger": 2}, latest=2, serving=[1]
        ),
        ModelSummary(name="other", aliases={}, latest=1, serving=[]),
    ]
    assert two.get("/v1/models/credit").json() == page.items[0].model_dump()


def test_a_version_says_what_it_takes_and_where_it_came_from(two):
    detail = ModelVersionDetail.model_validate(two.get("/v1/models/credit/versions/2").json())
    assert detail.aliases == ["challenger"]
    assert [each["name"] for each in detail.inputs] == ["age", "owner", "since", "purpose"]
    assert detail.inputs[3]["categories"] == ["boat", "car"]
    assert [each["name"] for each in detail.outputs] == ["label", "probabilities"]
    assert detail.classes == ["bad", "good"]
    assert detail.metrics == {"roc_auc": 0.8}
    assert (detail.job_id, detail.data_version, detail.run_id) == ("job-1", "d" * 64, "run-2")


def test_the_card_is_markdown(two):
    for query in ("", "?version=2"):
        response = two.get(f"/v1/models/credit/card{query}")
        assert response.headers["content-type"] == "text/markdown; charset=utf-8"
        assert response.text.startswith("# Credit")


def test_a_promotion_is_served_and_can_be_rolled_back(two):
    response = two.post("/v1/models/credit/promote", json={"version": 2})
    assert response.status_code == 200
    assert response.json()["aliases"] == {"champion": 2}
    wait_for(two, 2)
    response = two.post("/v1/models/credit/rollback")
    assert response.json()["aliases"]["champion"] == 1
    wait_for(two, 1)
    assert two.post("/v1/models/credit/rollback").status_code == 409


def test_aliases_are_set_and_removed(two):
    response = two.put("/v1/models/credit/aliases/shadow", json={"version": 2})
    assert response.json()["aliases"]["shadow"] == 2
    response = two.delete("/v1/models/credit/aliases/shadow")
    assert (response.status_code, response.content) == (204, b"")
    assert "shadow" not in two.get("/v1/models/credit").json()["aliases"]
    two.put("/v1/models/credit/aliases/champion", json={"version": 2})
    wait_for(two, 2)
    assert two.post("/v1/models/credit/rollback").json()["aliases"]["champion"] == 1


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models/nobody"),
        ("GET", "/v1/models/nobody/versions/1"),
        ("GET", "/v1/models/credit/versions/9"),
        ("GET", "/v1/models/credit/card?version=9"),
        ("GET", "/v1/models/nobody/card"),
        ("POST", "/v1/models/nobody/rollback"),
        ("POST", "/v1/models/credit/promote"),
        ("PUT", "/v1/models/credit/aliases/shadow"),
        ("DELETE", "/v1/models/nobody/aliases/shadow"),
    ],
)
def test_what_is_not_there_is_not_found(two, method, path):
    body = {"json": {"version": 9}} if method in ("POST", "PUT") else {}
    response = two.request(method, path, **body)
    assert response.status_code == 404
    assert response.json()["code"] == "not_found"


@pytest.mark.parametrize("body", [{"version": 0}, {"version": "x"}, {"versoin": 1}, [], None])
def test_a_wrong_choice_is_refused(two, body):
    assert two.post("/v1/models/credit/promote", json=body).status_code == 422


@pytest.mark.parametrize("alias", ["a b", "v1.2", "-x"])
def test_a_bad_alias_is_refused(two, alias):
    path = f"/v1/models/credit/aliases/{alias}"
    assert two.put(path, json={"version": 1}).status_code == 422


def test_with_the_registry_down_predictions_go_on(two, registry):
    registry.down = True
    response = two.get("/v1/models")
    assert response.status_code == 503
    assert response.json()["code"] == "tracker_unavailable"
    assert served_version(two) == 1


def test_a_restart_with_the_registry_down_predicts(two, registry, serve):
    registry.down = True
    again = serve()
    assert served_version(again) == 1
    assert again.get("/health/ready").status_code == 200
    assert again.get("/health/ready").json()["registry"] == "The tracker is down."
