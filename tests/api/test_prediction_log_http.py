"""`/v1/predictions/{id}`: from an answer's id to what came in, what went out, and what made it."""

import base64
import io
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pellucid.cli.predictions import show
from pellucid.client import Client
from pellucid.monitoring import ids
from pellucid.monitoring.log import PredictionLog
from pellucid.settings import Settings
from pellucid.tracking.contract import CHAMPION
from pellucid.tracking.memory import MemoryTracker
from support.other_bundles import make_other_bundle
from support.serving import ROW, ServiceClient, serving


def predict(client: ServiceClient, name: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    reply = client.post(f"/v1/models/{name}/predict", json=rows)
    assert reply.status_code == 200, reply.text
    answers: list[dict[str, Any]] = reply.json()["predictions"]
    return answers


def logged(client: ServiceClient, identity: str) -> dict[str, Any]:
    reply = client.get(f"/v1/predictions/{identity}")
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()
    return found


def test_an_answer_is_found_by_its_id_at_once(credit: ServiceClient) -> None:
    rows = [ROW, ROW | {"age": None, "purpose": "kite"}, ROW | {"owner": None, "since": None}]
    answers = predict(credit, "credit", rows)
    for row, answer in zip(rows, answers, strict=True):
        found = logged(credit, answer["id"])
        assert found["inputs"] == row
        assert found["outputs"]["label"] == answer["label"]
        assert found["outputs"]["probabilities"] == pytest.approx(
            list(answer["probabilities"].values())
        )
        assert (found["model"], found["version"]) == ("credit", 1)
        assert 0 < found["latency_ms"] < 60_000
        assert found["id"] == answer["id"]
        assert (found["run_id"], found["job_id"]) == ("run-1", "job-1")
        assert found["data_version"] == "d" * 64


def test_tensors_are_recorded_as_rows(credit: ServiceClient) -> None:
    inputs = [
        {"name": "age", "shape": [2], "datatype": "FP64", "data": [41.0, 5.5]},
        {"name": "owner", "shape": [2], "datatype": "FP64", "data": [1.0, 0.0]},
        {"name": "since", "shape": [2], "datatype": "FP64", "data": [1e9, 1.5e9]},
        {"name": "purpose", "shape": [2], "datatype": "BYTES", "data": ["car", "Böötchen"]},
    ]
    reply = credit.post("/v2/models/credit/infer", json={"inputs": inputs})
    first = reply.json()["parameters"]["prediction_id"]
    second = str(uuid.UUID(int=uuid.UUID(first).int + 1))
    assert logged(credit, first)["inputs"]["owner"] is True
    assert logged(credit, second)["inputs"]["purpose"] == "Böötchen"
    assert logged(credit, second)["inputs"]["since"] == "2017-07-14T02:40:00Z"


def test_the_client_and_the_command_show_a_prediction(
    credit: ServiceClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (answer,) = predict(credit, "credit", [ROW])
    with Client(str(credit.base_url)) as client:
        found = client.prediction(answer["id"])
    assert found.inputs == ROW
    assert found.time.tzinfo is not None
    monkeypatch.setenv("PELLUCID_URL", str(credit.base_url))
    show(answer["id"])
    shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["prediction", answer["id"]] in shown
    assert ["model", "credit", "version", "1"] in shown
    assert ["input", "purpose", "car"] in shown


def test_an_id_that_is_not_there_is_a_404(credit: ServiceClient) -> None:
    unknown = uuid.UUID(int=int(time.time() * 1000) << 80 | 7 << 76 | 1 << 63)
    reply = credit.get(f"/v1/predictions/{unknown}")
    assert reply.status_code == 404
    assert reply.json()["where"] == {"id": str(unknown)}


@pytest.mark.parametrize(
    "identity", ["1", "credit", "38d5eef7-0dcc-4204-9b3f-bf0f92ec3270", "é" * 300, "*"]
)
def test_what_is_no_id_is_a_422(credit: ServiceClient, identity: str) -> None:
    reply = credit.get(f"/v1/predictions/{identity}")
    assert reply.status_code == 422
    assert reply.headers["content-type"] == "application/problem+json"


def test_images_are_recorded_as_their_pixels(
    serve: Any, registry: MemoryTracker, tmp_path: Path
) -> None:
    make_other_bundle(tmp_path / "photos", "image")
    registry.register("run-1", "photos", tmp_path / "photos", {})
    registry.set_alias("photos", CHAMPION, 1)
    client = serve()
    pixels = np.random.default_rng(0).integers(0, 256, (10, 12, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    (answer,) = predict(client, "photos", [{"photo": base64.b64encode(file.getvalue()).decode()}])
    photo = logged(client, answer["id"])["inputs"]["photo"]
    assert (photo["datatype"], photo["shape"]) == ("UINT8", [10, 12, 3])
    held = np.frombuffer(base64.b64decode(photo["data"]), np.uint8).reshape(10, 12, 3)
    assert np.array_equal(held, pixels)


def test_sequences_are_recorded_without_what_fills_them_up(
    serve: Any, registry: MemoryTracker, tmp_path: Path
) -> None:
    make_other_bundle(tmp_path / "loads", "sequence")
    registry.register("run-1", "loads", tmp_path / "loads", {})
    registry.set_alias("loads", CHAMPION, 1)
    client = serve()
    row = {"load": [3.5, None, 4.0], "heat": []}
    (answer,) = predict(client, "loads", [row])
    found = logged(client, answer["id"])
    assert found["inputs"] == row
    assert found["outputs"]["value"] == pytest.approx(answer["value"])


def test_predictions_outlive_the_service_sealed(
    register: Any, registry: MemoryTracker, settings: Settings
) -> None:
    register()
    with serving(settings, registry) as client:
        answers = predict(client, "credit", [ROW] * 3)
    root = settings.home / "predictions"
    assert [path.suffix for path in root.rglob("*") if path.is_file()] == [".parquet"]
    for answer in answers:
        found = PredictionLog(root).find(ids.parse(answer["id"]))
        assert found is not None
        assert found.inputs["age"] == ROW["age"]


def test_the_log_can_be_off(serve: Any, register: Any) -> None:
    register()
    client = serve(prediction_log=False)
    (answer,) = predict(client, "credit", [ROW])
    assert client.get(f"/v1/predictions/{answer['id']}").status_code == 404
    assert client.get("/health/ready").json()["prediction_log"] == "off"
    assert not (client.services.settings.home / "predictions").exists()
