"""The main job over REST: data in, a trained and explained network out, served over HTTP.

Real servers, as `pellucid up` starts them. Predictions over HTTP are compared with ONNX Runtime on
the bundle and with PyTorch on the checkpoint.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import torch

from pellucid.bundle import Bundle, Datatype
from pellucid.datasets import bundled, synthetic
from pellucid.errors import ModelNotReady, NotFound
from pellucid.resources.jobs import Job, JobStatus
from pellucid.resources.predictions import Predictions
from pellucid_pipelines import loop
from pellucid_pipelines.export import run_onnx
from pellucid_pipelines.inspection.inspect import rebuild
from support.stack import SHARED_DATA, Stack, running_stack

ROWS = 300
TOLERANCE = 1e-5
MLP = {"kind": "mlp"}  # the others take the default network
FEWER = {"background": 50, "rows": 60}  # explained by it, which takes longer than all else


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("journey")) as stack:
        yield stack


def credit(directory: Path) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    table, roles = synthetic.credit(2000, seed=3)
    # a column may be called what the model calls its output
    table = table.rename_columns({"purpose": "label"})
    path = directory / "credit.csv"
    pa.csv.write_csv(table, path)
    return path, {"roles": roles}, {"training": {"epochs": 4}, "explanation": FEWER}


def digits(directory: Path) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    table, roles = bundled.load("digits")
    path = directory / "digits.parquet"
    pq.write_table(table, path)
    return path, {"roles": roles}, {"task": "classification", "model": MLP}


def german_credit(_: Path) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    roles = {"credit": "target", "personal_status": "sensitive"}
    plan = {"training": {"epochs": 8}, "explanation": FEWER}
    return SHARED_DATA / "german_credit.csv", {"roles": roles}, plan


def bike_hour(_: Path) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    roles = {"cnt": "target", "dteday": "time"}
    roles |= dict.fromkeys(("instant", "casual", "registered"), "ignore")
    return (
        SHARED_DATA / "bike_hour.csv",
        {"roles": roles},
        {"model": MLP, "training": {"epochs": 15}},
    )


@pytest.mark.parametrize(
    "case", [credit, digits, pytest.param(german_credit, marks=pytest.mark.slow), bike_hour]
)
@pytest.mark.timeout(1200)
def test_from_a_file_to_predictions(stack: Stack, tmp_path: Path, case: Any) -> None:
    path, options, plan = case(tmp_path)
    if not path.exists():
        pytest.skip(f"{path.name} is not at hand")
    name = case.__name__.replace("_", "-")
    dataset = stack.client.datasets.add(path, name=name, **options)

    job = stack.client.jobs.submit({"name": name, "data": {"dataset": name}} | plan)
    done = stack.client.jobs.wait(job.id)
    assert done.status is JobStatus.SUCCEEDED, done.reason
    assert done.data_version == dataset.sha256

    bundle = Bundle.open(stack.workspace(job.id).bundle)
    assert bundle.manifest.parity.rows >= 256
    rows, expected = torch_predictions(stack, done)
    answers = predict_when_served(stack, name, rows)
    assert (answers.model, answers.version) == (name, 1)
    assert len({answer.id for answer in answers.predictions}) == len(rows)

    served = numbers(bundle, answers)
    np.testing.assert_allclose(served, expected, rtol=TOLERANCE, atol=TOLERANCE)
    np.testing.assert_allclose(served, onnx_numbers(bundle, rows), rtol=TOLERANCE, atol=TOLERANCE)
    np.testing.assert_allclose(
        served, mlflow_numbers(stack, name, bundle, rows), rtol=TOLERANCE, atol=TOLERANCE
    )
    check_the_run(stack, done, bundle)


def predict_when_served(stack: Stack, name: str, rows: list[dict[str, Any]]) -> Predictions:
    """The answers, once the service has followed the alias; that takes 5 seconds at the most."""
    deadline = time.monotonic() + 5.0
    while True:
        try:
            return stack.client.predict(name, rows)
        except (NotFound, ModelNotReady):
            assert time.monotonic() < deadline, "the champion was not served within 5 s"
            time.sleep(0.2)


def torch_predictions(stack: Stack, job: Job) -> tuple[list[dict[str, Any]], np.ndarray]:
    """Test rows in raw columns, and what the network says of them in PyTorch."""
    workspace = stack.workspace(job.id)
    request = workspace.read_request()
    found = rebuild(request, Bundle.open(workspace.bundle))
    examples = found.examples
    chosen = examples.take(examples.parts.test[:ROWS])
    with torch.inference_mode():
        dense = examples.preprocessing(examples.preprocessing.encode(chosen))
        outputs = examples.target.head().eval()(loop.predict(found.network, dense))
    columns = [column.name for column in examples.preprocessing.inputs]
    return chosen.select(columns).to_pylist(), outputs.numpy()


def numbers(bundle: Bundle, answers: Predictions) -> np.ndarray:
    """(N, K) probabilities in class order, or (N,) values."""
    if bundle.manifest.task == "regression":
        return np.array([answer.value for answer in answers.predictions])
    classes = [str(label) for label in bundle.manifest.classes]
    found = []
    for answer in answers.predictions:
        assert answer.probabilities is not None
        found.append([answer.probabilities[label] for label in classes])
        assert str(answer.label) == classes[int(np.argmax(found[-1]))]
    return np.array(found)


def _columns(bundle: Bundle, rows: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    columns = {}
    for spec in bundle.manifest.inputs:
        values = [row[spec.name] for row in rows]
        if spec.datatype is Datatype.BYTES:
            columns[spec.name] = np.array([value or "" for value in values], dtype=object)
        else:
            columns[spec.name] = np.array(
                [np.nan if value is None else float(value) for value in values]
            )
    return columns


def onnx_numbers(bundle: Bundle, rows: list[dict[str, Any]]) -> np.ndarray:
    outputs = run_onnx(bundle.model_path, _columns(bundle, rows))
    return outputs["value"] if "value" in outputs else outputs["probabilities"]


def mlflow_numbers(
    stack: Stack, name: str, bundle: Bundle, rows: list[dict[str, Any]]
) -> np.ndarray:
    """What MLflow's own loader of the registered champion gives for a DataFrame."""
    import mlflow
    import pandas as pd

    mlflow.set_tracking_uri(stack.settings.resolved_mlflow_url)
    model = mlflow.pyfunc.load_model(f"models:/{name}@champion")
    outputs = model.predict(pd.DataFrame(_columns(bundle, rows)))
    if bundle.manifest.task == "regression":
        return np.asarray(outputs["value"])
    return np.asarray(outputs[[f"probability_{label}" for label in bundle.manifest.classes]])


