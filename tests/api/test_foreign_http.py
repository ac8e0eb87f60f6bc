"""Models that were made elsewhere, served: rows of nested lists in, every output out."""

import json
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto

from pellucid.client import Client
from pellucid.settings import Settings
from pellucid.tracking.imports import import_onnx
from pellucid.tracking.memory import MemoryTracker
from support import foreign
from support.serving import ServiceClient, serving

JSON, CSV, ARROW = "application/json", "text/csv", "application/vnd.apache.arrow.stream"
ECHO = (
    ("whole", TensorProto.INT64, ["n", 2]),
    ("half", TensorProto.FLOAT16, ["n"]),
    ("flag", TensorProto.BOOL, ["n"]),
    ("brain", TensorProto.BFLOAT16, ["n", 1]),
)
TEXTS = (("text", TensorProto.STRING, ["n", "k"]), ("double", TensorProto.DOUBLE, ["n"]))
ESCAPED = ('say "x"', "back\\slash", "tab\t", "größe ☃")
ROW = {"whole": [1, 2], "half": 0.5, "flag": True, "brain": [3.0]}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory):
    """dense, one (a fixed batch of 1), echo and texts, shared and never changed."""
    root = tmp_path_factory.mktemp("foreign")
    registry = MemoryTracker(root / "registry")
    models = {
        "dense": foreign.dense(),
        "one": foreign.dense(rows=1),
        "echo": foreign.echo(*ECHO),
        "texts": foreign.echo(*TEXTS),
        "image": foreign.echo(("pixels", TensorProto.FLOAT, ["n", 2, "h", "w"])),
        "escaped": foreign.echo(*((name, TensorProto.FLOAT, ["n"]) for name in ESCAPED)),
    }
    for name, model in models.items():
        import_onnx(registry, registry, foreign.write(model, root / name), name, "champion")
    settings = Settings(home=root / "home", alias_poll_seconds=0.05, device="cpu")
    with serving(settings, registry) as client:
        yield client


def predict(client: ServiceClient, name: str, rows: Any) -> Any:
    return client.post(f"/v1/models/{name}/predict", json=rows)


def outputs(client: ServiceClient, name: str, rows: Any) -> list[dict[str, Any]]:
    response = predict(client, name, rows)
    assert response.status_code == 200, response.text
    return [each["outputs"] for each in response.json()["predictions"]]


@pytest.mark.parametrize("name", ["dense", "one"])
@pytest.mark.parametrize("rows", [1, 3, 300])
def test_answers_equal_the_model(service, name, rows):
    x = np.random.default_rng(rows).normal(size=(rows, 4))
    bare = outputs(service, name, x.tolist())
    named = outputs(service, name, {"rows": [{"x": row} for row in x.tolist()]})
    assert bare == named
    found = np.array([row["y"] for row in bare])
    np.testing.assert_allclose(found, foreign.dense_answer(x), atol=1e-6)


