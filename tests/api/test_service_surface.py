"""What the service is made of: its routes, its document, its imports, its command."""

import json
import os
import signal
import subprocess
import sys
import time

import httpx
import pytest
import typer
from typer.testing import CliRunner

from pellucid.settings import Settings
from pellucid_api.app import create_app
from pellucid_api.commands import api
from pellucid_api.routes import ROUTES
from support.ports import free_port

ALL = [(tag, route) for tag, routes in ROUTES.items() for route in routes]
PUBLIC_ROUTES = {
    "DELETE /v1/models/{name}/aliases/{alias}",
    "DELETE /v1/models/{name}/traffic",
    "DELETE /v1/silences/{silence_id}",
    "GET /health",
    "GET /health/live",
    "GET /health/ready",
    "GET /metrics",
    "GET /ping",
    "GET /v1/alert-rules",
    "GET /v1/alerts",
    "GET /v1/alerts/{alert_id}",
    "GET /v1/datasets",
    "GET /v1/datasets/{reference}",
    "GET /v1/datasets/{reference}/content",
    "GET /v1/datasets/{reference}/lineage",
    "GET /v1/datasets/{reference}/preview",
    "GET /v1/datasets/{reference}/profile",
    "GET /v1/info",
    "GET /v1/jobs",
    "GET /v1/jobs/{job_id}",
    "GET /v1/jobs/{job_id}/events",
    "GET /v1/jobs/{job_id}/explanations",
    "GET /v1/jobs/{job_id}/logs",
    "GET /v1/jobs/{job_id}/predictions",
    "GET /v1/jobs/{job_id}/trials",
    "GET /v1/models",
    "GET /v1/models/{name}",
    "GET /v1/models/{name}/card",
    "GET /v1/models/{name}/comparison",
    "GET /v1/models/{name}/monitoring",
    "GET /v1/models/{name}/monitoring/report",
    "GET /v1/models/{name}/stats",
    "GET /v1/models/{name}/traffic",
    "GET /v1/models/{name}/versions/{version}",
    "GET /v1/predictions/{prediction_id}",
    "GET /v1/schemas/plan",
    "GET /v1/silences",
    "GET /v2",
    "GET /v2/health/live",
    "GET /v2/health/ready",
    "GET /v2/models/stats",
    "GET /v2/models/{name}",
    "GET /v2/models/{name}/config",
    "GET /v2/models/{name}/ready",
    "GET /v2/models/{name}/stats",
    "GET /v2/models/{name}/versions/{version}",
    "GET /v2/models/{name}/versions/{version}/config",
    "GET /v2/models/{name}/versions/{version}/ready",
    "GET /v2/models/{name}/versions/{version}/stats",
    "GET /version",
    "POST /invocations",
    "POST /v1/alerts/{alert_id}/acknowledge",
    "POST /v1/datasets",
    "POST /v1/feedback",
    "POST /v1/jobs",
    "POST /v1/jobs/{job_id}/cancel",
    "POST /v1/jobs/{job_id}/retry",
    "POST /v1/models/{name}/counterfactuals",
    "POST /v1/models/{name}/explain",
    "POST /v1/models/{name}/explanations",
    "POST /v1/models/{name}/invocations",
    "POST /v1/models/{name}/predict",
    "POST /v1/models/{name}/promote",
    "POST /v1/models/{name}/rollback",
    "POST /v1/models/{name}/scorings",
    "POST /v1/models/{name}/versions/{version}/counterfactuals",
    "POST /v1/models/{name}/versions/{version}/explain",
    "POST /v1/models/{name}/versions/{version}/predict",
    "POST /v1/silences",
    "POST /v2/models/{name}/infer",
    "POST /v2/models/{name}/versions/{version}/infer",
    "POST /v2/repository/index",
    "POST /v2/repository/models/{name}/load",
    "POST /v2/repository/models/{name}/unload",
    "PUT /v1/alert-rules",
    "PUT /v1/models/{name}/aliases/{alias}",
    "PUT /v1/models/{name}/traffic",
}


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    app = create_app(Settings(home=tmp_path_factory.mktemp("document")))
    return json.loads(json.dumps(app.openapi()))