def check_the_run(stack: Stack, job: Job, bundle: Bundle) -> None:
    """What a person reviews in the MLflow UI is there."""
    (run,) = stack.runs(job.id)
    assert run.info.status == "FINISHED"
    assert run.data.params["model.kind"] == job.plan["model"]["kind"]
    assert run.data.params["training.seed"] == "0"
    (dataset,) = run.inputs.dataset_inputs
    assert job.data_version.startswith(dataset.dataset.digest)
    assert len(dataset.dataset.digest) >= 32
    history = stack.mlflow.get_metric_history(run.info.run_id, "validation/loss")
    assert [point.step for point in history] == list(range(1, len(history) + 1))
    assert any(key.startswith("system/") for key in run.data.metrics)
    for metric, value in bundle.manifest.metrics.items():
        assert run.data.metrics[f"test/{metric}"] == pytest.approx(value)
    paths = {item.path for item in stack.mlflow.list_artifacts(run.info.run_id)}
    assert {"figures", "card.md", "environment.txt", "plan.yaml"} <= paths
    figures = {
        Path(item.path).stem for item in stack.mlflow.list_artifacts(run.info.run_id, "figures")
    }
    assert {"shap_bar", "shap_beeswarm"} <= figures, figures
    assert any("waterfall" in figure for figure in figures)
