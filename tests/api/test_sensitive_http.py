"""Sensitive columns that come with rows: recorded, never given to the model."""

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import csv as arrow_csv

from pellucid.bundle import Input
from pellucid.cli.predictions import show
from pellucid.schema import Kind
from pellucid.settings import Settings
from pellucid.tracking.contract import CHAMPION
from pellucid.tracking.memory import MemoryTracker
from pellucid_api.engine.streams import write_stream
from support.explaining import explained_bundle
from support.serving import INPUTS, ROW, ServiceClient, make_bundle, serving

SENSITIVE = (
    Input.of("sex", Kind.CATEGORICAL, ("f", "m")),
    Input.of("born", Kind.DATETIME),
    Input.of("years", Kind.NUMERIC),
    Input.of("citizen", Kind.BOOLEAN),
)
BROUGHT = {"sex": "f", "born": "1985-02-03T00:00:00Z", "years": 39.5, "citizen": True}
NONE = dict.fromkeys(BROUGHT)
PLAN = {"serving": {"log": {"redact": ["born", "since"]}}}
MODELS: dict[str, dict[str, Any]] = {
    "credit": {"sensitive": SENSITIVE},
    "plain": {},
    "redacted": {"sensitive": SENSITIVE, "plan": PLAN},
    "gone": {"sensitive": SENSITIVE[1:2], "plan": PLAN},
    "explained": {"sensitive": SENSITIVE, "make": explained_bundle},
    "deciding": {"sensitive": (INPUTS[3], SENSITIVE[0])},
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Any:
    root: Path = tmp_path_factory.mktemp("sensitive")
    registry = MemoryTracker(root / "registry")
    for name, options in MODELS.items():
        made = dict(options)
        made.pop("make", make_bundle)(root / name, **made)
        registry.register("run-1", name, root / name, {"job": "job-1"})
        registry.set_alias(name, CHAMPION, 1)
    with serving(Settings(home=root / "home", device="cpu"), registry) as client:
        yield client


def recorded(service: ServiceClient, reply: Any) -> list[dict[str, Any]]:
    assert reply.status_code == 200, reply.text
    ids = [each["id"] for each in reply.json()["predictions"]]
    return [service.get(f"/v1/predictions/{each}").json() for each in ids]


def predict(service: ServiceClient, body: Any, name: str = "credit") -> list[dict[str, Any]]:
    return recorded(service, service.post(f"/v1/models/{name}/predict", json=body))


def test_rows_may_bring_them_and_the_answer_is_the_same(service: ServiceClient) -> None:
    bare, whole, part = predict(service, [ROW, ROW | BROUGHT, ROW | {"sex": "m", "years": None}])
    assert [each["sensitive"] for each in (bare, whole, part)] == [
        NONE, BROUGHT, NONE | {"sex": "m"},
    ]  # fmt: skip
    assert all(each["inputs"] == ROW for each in (bare, whole, part))
    assert bare["outputs"] == whole["outputs"] == part["outputs"]


def test_a_model_without_any_refuses_them_as_ever(service: ServiceClient) -> None:
    reply = service.post("/v1/models/plain/predict", json=[ROW | BROUGHT])
    assert reply.status_code == 422
    assert "'sex' is no input" in reply.json()["detail"]
    (found,) = predict(service, [ROW], "plain")
    assert found["sensitive"] == {}


@pytest.mark.parametrize(
    "body",
    [
        {"rows": [ROW | BROUGHT]},
        [ROW | BROUGHT | {"purpose": "b\u00e4r\u2028"}],
        [dict(reversed((ROW | BROUGHT).items()))],
        {"columns": {name: [value] for name, value in (ROW | BROUGHT).items()}},
        {"columns": [*(ROW | BROUGHT)], "data": [[*(ROW | BROUGHT).values()]]},
        [ROW | BROUGHT | {"citizen": 1}],
    ],
)
def test_every_form_of_json_may_bring_them(service: ServiceClient, body: Any) -> None:
    (found,) = predict(service, body)
    assert found["sensitive"] == BROUGHT


def test_columns_may_bring_some(service: ServiceClient) -> None:
    columns: dict[str, list[Any]] = {name: [value, value] for name, value in ROW.items()}
    first, second = predict(service, {"columns": columns | {"sex": ["m", None]}})
    assert (first["sensitive"], second["sensitive"]) == (NONE | {"sex": "m"}, NONE)


def test_tables_may_bring_them(service: ServiceClient) -> None:
    table = pa.Table.from_pylist([ROW | BROUGHT, ROW | NONE])
    sink = io.BytesIO()
    arrow_csv.write_csv(table, sink)
    bodies = {
        "text/csv": sink.getvalue(),
        "application/vnd.apache.arrow.stream": write_stream(table),
    }
    for kind, body in bodies.items():
        reply = service.post(
            "/v1/models/credit/predict", content=body, headers={"content-type": kind}
        )
        whole, bare = recorded(service, reply)
        assert (whole["sensitive"], bare["sensitive"]) == (BROUGHT, NONE), kind


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"sex": 1}, "column 'sex': 1 is not a string"),
        ({"years": "39"}, "column 'years': \"39\" is not a finite number"),
        ({"born": "then"}, "column 'born'"),
        ({"citizen": 2}, "column 'citizen': 2 is not true or false"),
        ({"sexe": "f"}, "'sexe' is no input"),
    ],
)
def test_what_is_there_must_be_right(
    service: ServiceClient, wrong: dict[str, Any], told: str
) -> None:
    for body in ([ROW | BROUGHT | wrong], {"columns": {k: [v] for k, v in (ROW | wrong).items()}}):
        reply = service.post("/v1/models/credit/predict", json=body)
        assert reply.status_code == 422
        assert told in reply.json()["detail"]


