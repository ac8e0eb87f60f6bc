"""Readiness tells the truth, and outages that do not matter do not matter."""

import threading
import time

import pytest

from pellucid.errors import DatabaseUnavailable
from pellucid_api.engine import devices
from pellucid_api.routers import health
from support.serving import ROW


def test_live(credit):
    assert credit.get("/health/live").json() == {"status": "live"}


def test_ready_says_what_is_served_and_where(credit):
    response = credit.get("/health/ready")
    assert response.status_code == 200
    assert response.json() == {
        "ready": True,
        "reason": "",
        "device": "cpu",
        "models": [
            {
                "name": "credit", "version": 1, "device": "cpu",
                "providers": ["CPUExecutionProvider"], "failed_version": None, "failure": None,
            }
        ],
        "database": "ok",
        "registry": "ok",
        "prediction_log": "ok",
        "missing": [],
    }  # fmt: skip


def test_without_models_the_service_is_ready_for_jobs(client):
    state = client.get("/health/ready").json()
    assert (state["ready"], state["models"]) == (True, [])


def test_cuda_asked_for_and_missing_is_not_ready(serve, register, monkeypatch):
    monkeypatch.setattr(devices, "_obstacle", lambda place: "there is no NVIDIA driver")
    register()
    client = serve(device="cuda")
    response = client.get("/health/ready")
    assert response.status_code == 503
    assert "no NVIDIA driver" in response.json()["reason"]
    assert client.get("/v2/health/ready").status_code == 503
    assert client.get("/health/live").status_code == 200
    response = client.post("/v1/models/credit/predict", json=[ROW])
    assert response.status_code == 503


def test_a_failed_version_is_visible_beside_the_one_that_serves(serve, register):
    register()
    client = serve()
    register(claimed_bias=3.0)
    deadline = time.monotonic() + 60
    while not (found := client.get("/health/ready").json()["models"][0])["failed_version"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert (found["version"], found["failed_version"]) == (1, 2)
    assert "differs from PyTorch" in found["failure"]


def test_a_database_that_is_down_is_told_but_models_serve(credit, monkeypatch):
    def fail():
        raise DatabaseUnavailable("The database does not answer.")

    monkeypatch.setattr(credit.services.database, "ping", fail)
    response = credit.get("/health/ready")
    assert (response.status_code, response.json()["ready"]) == (200, True)
    assert response.json()["database"] == "The database does not answer."
    assert credit.post("/v1/models/credit/predict", json=[ROW]).status_code == 200


def test_a_database_that_hangs_does_not_hang_the_probe(credit, monkeypatch):
    monkeypatch.setattr(health, "_PATIENCE_SECONDS", 0.1)
    answered = threading.Event()
    monkeypatch.setattr(credit.services.database, "ping", lambda: answered.wait(60))
    try:
        state = credit.get("/health/ready").json()
    finally:
        answered.set()
    assert state["database"] == "no answer within 0.1 s"


@pytest.mark.parametrize("key", ["version", "device", "mlflow_url", "database", "registry"])
def test_info(credit, key):
    assert credit.get("/v1/info").json()[key]