def test_both_protocols_agree(service):
    x = [[1.0, 2.0, 3.0, 4.0], [-1, 0, 1, 0]]
    tensor = {"name": "x", "shape": [2, 4], "datatype": "FP32", "data": x}
    response = service.post("/v2/models/dense/infer", json={"inputs": [tensor]})
    flat = {**tensor, "data": [*x[0], *x[1]]}
    same = service.post("/v2/models/dense/infer", json={"inputs": [flat]})
    (found,) = same.json()["outputs"]
    assert (found["name"], found["shape"]) == ("y", [2, 3])
    assert found["data"] == [v for row in outputs(service, "dense", x) for v in row["y"]]
    assert response.json()["outputs"] == [found]
    described = service.get("/v2/models/dense").json()
    assert described["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]
    assert described["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [-1, 3]}]


def test_every_kind_of_number(service):
    assert outputs(service, "echo", [ROW]) == [{f"out_{k}": v for k, v in ROW.items()}]


def test_strings_and_doubles(service):
    rows = [{"text": ["é", "a\0b"], "double": 0.1}, {"text": ["", None], "double": None}]
    found = outputs(service, "texts", rows)
    assert found[0] == {"out_text": ["é", "a\0b"], "out_double": 0.1}
    assert found[1] == {"out_text": ["", ""], "out_double": None}


def test_free_axes_take_any_size(service):
    for h, w in ((1, 1), (3, 5)):
        pixels = np.arange(2 * h * w, dtype=float).reshape(2, h, w).tolist()
        assert outputs(service, "image", [pixels, pixels]) == [{"out_pixels": pixels}] * 2


@given(
    st.lists(
        st.lists(st.floats(-(2.0**99), 2.0**99, width=32) | st.none(), min_size=4, max_size=4),
        min_size=1,
        max_size=5,
    )
)
def test_quick_and_careful_readers_agree(service, rows):
    served = service.services.pool.champion("dense")
    codec = service.services.rows
    body = json.dumps(rows).encode()
    quick = codec.decode(served, {}, body).feed.tensors[0]
    careful = codec._careful(served, body)[0].tensors[0]
    np.testing.assert_array_equal(quick, careful)
    assert quick.dtype == careful.dtype == np.float32
    expected = [[math.nan if v is None else v for v in row] for row in rows]
    np.testing.assert_array_equal(quick, np.array(expected, np.float32))


@pytest.mark.parametrize(
    ("name", "rows", "said"),
    [
        ("dense", [[1, 2, 3]], "Row 1, column 'x': lists of 3 values do not make the shape [4]"),
        ("dense", [[1, 2, 3, 4], [1, 2, 3, "x"]], "Row 2, column 'x': \"x\" is not FP32."),
        ("dense", [[1, 2, 3, 4], 7], "Row 2, column 'x': 7 is not FP32 of the shape [4]"),
        ("dense", [[1, 2, 3, [4]]], "[4] is not FP32"),
        ("dense", [[1, 2, 3, True]], "true is not FP32"),
        ("dense", [[1, 2, 3, 1e39]], "out of the range of FP32"),
        ("dense", [{"z": [1, 2, 3, 4]}], "'z' is no input"),
        ("dense", [], "There are no rows"),
        ("dense", [[]], "lists of 0 values"),
        ("echo", [[1, 2]], "no object"),
        ("echo", [ROW | {"whole": [1, 2.5]}], "2.5 is not INT64"),
        ("echo", [ROW | {"whole": [1, 2**63]}], "out of the range of INT64"),
        ("echo", [ROW | {"half": 1e5}], "out of the range of FP16"),
        ("echo", [ROW | {"flag": 1}], "1 is not BOOL"),
        ("echo", [ROW | {"whole": None}], "null is not INT64"),
        ("texts", [{"text": [1], "double": 0}], "1 is not BYTES"),
        ("texts", [{"text": ["a"], "double": 0}, {"text": ["a", "b"], "double": 0}],
         "its shape is [2], and that of row 1 is [1]"),
        ("image", [[[[1]]]], "lists of 1 values do not make the shape [2, any, any]"),
    ],
)  # fmt: skip
def test_rows_that_do_not_fit_are_refused(service, name, rows, said):
    response = predict(service, name, rows)
    assert response.status_code == 422, response.text
    assert said in response.json()["detail"]


def test_names_that_json_escapes(service):
    row = {name: float(place) for place, name in enumerate(ESCAPED)}
    (found,) = outputs(service, "escaped", [row])
    assert found == {f"out_{name}": value for name, value in row.items()}


def stream(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


SQUARE = pa.array([[[1.0, 2.0], [3.0, 4.0]]] * 2)
FIXED = pa.FixedShapeTensorArray.from_numpy_ndarray(np.ones((2, 4), np.float32))


@pytest.mark.parametrize(
    ("name", "kind", "body", "found"),
    [
        ("dense", CSV, "x\n\"[1, 1, 1, 1]\"\n\"[1,1,1,1]\"\n", None),
        ("dense", CSV, "a,b,c,d\n1,1,1,1\n1.0,1,1,1\n", None),
        ("dense", JSON, {"columns": {"x": [[1, 1, 1, 1]] * 2}}, None),
        ("dense", ARROW, pa.table({"x": [[1.0] * 4] * 2}), None),
        ("dense", ARROW, pa.table({"x": [[1] * 4] * 2}), None),
        ("dense", ARROW, pa.table({"x": pa.array([[1.0] * 4] * 2, pa.list_(pa.float32(), 4))}),
         None),
        ("dense", ARROW, pa.table({"x": FIXED}), None),
        ("dense", ARROW, pa.table({c: pa.array([1.0, 1.0], pa.float16()) for c in "abcd"}), None),
        ("texts", CSV, 'double,text\n,"[""a"", null]"\n0.5,"[""b"",""c""]"\n',
         [{"out_text": ["a", ""], "out_double": None},
          {"out_text": ["b", "c"], "out_double": 0.5}]),
        ("texts", ARROW, pa.table({"text": [["a"], ["b"]], "double": [1, 2]}),
         [{"out_text": ["a"], "out_double": 1.0}, {"out_text": ["b"], "out_double": 2.0}]),
        ("image", ARROW, pa.table({"pixels": [SQUARE.to_pylist()] * 1}),
         [{"out_pixels": SQUARE.to_pylist()}]),
        ("echo", ARROW, pa.table({name: [value] for name, value in ROW.items()}),
         [{f"out_{name}": value for name, value in ROW.items()}]),
    ],
)  # fmt: skip
def test_tables_of_tensors(service, name, kind, body, found):
    body = stream(body) if kind == ARROW else body if kind == CSV else json.dumps(body)
    response = service.post(
        f"/v1/models/{name}/predict", content=body, headers={"Content-Type": kind}
    )
    assert response.status_code == 200, response.text
    found = found or outputs(service, name, [[1.0] * 4] * 2)
    assert [each["outputs"] for each in response.json()["predictions"]] == found


@pytest.mark.parametrize(
    ("name", "kind", "body", "said"),
    [
        ("dense", CSV, "a,b,c\n1,1,1\n", "missing 'x'"),
        ("dense", CSV, "a,b,c,d\n1,1,1,1\n1,1,x,1\n", "Row 2, column 'c': \"x\" is not FP32"),
        ("dense", CSV, "x\n[1]\n", "do not make the shape [4]"),
        ("dense", CSV, "x\nfour\n", "no list in JSON"),
        ("dense", ARROW, pa.table({"x": [[1.0] * 4, [1.0] * 3]}), "Row 2, column 'x': a list of 3"),
        ("dense", ARROW, pa.table({"x": [[1.0] * 4, None]}), "Row 2, column 'x': a list of 0"),
        ("dense", ARROW, pa.table({"x": [1.0]}), "column's type is double"),
        ("dense", ARROW, pa.table({"x": [["a"] * 4]}), "column's type is list"),
        ("dense", ARROW, pa.table({"x": [[1.0] * 4, [1, 1, 1, 1e39]]}), "Row 2, column 'x': 1e+39"),
        ("echo", ARROW, pa.table({name: [value] for name, value in ROW.items()} | {
            "whole": pa.array([[1, 2**63]], pa.list_(pa.uint64()))}), "9223372036854775808"),
        ("echo", ARROW, pa.table({name: [value] for name, value in ROW.items()} | {
            "flag": [1]}), "column's type is int64"),
    ],
)  # fmt: skip
def test_tables_of_tensors_that_do_not_fit(service, name, kind, body, said):
    content = body if kind == CSV else stream(body)
    response = service.post(
        f"/v1/models/{name}/predict", content=content, headers={"Content-Type": kind}
    )
    assert response.status_code == 422, response.text
    assert said in response.json()["detail"]


def test_tensors_are_answered_in_tables(service):
    x = [[1.0, 2.0, 3.0, 4.0]] * 2
    url = "/v1/models/dense/predict"
    arrow = service.post(url, json=x, headers={"Accept": ARROW})
    table = pa.ipc.open_stream(arrow.content).read_all()
    assert table.schema.field("y").type == pa.list_(pa.float32(), 3)
    np.testing.assert_allclose(table["y"].to_pylist(), foreign.dense_answer(x), atol=1e-6)
    lines = service.post(url, json=x, headers={"Accept": CSV}).text.splitlines()
    assert lines[0] == '"prediction_id","y_1","y_2","y_3"'
    assert len(lines) == 3


def test_routes_that_tell_of_training_have_nothing_to_tell(service):
    found = service.get("/v1/models/dense/versions/1").json()
    assert (found["metrics"], found["job_id"], found["data_version"]) == ({}, "", "")
    assert found["inputs"][0]["kind"] == "tensor"
    card = service.get("/v1/models/dense/card")
    assert (card.status_code, card.json()["code"]) == (404, "not_found")
    assert service.get("/v1/models").status_code == 200


def test_the_client_reads_outputs(service):
    with Client(str(service.base_url)) as client:
        found = client.predict("dense", [{"x": np.ones(4, np.float32)}]).predictions[0]
    assert found.label is None
    np.testing.assert_allclose(found.outputs["y"], foreign.dense_answer(np.ones(4)), atol=1e-6)
