"""Images, sequences and texts over HTTP: the model's own answers, and every refusal in words."""

import base64
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pellucid.raw import images
from pellucid.raw.columns import tokenizer_in
from pellucid.settings import Settings
from pellucid.tracking.contract import CHAMPION
from pellucid.tracking.memory import MemoryTracker
from support.other_bundles import Made, make_other_bundle, png
from support.serving import ServiceClient, serving

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Made]:
    root = tmp_path_factory.mktemp("made")
    return {name: make_other_bundle(root / name, name) for name in ("image", "sequence", "text")}


@pytest.fixture(scope="module")
def service(
    made: dict[str, Made], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServiceClient]:
    root = tmp_path_factory.mktemp("service")
    registry = MemoryTracker(root / "registry")
    for name, each in made.items():
        registry.register(f"run-{name}", name, each.bundle.root, {})
        registry.set_alias(name, CHAMPION, 1)
    settings = Settings(home=root / "home", device="cpu")
    with serving(settings, registry) as client:
        yield client


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def json_rows(made: Made) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = made.table.to_pylist()
    return [
        {name: encoded(v) if isinstance(v, bytes) else v for name, v in row.items()} for row in rows
    ]


def numbers(made: Made, predictions: list[dict[str, Any]]) -> np.ndarray:
    if made.bundle.manifest.task == "regression":
        return np.array([each["value"] for each in predictions])
    return np.array([list(each["probabilities"].values()) for each in predictions])


def answered(service: ServiceClient, made: Made, rows: list[dict[str, Any]]) -> np.ndarray:
    name = made.bundle.manifest.name
    response = service.post(f"/v1/models/{name}/predict", json=rows)
    assert response.status_code == 200, response.text
    return numbers(made, response.json()["predictions"])


@pytest.mark.parametrize("name", ["image", "sequence", "text"])
def test_plain_rows_are_answered_as_pytorch_does(
    service: ServiceClient, made: dict[str, Made], name: str
) -> None:
    found = answered(service, made[name], json_rows(made[name]))
    np.testing.assert_allclose(found, made[name].expected, **CLOSE)


def test_an_image_may_be_a_data_url_or_pixels_of_any_size(
    service: ServiceClient, made: dict[str, Made]
) -> None:
    data = made["image"].table["photo"][0].as_py()
    pixels = np.asarray(Image.open(io.BytesIO(data)))
    ways = [encoded(data), f"data:image/png;base64,{encoded(data)}", pixels.tolist()]
    found = answered(service, made["image"], [{"photo": way} for way in ways])
    np.testing.assert_allclose(found, made["image"].expected[[0, 0, 0]], **CLOSE)
    doubled = pixels.repeat(2, axis=0).repeat(2, axis=1)
    ways = [encoded(png(doubled)), doubled.tolist(), pixels[..., 0].tolist()]
    found = answered(service, made["image"], [{"photo": way} for way in ways])
    np.testing.assert_allclose(found[0], found[1], **CLOSE)


def test_null_is_missing_where_it_may_be(service: ServiceClient, made: dict[str, Made]) -> None:
    rows = [{"load": None, "heat": [None]}, {"load": [], "heat": [None, None]}]
    found = answered(service, made["sequence"], rows)
    assert found[0] == found[1]
    found = answered(service, made["text"], [{"review": None}, {"review": ""}])
    assert found[0].tolist() == found[1].tolist()


def test_of_longer_lists_the_last_steps_are_read(
    service: ServiceClient, made: dict[str, Made]
) -> None:
    (steps,) = made["sequence"].bundle.manifest.inputs[0].shape
    long = [float(i) for i in range(50)]
    rows = [{"load": long, "heat": long}, {"load": long[-steps:], "heat": long[-steps:]}]
    found = answered(service, made["sequence"], rows)
    assert found[0] == found[1]


def bomb() -> str:
    """A few kilobytes that would be a picture of 100 million pixels."""
    buffer = io.BytesIO()
    Image.new("1", (10_000, 10_000)).save(buffer, "PNG")
    return encoded(buffer.getvalue())