def test_the_public_surface_is_pinned():
    assert {f"{route.method} {route.path}" for _, route in ALL} == PUBLIC_ROUTES


def test_the_document_has_the_same_routes(document):
    documented = {
        f"{method.upper()} {path}"
        for path, methods in document["paths"].items()
        for method in methods
    }
    assert documented == PUBLIC_ROUTES


@pytest.mark.parametrize(("tag", "route"), ALL, ids=lambda value: getattr(value, "path", value))
def test_every_route_is_documented(document, tag, route):
    operation = document["paths"][route.path][route.method.lower()]
    assert operation["tags"] == [tag]
    assert 8 < len(operation["summary"]) < 110
    for status in route.errors:
        assert str(status) in operation["responses"]
    if route.method == "POST" and route.path.endswith(("/predict", "/explain", "/infer", "/jobs")):
        for content in operation["requestBody"]["content"].values():
            assert content.get("example") or content["examples"]
    for parameter in operation.get("parameters", []):
        assert parameter.get("description") or parameter["name"] == "rows"


def test_every_reference_of_the_document_leads_somewhere(document):
    def references(value):
        if isinstance(value, dict):
            for key, item in value.items():
                if key == "$ref":
                    yield item
                else:
                    yield from references(item)
        elif isinstance(value, list):
            for item in value:
                yield from references(item)

    found = set(references(document))
    assert len(found) > 20
    for reference in found:
        place = document
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]
    for name in ("Problem", "Plan", "InferenceRequest", "Predictions", "Dataset", "Job"):
        assert name in document["components"]["schemas"]


def test_the_docs_are_there(credit):
    assert "swagger" in credit.get("/docs").text.lower()


def test_every_module_imports_without_torch():
    script = """
import importlib, pkgutil, sys

class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch" or name.startswith("torch."):
            raise ModuleNotFoundError(f"{name} is blocked")

sys.meta_path.insert(0, NoTorch())
import pellucid_api
names = [m.name for m in pkgutil.walk_packages(pellucid_api.__path__, "pellucid_api.")]
for name in names:
    importlib.import_module(name)
assert "torch" not in sys.modules and "mlflow" not in sys.modules
print(len(names))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= 25


def command():
    app = typer.Typer()
    app.command()(api)
    return app


def test_a_public_address_without_keys_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("PELLUCID_HOME", str(tmp_path))
    monkeypatch.delenv("PELLUCID_API_KEYS", raising=False)
    result = CliRunner().invoke(command(), ["--host", "0.0.0.0"])
    assert result.exit_code != 0
    assert "without API keys" in str(result.exception)


def test_wrong_options_are_refused():
    assert CliRunner().invoke(command(), ["--port", "70000"]).exit_code == 2
    assert CliRunner().invoke(command(), ["--log-format", "xml"]).exit_code == 2


def test_the_command_serves_without_mlflow_and_without_tables_and_stops_on_sigterm(tmp_path):
    port = free_port()
    environment = os.environ | {
        "PELLUCID_HOME": str(tmp_path),
        "PELLUCID_MLFLOW_URL": "http://127.0.0.1:9",  # the discard port: nobody answers
    }
    arguments = [sys.executable, "-m", "pellucid.cli", "api", "--port", str(port)]
    process = subprocess.Popen(arguments, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(process, f"{url}/health/live")
        wait_for(process, f"{url}/health/ready")
        state = httpx.get(f"{url}/health/ready").json()
        assert state["ready"]
        assert state["registry"] != "ok"
        problem = httpx.get(f"{url}/v1/jobs").json()
        assert problem["status"] == 503
        assert "pellucid db upgrade" in problem["remedy"]
    finally:
        process.send_signal(signal.SIGTERM)
        _, log = process.communicate(timeout=60)
    assert process.returncode in (0, -signal.SIGTERM), log
    assert "GET /v1/jobs 503" in log
    assert "Traceback" not in log


def wait_for(process, url):
    deadline = time.monotonic() + 60
    while True:
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            pass
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, url
        time.sleep(0.1)