def test_columns_of_another_length_are_refused(service: ServiceClient) -> None:
    columns: dict[str, list[Any]] = {name: [value, value] for name, value in ROW.items()}
    for odd in (["f"], "f", []):
        body = {"columns": columns | {"sex": odd}}
        reply = service.post("/v1/models/credit/predict", json=body)
        assert reply.status_code == 422, odd


def test_redaction_holds_for_them_too(service: ServiceClient) -> None:
    (found,) = predict(service, [ROW | BROUGHT], "redacted")
    assert found["sensitive"] == {k: v for k, v in BROUGHT.items() if k != "born"}
    assert "since" not in found["inputs"]
    (found,) = predict(service, [ROW | {"born": BROUGHT["born"]}], "gone")
    assert found["sensitive"] == {}


def test_explained_predictions_record_them_too(service: ServiceClient) -> None:
    rows = [ROW | {"sex": "m"}, ROW]
    reply = service.post("/v1/models/explained/predict?explain=true", json=rows)
    first, second = recorded(service, reply)
    assert (first["sensitive"], second["sensitive"]) == (NONE | {"sex": "m"}, NONE)
    alone = service.post("/v1/models/explained/explain", json=rows)
    columns = {each["column"] for each in alone.json()["predictions"][0]["contributions"]}
    assert columns == set(ROW)


def test_mlflows_protocol_ignores_them(service: ServiceClient) -> None:
    body = {"dataframe_records": [ROW | BROUGHT]}
    reply = service.post("/v1/models/credit/invocations", json=body)
    assert reply.status_code == 200, reply.text
    identity = reply.headers["x-prediction-id"]
    assert service.get(f"/v1/predictions/{identity}").json()["sensitive"] == NONE


def test_a_column_that_decides_is_an_input_and_recorded_as_sensitive_too(
    service: ServiceClient,
) -> None:
    (found,) = predict(service, [ROW | {"sex": "f"}], "deciding")
    assert found["sensitive"] == {"purpose": "car", "sex": "f"}
    missing = {name: value for name, value in ROW.items() if name != "purpose"}
    reply = service.post("/v1/models/deciding/predict", json=[missing])
    assert "missing 'purpose'" in reply.json()["detail"]


def test_tensors_bring_none(service: ServiceClient) -> None:
    inputs = [
        {"name": "age", "shape": [1], "datatype": "FP64", "data": [41.0]},
        {"name": "owner", "shape": [1], "datatype": "FP64", "data": [1.0]},
        {"name": "since", "shape": [1], "datatype": "FP64", "data": [1e9]},
        {"name": "purpose", "shape": [1], "datatype": "BYTES", "data": ["car"]},
    ]
    reply = service.post("/v2/models/credit/infer", json={"inputs": inputs})
    identity = reply.json()["parameters"]["prediction_id"]
    assert service.get(f"/v1/predictions/{identity}").json()["sensitive"] == NONE
    sex = {"name": "sex", "shape": [1], "datatype": "BYTES", "data": ["f"]}
    refused = service.post("/v2/models/credit/infer", json={"inputs": [*inputs, sex]})
    assert refused.status_code == 400


def test_many_rows_keep_their_own(service: ServiceClient) -> None:
    rows = [ROW | {"sex": "fm"[i % 2], "years": float(i)} for i in range(300)]
    bodies = [rows[:1], rows[1:200], rows[200:]]
    found = [each for body in bodies for each in predict(service, body)[::50]]
    for each in found:
        years = each["sensitive"]["years"]
        assert each["sensitive"]["sex"] == "fm"[int(years) % 2]
    assert len(found) == 1 + 4 + 2


def test_the_command_shows_them(
    service: ServiceClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (found,) = predict(service, [ROW | BROUGHT])
    monkeypatch.setenv("PELLUCID_URL", str(service.base_url))
    show(found["id"])
    assert ["sensitive", "sex", "f"] in [
        line.split() for line in capsys.readouterr().out.splitlines()
    ]
