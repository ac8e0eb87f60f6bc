"""Images, sequences, forecasts and texts over REST: a file in, a trained network out, served.

Predictions over HTTP are compared with what MLflow's own loader of the registered version gives,
and with the scores that training reported.
"""

import base64
import json
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pellucid.bundle import TOKENIZER, WEIGHTS, Bundle
from pellucid.errors import InvalidRows, ModelNotReady, NotFound
from pellucid.resources.jobs import JobStatus
from pellucid.resources.predictions import Predictions
from support.other_bundles import png
from support.stack import Stack, running_stack

SMALL = {"explanation": {"rows": 8, "background": 8}, "evaluation": {"resamples": 100}}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with running_stack(tmp_path_factory.mktemp("other")) as stack:
        yield stack


def image(directory: Path) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """Bright and dark pictures, a zip of class folders."""
    random = np.random.default_rng(0)
    path = directory / "photos.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(160):
            label, mean = ("bright", 180) if i % 2 else ("dark", 60)
            pixels = random.normal(mean, 30, (10, 12)).clip(0, 255).astype(np.uint8)
            archive.writestr(f"photos/{label}/{i}.png", png(pixels))
    return path, {}, {"model": {"kind": "cnn", "widths": [8, 8], "blocks": 1}}


def sequence(directory: Path) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """Rising and falling lists of different lengths."""
    random = np.random.default_rng(0)
    path = directory / "series.jsonl"
    with path.open("w") as file:
        for i in range(200):
            slope = 1 if i % 2 else -1
            steps = slope * np.arange(random.integers(5, 12)) + random.normal(0, 0.3)
            row = {"load": steps.tolist(), "trend": "up" if i % 2 else "down"}
            file.write(json.dumps(row) + "\n")
    return path, {"roles": {"trend": "target"}}, {"model": {"kind": "gru", "width": 16}}


def forecast(directory: Path) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """A long table of four series: the next three values of each."""
    rows = [(f"s{s}", t, float(np.sin(t / 3 + s))) for s in range(4) for t in range(80)]
    series, hour, load = zip(*rows, strict=True)
    path = directory / "load.parquet"
    pq.write_table(pa.table({"series": series, "hour": hour, "load": load}), path)
    roles = {"series": "id", "hour": "time", "load": "target"}
    windows = {"windows": {"steps": 12, "horizon": 3}}
    return path, {"roles": roles}, {"data": windows, "model": {"kind": "tcn", "width": 16}}


def text(directory: Path) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """Reviews of a few words."""
    random = np.random.default_rng(0)
    words = {"good": ["great", "moving", "bright"], "bad": ["dull", "poor", "never again"]}
    rest = ["the", "film", "plot", "was", "really"]
    path = directory / "reviews.jsonl"
    with path.open("w") as file:
        for i in range(200):
            verdict = "good" if i % 2 else "bad"
            chosen = [*random.choice(words[verdict], 2), *random.choice(rest, 4)]
            row = {"review": " ".join(random.permutation(chosen)), "verdict": verdict}
            file.write(json.dumps(row) + "\n")
    plan = {
        "modality": "text",
        "model": {"kind": "bag_of_words", "width": 16, "buckets": 100},
        "optimizer": {"kind": "adamw", "lr": 0.03},
    }
    return path, {"roles": {"verdict": "target"}}, plan


@pytest.mark.slow
@pytest.mark.parametrize("case", [image, sequence, forecast, text])
@pytest.mark.timeout(1200)
def test_from_a_file_to_predictions(stack: Stack, tmp_path: Path, case: Any) -> None:
    path, options, plan = case(tmp_path)
    name = case.__name__
    stack.client.datasets.add(path, name=name, **options)
    data = {"dataset": name, **plan.pop("data", {})}
    training = {"epochs": 12, "patience": 12, "batch_size": 32, "seed": 1}
    job = stack.client.jobs.submit(
        {"name": name, "data": data, "training": training} | SMALL | plan
    )
    done = stack.client.jobs.wait(job.id)
    assert done.status is JobStatus.SUCCEEDED, done.reason

    workspace = stack.workspace(job.id)
    bundle = Bundle.open(workspace.bundle)
    assert WEIGHTS in bundle.manifest.files
    assert (TOKENIZER in bundle.manifest.files) == (name == "text")
    test = pq.read_table(workspace.outputs / "test_rows.parquet")
    rows = test.select([each.name for each in bundle.manifest.inputs]).to_pylist()
    answers = predict_when_served(stack, name, rows)
    found = numbers(bundle, answers)
    np.testing.assert_allclose(found, mlflow_numbers(stack, name, rows), rtol=1e-5, atol=1e-5)

    truth = test[bundle.manifest.target].to_pylist()
    if bundle.manifest.task == "regression":
        assert found.shape == (len(rows), 3)
        rmse = np.sqrt(((found - np.array(truth)) ** 2).mean())
        assert rmse == pytest.approx(bundle.manifest.metrics["rmse"], rel=1e-4)
    else:
        right = [a.label == label for a, label in zip(answers.predictions, truth, strict=True)]
        assert np.mean(right) == pytest.approx(bundle.manifest.metrics["accuracy"])
        assert np.mean(right) > 0.9
    assert "curl" in stack.client.models.card(name)


def predict_when_served(stack: Stack, name: str, rows: list[dict[str, Any]]) -> Predictions:
    deadline = time.monotonic() + 10
    while True:
        try:
            return stack.client.predict(name, rows)
        except (NotFound, ModelNotReady):
            assert time.monotonic() < deadline, "the champion was not served within 10 s"
            time.sleep(0.2)


def numbers(bundle: Bundle, answers: Predictions) -> np.ndarray:
    if bundle.manifest.task == "regression":
        return np.array([answer.value for answer in answers.predictions])
    found = [answer.probabilities or {} for answer in answers.predictions]
    return np.array([[each[str(label)] for label in bundle.manifest.classes] for each in found])


def mlflow_numbers(stack: Stack, name: str, rows: list[dict[str, Any]]) -> np.ndarray:
    """What MLflow's own loader of the registered champion gives for a DataFrame."""
    import mlflow
    import pandas as pd

    mlflow.set_tracking_uri(stack.settings.resolved_mlflow_url)
    model = mlflow.pyfunc.load_model(f"models:/{name}@champion")
    outputs = model.predict(pd.DataFrame(rows))
    columns = [column for column in outputs if column.startswith(("probability_", "value_"))]
    return np.asarray(outputs[columns])


@pytest.mark.slow
def test_a_picture_may_come_in_three_ways(stack: Stack) -> None:
    """After the journey of images: bytes, base64 and pixels are the same picture."""
    if "image" not in {model.name for model in stack.client.models.list()}:
        pytest.skip("the journey of images did not run")
    pixels = np.full((10, 12), 200, np.uint8)
    data = png(pixels)
    rows = [{"image": way} for way in (data, base64.b64encode(data).decode(), pixels)]
    answers = stack.client.predict("image", rows).predictions
    assert len({str(answer.probabilities) for answer in answers}) == 1
    assert answers[0].label == "bright"
    with pytest.raises(InvalidRows, match="Row 1, column 'image'"):
        stack.client.predict("image", [{"image": b"no image"}])
