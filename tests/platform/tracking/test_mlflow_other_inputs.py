"""Bundles of images, sequences and texts as MLflow's models: the same answers, without Pellucid."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.pyfunc.scoring_server import infer_and_parse_data

from pellucid.tracking.mlflow.model import model_directory
from support.other_bundles import Made, make_other_bundle

TYPES = {
    "image": [{"type": "binary", "name": "photo", "required": True}],
    "sequence": [
        {"type": "array", "items": {"type": "double"}, "name": name, "required": True}
        for name in ("load", "heat")
    ],
    "text": [{"type": "string", "name": "review", "required": True}],
}


@pytest.fixture(scope="module", params=TYPES)
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    root = tmp_path_factory.mktemp("saved")
    made = make_other_bundle(root / "bundle", request.param)
    with model_directory(made.bundle, "0" * 32, "m-" + "0" * 32) as directory:
        shutil.copytree(directory, root / "model")
    return made, root / "model"


def numbers(answers: pd.DataFrame) -> np.ndarray:
    columns = [name for name in answers if name.startswith(("probability_", "value"))]
    found = answers[columns].to_numpy()
    return found[:, 0] if columns == ["value"] else found


def complete(made: Made) -> tuple[pd.DataFrame, np.ndarray]:
    """The rows in which nothing is missing, which a signature of lists or strings wants."""
    rows = made.table.to_pylist()
    whole = [i for i, row in enumerate(rows) if None not in row.values()]
    whole = [i for i in whole if None not in (rows[i].get("load") or ())]
    return pd.DataFrame([rows[i] for i in whole]), made.expected[whole]


def test_the_generic_interface_gives_the_same_answers(saved: Any) -> None:
    made, path = saved
    model = mlflow.pyfunc.load_model(str(path))
    assert model.metadata.signature.inputs.to_dict() == TYPES[made.bundle.manifest.name]
    rows, expected = complete(made)
    np.testing.assert_allclose(numbers(model.predict(rows)), expected, rtol=1e-5, atol=1e-5)
    found = model._model_impl.predict(pd.DataFrame(made.table.to_pylist()))
    np.testing.assert_allclose(numbers(found), made.expected, rtol=1e-5, atol=1e-5)


def test_the_native_interface_loads_the_graph(saved: Any) -> None:
    made, path = saved
    native = mlflow.onnx.load_model(str(path))
    assert native.SerializeToString() == made.bundle.model_path.read_bytes()


def test_the_input_example_can_be_scored(saved: Any) -> None:
    made, path = saved
    model = mlflow.pyfunc.load_model(str(path))
    body = (path / "serving_input_example.json").read_text()
    rows = infer_and_parse_data(json.loads(body), model.metadata.get_input_schema())
    np.testing.assert_allclose(
        numbers(model.predict(rows)), made.expected[: len(rows)], rtol=1e-5, atol=1e-5
    )


def test_scoring_needs_no_pellucid(saved: Any, tmp_path: Path) -> None:
    made, path = saved
    rows, expected = complete(made)
    rows.to_pickle(tmp_path / "rows.pkl")
    script = f"""
import sys
for name in ("pellucid", "pellucid_pipelines", "torch"):
    sys.modules[name] = None
import mlflow, pandas
rows = pandas.read_pickle({str(tmp_path / "rows.pkl")!r})
mlflow.pyfunc.load_model({str(path)!r}).predict(rows).to_pickle({str(tmp_path / "out.pkl")!r})
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=120)
    found = numbers(pd.read_pickle(tmp_path / "out.pkl"))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_a_forecast_comes_in_a_column_for_each_step(tmp_path: Path) -> None:
    made = make_other_bundle(tmp_path / "bundle", "sequence", horizon=3)
    with model_directory(made.bundle, "0" * 32, "m-" + "0" * 32) as directory:
        model = mlflow.pyfunc.load_model(str(directory))
        rows, expected = complete(made)
        answers = model.predict(rows)
    assert list(answers) == ["value_1", "value_2", "value_3"]
    np.testing.assert_allclose(answers.to_numpy(), expected, rtol=1e-5)
    assert model.metadata.signature.outputs.input_names() == list(answers)
