"""In the place of `mlflow models serve`: the same requests, the same answers."""

import json
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.pyfunc import scoring_server
from mlflow.pyfunc.scoring_server.client import ScoringServerClient
from onnx import TensorProto

from pellucid.settings import Settings
from pellucid.tracking.contract import CHAMPION
from pellucid.tracking.imports import import_onnx
from pellucid.tracking.mlflow import connect
from support import foreign
from support.bundles import make_bundle
from support.serving import ROW, ServiceClient, serving

X = np.arange(8, dtype=np.float32).reshape(2, 4).tolist()
NAMES = ["a", "b", "c", "d"]
FRAME = {"columns": ["amount", "purpose"], "data": [[1.5, "car"], [None, None], [-2, "kite"]]}
RECORDS = [dict(zip(FRAME["columns"], row, strict=True)) for row in FRAME["data"]]
LISTS = {name: [row[name] for row in RECORDS] for name in FRAME["columns"]}
PAIR = (("left", TensorProto.FLOAT, ["n"]), ("right", TensorProto.INT64, ["n"]))
PAIRS = [{"left": 1.5, "right": 2}, {"left": -1.0, "right": 3}]


@pytest.fixture(scope="module")
def service(mlflow_url: str, tmp_path_factory: pytest.TempPathFactory):
    root = tmp_path_factory.mktemp("invocations")
    settings = Settings(
        home=root / "home", mlflow_url=mlflow_url, device="cpu", default_model="inv-ours"
    )
    tracker, registry = connect(settings)
    bundle = make_bundle(root / "bundle", name="inv-ours")
    run = tracker.open_run("inv-ours", "inv-ours", {})
    registry.register(run, "inv-ours", bundle.root, {})
    registry.set_alias("inv-ours", CHAMPION, 1)
    for name, model in (("inv-dense", foreign.dense()), ("inv-pair", foreign.echo(*PAIR))):
        import_onnx(tracker, registry, foreign.write(model, root / name), name, CHAMPION)
    with serving(settings, registry) as client:
        yield client


@pytest.fixture(scope="module")
def loaded(mlflow_url: str) -> dict[str, Any]:
    """The same models as MLflow loads them."""
    mlflow.set_tracking_uri(mlflow_url)
    names = ("inv-ours", "inv-dense", "inv-pair")
    return {name: mlflow.pyfunc.load_model(f"models:/{name}@{CHAMPION}") for name in names}


@pytest.mark.parametrize(
    ("name", "kind", "body"),
    [
        ("inv-ours", "application/json", {"dataframe_split": FRAME}),
        ("inv-ours", "application/json", {"dataframe_split": FRAME | {"index": [5, 6, 7]}}),
        ("inv-ours", "application/json; charset=utf-8", {"dataframe_records": RECORDS}),
        ("inv-ours", "application/json", {"instances": RECORDS[::2]}),
        ("inv-ours", "application/json", {"inputs": {k: v[::2] for k, v in LISTS.items()}}),
        ("inv-ours", "application/json", {"dataframe_records": [RECORDS[0] | {"more": 1}]}),
        ("inv-ours", "text/csv", "amount,purpose\n1.5,car\n,\n-2,kite\n"),
        ("inv-ours", "text/csv", 'purpose,more,amount\n"car",1,1e-3\n'),
        ("inv-dense", "application/json", {"inputs": X}),
        ("inv-dense", "application/json", {"instances": X}),
        ("inv-dense", "application/json", {"inputs": {"x": X}}),
        ("inv-dense", "application/json", {"instances": [{"x": row} for row in X]}),
        ("inv-dense", "application/json", {"dataframe_split": {"columns": NAMES, "data": X}}),
        ("inv-dense", "text/csv", "a,b,c,d\n0.5,1.5,2,3\n4,5,6.5,7.5\n"),
        ("inv-pair", "application/json", {"dataframe_records": PAIRS}),
        ("inv-pair", "application/json", {"instances": PAIRS}),
    ],
)
def test_answers_are_those_of_mlflow(service, loaded, name, kind, body):
    content = body if isinstance(body, str) else json.dumps(body)
    model = loaded[name]
    schema = model.metadata.get_input_schema()
    expected = scoring_server.invocations(content.encode(), kind, model, schema)
    assert expected.status == 200
    response = service.post(
        f"/v1/models/{name}/invocations", content=content, headers={"Content-Type": kind}
    )
    assert response.status_code == 200, response.text
    found, wanted = response.json(), json.loads(expected.response)
    assert found.keys() == {"predictions"}
    assert _shape(found) == _shape(wanted)
    np.testing.assert_allclose(_numbers(found), _numbers(wanted), rtol=1e-6)


def _shape(value: Any) -> Any:
    """Everything but the numbers, which may differ in their last digit."""
    if isinstance(value, dict):
        return {name: _shape(each) for name, each in value.items()}
    return [_shape(each) for each in value] if isinstance(value, list) else type(value)


