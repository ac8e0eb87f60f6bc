"""What only a real MLflow server can show: races, interruptions, and models that MLflow loads."""

import base64
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

from pellucid.bundle import Bundle
from pellucid.errors import InvalidInput, TrackerUnavailable
from pellucid.jobs.workspace import Metric
from pellucid.settings import Settings
from pellucid.tracking.mlflow import connect
from pellucid.tracking.mlflow.registry import MlflowRegistry
from pellucid.tracking.mlflow.runs import MlflowTracker
from support.bundles import make_bundle, run_model
from support.mlflow_server import MlflowServer
from support.ports import free_port


@pytest.fixture
def backend(mlflow_url: str, request: pytest.FixtureRequest) -> tuple[MlflowTracker, Any, Any]:
    tracker, registry = connect(Settings(mlflow_url=mlflow_url, experiment=request.node.name))
    return tracker, registry, tracker._client


def registered(
    backend: tuple[MlflowTracker, MlflowRegistry, Any], bundle: Bundle, name: str
) -> str:
    tracker, registry, _ = backend
    run_id = tracker.open_run(f"job-{name}", name, {})
    tracker.log_metrics(run_id, [Metric("test/roc_auc", 0.8, 0, 1000)])
    registry.register(run_id, name, bundle.root, {"metric.roc_auc": "0.8"})
    registry.set_alias(name, "champion", 1)
    return run_id


def test_of_two_runs_of_a_job_the_older_is_kept(backend: Any) -> None:
    tracker, _, client = backend
    experiment = tracker._experiment_id()
    ids = [
        client.create_run(experiment, start_time=at, tags={"pellucid.job_id": "twin"}).info.run_id
        for at in (2000, 1000, 3000)
    ]
    assert tracker.open_run("twin", "twin", {}) == ids[1]
    late = client.create_run(experiment, tags={"pellucid.job_id": "twin"}).info.run_id
    tracker.close_run(ids[1], "FINISHED")
    states = [client.get_run(i).info for i in (*ids, late)]
    assert [s.lifecycle_stage for s in states] == ["deleted", "active", "deleted", "deleted"]
    assert [s.status for s in states] == ["KILLED", "FINISHED", "KILLED", "KILLED"]


def test_closing_a_run_that_is_gone_is_no_error(backend: Any) -> None:
    tracker, _, client = backend
    run_id = tracker.open_run("gone", "gone", {})
    client.delete_run(run_id)
    tracker.close_run(run_id, "FAILED")
    tracker.close_run("0" * 32, "FAILED")
    assert tracker.open_run("gone", "gone", {}) != run_id


def test_a_deleted_experiment_is_restored(backend: Any) -> None:
    tracker, _, client = backend
    run_id = tracker.open_run("restored", "restored", {})
    client.delete_experiment(client.get_run(run_id).info.experiment_id)
    again = tracker.open_run("restored", "restored", {})
    assert client.get_run(again).info.lifecycle_stage == "active"


def test_what_is_too_long_is_cut(backend: Any) -> None:
    tracker, _, client = backend
    run_id = tracker.open_run("long", "long", {})
    tracker.log_params(run_id, {"data.roles.what? (%)": "x" * 7000})
    tracker.set_tags(run_id, {"note": "x" * 9000})
    tracker.log_metrics(run_id, [Metric("test/f1 (a=b)", 1.0, 0, 0)])
    data = client.get_run(run_id).data
    assert data.params["data.roles.what_ ___"] == "x" * 5999 + "…"
    assert len(data.tags["note"]) == 8000
    assert list(data.metrics) == ["test/f1 _a_b_"]