PICTURE = encoded(png(np.random.default_rng(0).integers(0, 256, (10, 12, 3), np.uint8)))
WRONG: list[tuple[str, Callable[[], dict[str, Any]], str, str]] = [
    ("image", lambda: {"photo": None}, "photo", "null is not an image"),
    ("image", lambda: {"photo": 7}, "photo", "7 is not an image"),
    ("image", lambda: {"photo": "?"}, "photo", "not base64"),
    ("image", lambda: {"photo": encoded(b"no image")}, "photo", "no image"),
    ("image", lambda: {"photo": PICTURE[:200]}, "photo", "damaged"),
    ("image", lambda: {"photo": bomb()}, "photo", "pixels"),
    ("image", lambda: {"photo": []}, "photo", ""),
    ("image", lambda: {"photo": [[0, 256]]}, "photo", "255"),
    ("image", lambda: {"photo": [[0, 1], [0]]}, "photo", "differ in length"),
    ("image", lambda: {"photo": [["a", "b"]]}, "photo", ""),
    ("image", lambda: {"photo": [[[[[1]]]]]}, "photo", ""),
    ("sequence", lambda: {"load": 3, "heat": []}, "load", "3 is not a list of numbers"),
    ("sequence", lambda: {"load": ["3"], "heat": []}, "load", "['3'] is not a list of numbers"),
    ("sequence", lambda: {"load": [[1]], "heat": []}, "load", "is not a list of numbers"),
    ("sequence", lambda: {"load": [], "heat": [10**400]}, "heat", "too large"),
    ("text", lambda: {"review": 3}, "review", "put it in quotes"),
    ("text", lambda: {"review": ["a"]}, "review", "is not a string"),
]
GOOD = {
    "image": {"photo": PICTURE},
    "sequence": {"load": [1.0], "heat": [2.0]},
    "text": {"review": "fine"},
}


@pytest.mark.parametrize(("name", "row", "column", "said"), WRONG)
def test_what_does_not_fit_is_told_with_its_place(
    service: ServiceClient, name: str, row: Any, column: str, said: str
) -> None:
    response = service.post(f"/v1/models/{name}/predict", json=[GOOD[name], row()])
    assert response.status_code == 422, response.text
    problem = response.json()
    assert problem["where"] == {"row": 2, "column": column}
    assert problem["detail"].startswith(f"Row 2, column {column!r}: ")
    assert said in problem["detail"]
    assert len(problem["detail"]) < 400


def test_a_lone_surrogate_is_no_server_error(service: ServiceClient) -> None:
    body = b'[{"review": "\\ud800"}]'
    assert service.post("/v1/models/text/predict", content=body).status_code < 500


def test_what_would_not_fit_in_memory_is_refused(
    tmp_path: Path, settings: Settings, registry: MemoryTracker
) -> None:
    made = make_other_bundle(tmp_path / "large", "image", shape=(128, 128, 3))
    registry.register("run", "large", made.bundle.root, {})
    registry.set_alias("large", CHAMPION, 1)
    tiny = encoded(png(np.zeros((1, 1), np.uint8)))
    with serving(settings, registry) as client:
        response = client.post("/v1/models/large/predict", json=[{"photo": tiny}] * 11_000)
    assert response.status_code == 413
    assert "decoded" in response.json()["detail"]
    assert "at once" in response.json()["remedy"]


def infer(service: ServiceClient, name: str, *inputs: dict[str, Any]) -> Any:
    return service.post(f"/v2/models/{name}/infer", json={"inputs": list(inputs)})