def _numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [number for each in value for number in _numbers(each)]
    return [] if isinstance(value, str) else [value]


def test_mlflows_own_client(service, loaded):
    client = ScoringServerClient(service.base_url.host, service.base_url.port)
    client.ping()
    assert client.get_version() == mlflow.__version__
    table = pd.DataFrame(RECORDS)
    found = client.invoke(table, params={"ignored": 1}).get_predictions()
    expected = loaded["inv-ours"].predict(table)
    assert found["label"].tolist() == expected["label"].tolist()
    for name in ("probability_bad", "probability_good"):
        np.testing.assert_allclose(found[name], expected[name], atol=1e-6)


def test_health(service):
    for path in ("/ping", "/health"):
        response = service.get(path)
        assert (response.status_code, response.text) == (200, "\n")


@pytest.mark.parametrize(
    ("name", "body", "said"),
    [
        ("inv-ours", [], "one of dataframe_split"),
        ("inv-ours", {}, "one of dataframe_split"),
        ("inv-ours", {"inputs": {}, "instances": []}, "one of dataframe_split"),
        ("inv-ours", {"inputs": LISTS, "messages": []}, "one of dataframe_split"),
        ("inv-ours", {"dataframe_split": []}, "dataframe_split is not of the form"),
        ("inv-ours", {"dataframe_records": {}}, "dataframe_records is not of the form"),
        ("inv-ours", {"dataframe_records": [{"amount": 1}]}, "missing 'purpose'"),
        ("inv-ours", {"dataframe_records": [RECORDS[0], 7]}, "Row 2 is no object"),
        ("inv-ours", {"instances": [[1.5, "car"]]}, "have no names"),
        ("inv-ours", {"inputs": {"amount": ["x"], "purpose": ["car"]}}, "Row 1, column 'amount'"),
        ("inv-dense", {"inputs": [[1, 2, 3]]}, "do not make the shape [4]"),
        ("inv-dense", {"inputs": []}, "There are no rows"),
        ("inv-dense", {"inputs": {"y": X}}, "missing 'x'"),
        ("inv-pair", {"inputs": X}, "the values have no names"),
    ],
)
def test_what_does_not_fit_is_refused_in_mlflows_form(service, name, body, said):
    response = service.post(f"/v1/models/{name}/invocations", json=body)
    assert response.status_code == 400
    problem = response.json()
    assert problem.keys() == {"error_code", "message"}
    assert problem["error_code"] == "BAD_REQUEST"
    assert said in problem["message"]


def test_other_refusals_have_their_form_too(service):
    missing = service.post("/v1/models/nobody/invocations", json={"inputs": X})
    assert (missing.status_code, missing.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")
    headers = {"Content-Type": "application/xml"}
    assert service.post("/invocations", content=b"<x/>", headers=headers).status_code == 415


def ask(client: ServiceClient) -> Any:
    return client.post("/invocations", json={"dataframe_records": [ROW]})


def test_the_only_champion_is_meant(serve, register):
    register()
    response = ask(serve())
    assert response.status_code == 200
    assert response.headers["x-model-name"] == "credit"
    assert response.json()["predictions"][0]["label"] == "good"


def test_seconds_stand_for_times(serve, register):
    register()
    client = serve()
    seconds = client.post("/invocations", json={"dataframe_records": [ROW | {"since": 1717156800}]})
    table = "age,owner,since,purpose\n41,1,1717156800.0,car\n"
    cells = client.post("/invocations", content=table, headers={"Content-Type": "text/csv"})
    assert ask(client).json() == seconds.json() == cells.json()


def test_several_champions_are_named(serve, register):
    for name in ("credit", "churn"):
        register(name)
    response = ask(serve())
    assert response.status_code == 404
    assert "churn, credit" in response.json()["message"]
    assert ask(serve(default_model="churn")).headers["x-model-name"] == "churn"


def test_without_a_champion_there_is_nothing_to_invoke(serve, register, tmp_path: Path):
    register(alias="challenger")
    assert "No model has a champion" in ask(serve()).json()["message"]


def test_rows_with_columns_of_their_own_make_no_table(service):
    rows = [{f"k{i}": 1} for i in range(5000)]
    response = service.post("/v1/models/inv-ours/invocations", json={"dataframe_records": rows})
    assert response.status_code == 400
    assert "5,000 different keys" in response.json()["message"]


def test_a_few_rows_may_leave_keys_out(service):
    rows = [{"amount": 1.5}, {"purpose": "car"}]
    sparse = service.post("/v1/models/inv-ours/invocations", json={"dataframe_records": rows})
    full = [{"amount": None, "purpose": None} | row for row in rows]
    whole = service.post("/v1/models/inv-ours/invocations", json={"dataframe_records": full})
    assert sparse.json() == whole.json()