@pytest.mark.parametrize(
    "call",
    ["log_model_artifacts", "log_outputs", "finalize_logged_model", "create_model_version"],
)
@pytest.mark.parametrize("carried_out", [False, True])
def test_an_interrupted_registration_is_completed(
    backend: Any, tmp_path: Path, call: str, carried_out: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each request fails once, before or after MLflow has carried it out."""
    tracker, registry, client = backend
    name = f"interrupted-{call}-{carried_out}"
    bundle = make_bundle(tmp_path / "bundle", name=name)
    run_id = tracker.open_run(name, name, {})
    whole: Callable[..., Any] = getattr(client, call)

    def fails(*arguments: Any, **named: Any) -> None:
        if carried_out:
            whole(*arguments, **named)
        raise _no_connection()

    with monkeypatch.context() as patch:
        patch.setattr(client, call, fails)
        with pytest.raises(TrackerUnavailable):
            registry.register(run_id, name, bundle.root, {})
    version = registry.register(run_id, name, bundle.root, {})
    assert [v.version for v in registry.versions(name)] == [version.version] == [1]
    registry.download(name, 1, tmp_path / "again")
    Bundle.open(tmp_path / "again")
    outputs = client.get_run(run_id).outputs.model_outputs
    models = client.search_logged_models(
        [client.get_run(run_id).info.experiment_id], f"source_run_id = '{run_id}'"
    )
    assert [m.model_id for m in models] == [o.model_id for o in outputs]
    assert [str(m.status) for m in models] == ["READY"]


def _no_connection() -> Exception:
    from requests import ConnectionError as NoConnection

    return NoConnection("The server was killed.")


def test_of_two_versions_of_a_run_the_first_is_kept(backend: Any, tmp_path: Path) -> None:
    _, registry, client = backend
    bundle = make_bundle(tmp_path / "bundle", name="twins")
    run_id = registered(backend, bundle, "twins")
    source = client.get_model_version("twins", "1").source
    model_id = source.removeprefix("models:/")
    client.create_model_version("twins", source, run_id, await_creation_for=None, model_id=model_id)
    assert registry.register(run_id, "twins", bundle.root, {}).version == 1
    assert [v.version for v in registry.versions("twins")] == [1]


def test_the_version_shows_what_it_is(backend: Any, tmp_path: Path) -> None:
    _, _, client = backend
    bundle = make_bundle(tmp_path / "bundle", name="shown")
    run_id = registered(backend, bundle, "shown")
    version = client.get_model_version("shown", "1")
    assert version.description.startswith("# shown")
    model = client.get_logged_model(version.source.removeprefix("models:/"))
    assert model.source_run_id == run_id
    assert [(m.key, m.value) for m in model.metrics] == [("test/roc_auc", 0.8)]
    assert model.params == {"model.widths": "[8, 8]"}
    assert len(client.get_metric_history(run_id, "test/roc_auc")) == 1


def test_mlflow_loads_the_champion(
    backend: Any, tmp_path: Path, mlflow_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    bundle = make_bundle(tmp_path / "bundle", name="loaded")
    registered(backend, bundle, "loaded")
    previous = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(mlflow_url)
    try:
        native = mlflow.onnx.load_model("models:/loaded@champion")
        generic = mlflow.pyfunc.load_model("models:/loaded@champion")
    finally:
        mlflow.set_tracking_uri(previous)
    assert [i.name for i in native.graph.input] == ["amount", "purpose"]
    assert native.SerializeToString() == bundle.model_path.read_bytes()

    signature = generic.metadata.signature
    assert signature.inputs.to_dict() == [
        {"type": "double", "name": "amount", "required": True},
        {"type": "string", "name": "purpose", "required": True},
    ]
    assert signature.outputs.input_names() == ["label", "probability_bad", "probability_good"]
    rows = pd.DataFrame({"amount": [1.5, np.nan, -2.0], "purpose": ["car", None, "boat"]})
    answers = generic.predict(rows)
    feed = {"amount": rows["amount"].to_numpy(), "purpose": np.array(["car", "", "boat"])}
    label, probabilities = run_model(bundle.model_path, feed)
    assert list(answers["label"]) == list(label)
    assert np.array_equal(answers[["probability_bad", "probability_good"]], probabilities)


def test_a_model_of_one_column_scores_rows(backend: Any, tmp_path: Path, mlflow_url: str) -> None:
    import mlflow

    bundle = make_bundle(tmp_path / "bundle", name="narrow", categorical=False)
    registered(backend, bundle, "narrow")
    backend[1].download("narrow", 1, tmp_path / "local")
    answers = mlflow.pyfunc.load_model(str(tmp_path / "local")).predict(
        pd.DataFrame({"amount": [1.0, -1.0]})
    )
    assert list(answers["label"]) == ["good", "bad"]


def test_mlflow_serves_the_champion(backend: Any, tmp_path: Path, mlflow_url: str) -> None:
    registered(backend, make_bundle(tmp_path / "bundle", name="served"), "served")
    port = free_port()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local"]
    command += ["--model-uri", "models:/served@champion", "--port", str(port)]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # it starts `uvicorn` by name
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            env=os.environ | {"MLFLOW_TRACKING_URI": mlflow_url, "PATH": path},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        rows = {
            "dataframe_records": [{"amount": 2, "purpose": "car"}, {"amount": -2, "purpose": ""}]
        }
        answer = _ask_until_it_answers(process, f"http://127.0.0.1:{port}/invocations", rows)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert [row["label"] for row in answer["predictions"]] == ["good", "bad"]
    assert answer["predictions"][0]["probability_good"] == pytest.approx(0.952574, abs=1e-5)


def _ask_until_it_answers(
    process: "subprocess.Popen[bytes]", url: str, body: dict[str, Any]
) -> dict[str, Any]:
    deadline = time.monotonic() + 240
    while process.poll() is None and time.monotonic() < deadline:
        try:
            response = httpx.post(url, json=body)
        except httpx.HTTPError:
            time.sleep(0.2)
            continue
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found
    raise AssertionError("`mlflow models serve` does not answer")


def test_a_server_that_is_not_there_is_soon_known() -> None:
    tracker, registry = connect(Settings(mlflow_url=f"http://127.0.0.1:{free_port()}"))
    started = time.monotonic()
    for call in (
        lambda: tracker.open_run("job", "job", {}),
        lambda: tracker.last_steps("0" * 32),
        registry.models,
        lambda: registry.version("credit", 1),
    ):
        with pytest.raises(TrackerUnavailable, match="does not answer"):
            call()
    assert time.monotonic() - started < 5


def test_credentials_are_sent_and_a_refusal_says_what_to_check(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = []

    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.headers["Authorization"])
            self.send_response(401)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Not to stderr."""

    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "restored after the test")
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        _, registry = connect(
            Settings(mlflow_url=url, mlflow_username="ada", mlflow_password="pass")
        )
        with pytest.raises(TrackerUnavailable, match="PELLUCID_MLFLOW_USERNAME"):
            registry.models()
        server.shutdown()
    assert asked == ["Basic " + base64.b64encode(b"ada:pass").decode()]


def test_a_frozen_server_is_given_up(
    backend: Any, mlflow_server: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracker, registry, _ = backend
    run_id = registered(backend, make_bundle(tmp_path / "bundle", name="frozen"), "frozen")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    mlflow_server.pause()
    try:
        started = time.monotonic()
        with pytest.raises(TrackerUnavailable):
            tracker.log_metrics(run_id, [Metric("loss", 1.0, 1, 1)])
        with pytest.raises(TrackerUnavailable):
            tracker.log_artifacts(run_id, tmp_path / "bundle")
        with pytest.raises(TrackerUnavailable):
            registry.download("frozen", 1, tmp_path / "to")
        assert time.monotonic() - started < 10
    finally:
        mlflow_server.resume()
    assert not (tmp_path / "to").exists()


def test_a_request_that_mlflow_refuses_is_named(backend: Any, tmp_path: Path) -> None:
    registered(backend, make_bundle(tmp_path / "bundle", name="refused"), "refused")
    with pytest.raises(InvalidInput, match="reserved"):
        backend[1].set_alias("refused", "latest", 1)
