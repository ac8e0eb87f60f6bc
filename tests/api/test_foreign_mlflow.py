"""A real MLflow: models that others log are served."""

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient

from pellucid.errors import InvalidData, InvalidInput
from pellucid.settings import Settings
from pellucid.tracking.contract import CHAMPION
from pellucid.tracking.imports import import_onnx
from pellucid.tracking.mlflow import connect
from support import foreign
from support.serving import ServiceClient, serving

X = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)


def log(url: str, name: str, **options: Any) -> None:
    """What another team does: their own MLflow code."""
    mlflow.set_tracking_uri(url)
    mlflow.set_experiment("another team")
    with mlflow.start_run():
        mlflow.onnx.log_model(
            foreign.dense(), name="model", registered_model_name=name,
            pip_requirements=["onnxruntime"], **options,
        )  # fmt: skip
    MlflowClient(url, url).set_registered_model_alias(name, CHAMPION, "1")


@pytest.fixture(scope="module")
def service(mlflow_url: str, tmp_path_factory: pytest.TempPathFactory):
    root = tmp_path_factory.mktemp("drop-in")
    log(mlflow_url, "logged")  # weights as external data, MLflow's default
    log(mlflow_url, "logged-whole", save_as_external_data=False)
    settings = Settings(home=root / "home", mlflow_url=mlflow_url, device="cpu")
    tracker, registry = connect(settings)
    file = foreign.write(foreign.dense(), root / "import")
    first = import_onnx(tracker, registry, file, "imported", CHAMPION)
    assert import_onnx(tracker, registry, file, "imported", CHAMPION) == first
    with serving(settings, registry) as client:
        yield client


@pytest.mark.parametrize("name", ["logged", "logged-whole", "imported"])
def test_models_of_others_are_served(service: ServiceClient, name: str) -> None:
    response = service.post(f"/v1/models/{name}/predict", json=X.tolist())
    assert response.status_code == 200, response.text
    found = [each["outputs"]["y"] for each in response.json()["predictions"]]
    np.testing.assert_allclose(found, foreign.dense_answer(X), atol=1e-6)
    detail = service.get(f"/v1/models/{name}/versions/1").json()
    assert (detail["aliases"], detail["job_id"]) == ([CHAMPION], "")


@pytest.mark.parametrize("name", ["it's", "", "a/b"])
def test_an_import_needs_a_name(mlflow_url: str, tmp_path: Path, name: str) -> None:
    tracker, registry = connect(Settings(mlflow_url=mlflow_url))
    with pytest.raises(InvalidInput, match="no model name"):
        import_onnx(tracker, registry, foreign.write(foreign.dense(), tmp_path), name)


def test_an_import_needs_an_onnx_file(mlflow_url: str, tmp_path: Path) -> None:
    tracker, registry = connect(Settings(mlflow_url=mlflow_url))
    with pytest.raises(InvalidData, match="no such file"):
        import_onnx(tracker, registry, tmp_path / "gone.onnx", "junk")
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    with pytest.raises(InvalidData, match="no ONNX model"):
        import_onnx(tracker, registry, tmp_path / "junk.onnx", "junk")