def tensor(name: str, datatype: str, shape: list[int], data: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


def shares(response: Any) -> np.ndarray:
    assert response.status_code == 200, response.text
    output = response.json()["outputs"][-1]
    return np.reshape(output["data"], output["shape"])


def test_images_by_the_open_inference_protocol(
    service: ServiceClient, made: dict[str, Made]
) -> None:
    files = made["image"].table["photo"].to_pylist()[:4]
    expected = made["image"].expected[:4]
    strings = [encoded(data) for data in files]
    found = shares(infer(service, "image", tensor("photo", "BYTES", [4], strings)))
    np.testing.assert_allclose(found, expected, **CLOSE)
    pixels = np.stack([images.decode(data, (10, 12, 3)) for data in files])
    for data in (pixels.ravel().tolist(), pixels.tolist()):
        found = shares(infer(service, "image", tensor("photo", "UINT8", [4, 10, 12, 3], data)))
        np.testing.assert_allclose(found, expected, **CLOSE)


def test_sequences_by_the_open_inference_protocol(
    service: ServiceClient, made: dict[str, Made]
) -> None:
    (steps,) = made["sequence"].bundle.manifest.inputs[0].shape
    raw = {
        name: [(row or []) + [None] * (steps - len(row or [])) for row in column.to_pylist()]
        for name, column in zip(
            made["sequence"].table.column_names, made["sequence"].table.columns, strict=True
        )
    }
    rows = len(made["sequence"].table)
    for datatype in ("FP64", "FP32"):
        inputs = [tensor(name, datatype, [rows, steps], data) for name, data in raw.items()]
        found = shares(infer(service, "sequence", *inputs))
        np.testing.assert_allclose(found, made["sequence"].expected, **CLOSE)


def test_texts_by_the_open_inference_protocol(
    service: ServiceClient, made: dict[str, Made]
) -> None:
    texts = made["text"].table["review"].to_pylist()
    found = shares(infer(service, "text", tensor("review", "BYTES", [len(texts)], texts)))
    np.testing.assert_allclose(found, made["text"].expected, **CLOSE)
    tokenizer = tokenizer_in(made["text"].bundle.root)
    assert tokenizer is not None
    tokens = tokenizer.encode(texts, 6)
    shape = [len(texts), 6]
    found = shares(infer(service, "text", tensor("review", "INT64", shape, tokens.tolist())))
    whole = [i for i, n in enumerate(tokenizer.lengths(texts, 99)) if n <= 6]
    np.testing.assert_allclose(found[whole], made["text"].expected[whole], **CLOSE)


def test_the_metadata_tells_what_is_taken(service: ServiceClient, made: dict[str, Made]) -> None:
    found = {name: service.get(f"/v2/models/{name}").json()["inputs"] for name in made}
    assert found["image"] == [{"name": "photo", "datatype": "UINT8", "shape": [-1, 10, 12, 3]}]
    assert found["text"] == [{"name": "review", "datatype": "BYTES", "shape": [-1]}]
    (steps,) = made["sequence"].bundle.manifest.inputs[0].shape
    assert [each["shape"] for each in found["sequence"]] == [[-1, steps]] * 2


@pytest.mark.parametrize(
    ("name", "inputs", "said"),
    [
        ("image", [tensor("photo", "UINT8", [1, 2, 2], [0, 1, 2])], "it has 3 values"),
        ("image", [tensor("photo", "UINT8", [1, 2, 2], [0, 1, 2, 256])], "row 1: 256"),
        ("image", [tensor("photo", "UINT8", [1, 2, 2], [0, 1, 2, None])], "a pixel is null"),
        ("image", [tensor("photo", "FP32", [1, 2, 2], [0, 1, 2, 3])], "BYTES [rows]"),
        ("image", [tensor("photo", "BYTES", [2], [PICTURE, "?"])], "row 2: The text is not base64"),
        ("image", [tensor("photo", "BYTES", [1], [None])], "null is not an image"),
        ("image", [tensor("photo", "UINT8", [2], [1, 2])], "row 1"),
        ("image", [tensor("photo", "UINT8", [], [1])], "its shape is []"),
        ("image", [tensor("photo", "UINT8", [1, 0, 2], [])], "its shape is [1, 0, 2]"),
        ("image", [tensor("photo", "UINT8", [1, 10**18, 3], [1])], "it has 1 values"),
        ("text", [tensor("review", "INT64", [1, 2], [1, 10**6])], "tokens are from 0 to"),
        ("text", [tensor("review", "INT64", [1, 2], [1, None])], "tokens are from 0 to"),
        ("text", [tensor("review", "INT64", [1, 9999], [0] * 9999)], "9999 tokens are more than"),
        ("text", [tensor("review", "FP64", [1], [1.0])], "BYTES [rows]"),
        (
            "sequence",
            [tensor("load", "FP64", [1], [1.0]), tensor("heat", "FP64", [1, 1], [1.0])],
            "FP64 [rows, steps]",
        ),
        (
            "sequence",
            [
                tensor("load", "FP64", [2, 2], [1, 2, 3, "4"]),
                tensor("heat", "FP64", [2, 1], [1, 2]),
            ],
            'row 2: "4"',
        ),
    ],
)
def test_tensors_that_do_not_fit_are_refused(
    service: ServiceClient, name: str, inputs: list[dict[str, Any]], said: str
) -> None:
    response = infer(service, name, *inputs)
    assert response.status_code == 400, response.text
    assert said in response.json()["error"]


def test_a_deeply_nested_body_is_no_server_error(service: ServiceClient) -> None:
    deep = "[" * 150 + "1" + "]" * 150
    body = '{"inputs": [{"name": "photo", "datatype": "UINT8", "shape": [1, 1, 1], "data": '
    assert service.post("/v2/models/image/infer", content=body + deep + "}]}").status_code == 400
    response = service.post("/v1/models/image/predict", content=f'[{{"photo": {deep}}}]')
    assert response.status_code == 422
