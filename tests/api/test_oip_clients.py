"""Triton's own client over HTTP, unchanged, and every datatype there and back."""

from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tritonclient.http as triton
from onnx import TensorProto
from tritonclient.utils import InferenceServerException

from pellucid.raw import images
from pellucid.settings import Settings
from pellucid.tracking.contract import CHAMPION
from pellucid.tracking.imports import import_onnx
from pellucid.tracking.memory import MemoryTracker
from support import foreign
from support.oip import arrays, binary, packed
from support.other_bundles import Made, make_other_bundle
from support.serving import ServiceClient, held_feed, make_bundle, probabilities, serving

TYPES = {
    "BOOL": TensorProto.BOOL,
    "UINT8": TensorProto.UINT8,
    "UINT16": TensorProto.UINT16,
    "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64,
    "INT8": TensorProto.INT8,
    "INT16": TensorProto.INT16,
    "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64,
    "FP16": TensorProto.FLOAT16,
    "BF16": TensorProto.BFLOAT16,
    "FP32": TensorProto.FLOAT,
    "FP64": TensorProto.DOUBLE,
    "BYTES": TensorProto.STRING,
}
VALUES: dict[str, list[Any]] = {
    "BOOL": [True, False, True, True],
    "UINT64": [0, 1, 2**53 + 1, 2**64 - 1],
    "INT64": [0, -1, 2**53 + 1, -(2**63)],
    "INT8": [-128, 127, 0, 1],
    "BYTES": ["", "ü ☃", "a,b", "null"],
    **{each: [0.5, -2.0, 0.0, 1.5] for each in ("FP16", "BF16", "FP32", "FP64")},
}
ROWS = [
    {"age": 41, "owner": True, "since": "2024-05-31T12:00:00+00:00", "purpose": "car"},
    {"age": 20, "owner": False, "since": "1999-01-01T00:00:00+00:00", "purpose": "kite"},
]
EXPECTED = probabilities(held_feed(ROWS), 0.03)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Made]:
    root = tmp_path_factory.mktemp("pictures")
    return {name: make_other_bundle(root / name, name) for name in ("image", "text")}


@pytest.fixture(scope="module")
def service(
    pictures: dict[str, Made], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServiceClient]:
    """credit, image, text, dense, and an echo of every datatype."""
    root = tmp_path_factory.mktemp("clients")
    registry = MemoryTracker(root / "registry")
    bundles = {"credit": make_bundle(root / "bundle", bias=0.03)}
    bundles |= {name: made.bundle for name, made in pictures.items()}
    for name, bundle in bundles.items():
        registry.register(f"run-{name}", name, bundle.root, {})
        registry.set_alias(name, CHAMPION, 1)
    models = {f"echo-{t}": foreign.echo(("x", kind, ["n", "k"])) for t, kind in TYPES.items()}
    for name, model in (models | {"dense": foreign.dense()}).items():
        import_onnx(registry, registry, foreign.write(model, root / name), name, "champion")
    settings = Settings(home=root / "home", alias_poll_seconds=0.05, device="cpu")
    with serving(settings, registry) as client:
        yield client


@pytest.fixture(scope="module")
def client(service: ServiceClient) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(service.base_url.netloc.decode()) as found:
        yield found


def values_of(datatype: str) -> np.ndarray:
    given = VALUES.get(datatype, [0, 1, 2, 200])
    return np.array(given, dtype=object).reshape(2, 2)


@pytest.mark.parametrize("datatype", TYPES)
def test_every_datatype_goes_there_and_back_as_binary_data(
    service: ServiceClient, datatype: str
) -> None:
    values = values_of(datatype)
    headers, body = binary([("x", datatype, [2, 2], packed(values, datatype))], all_binary=True)
    url = f"/v2/models/echo-{datatype}/infer"
    response = service.post(url, content=body, headers=headers)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/octet-stream"
    found = arrays(response)["out_x"]
    assert found.tolist() == values.tolist()
    headers, body = binary([("x", datatype, [2, 2], packed(values, datatype))])
    response = service.post(url, content=body, headers=headers)
    assert "inference-header-content-length" not in response.headers
    assert arrays(response)["out_x"].tolist() == values.tolist()


@pytest.mark.parametrize("datatype", [each for each in TYPES if each != "BF16"])
def test_every_datatype_goes_there_and_back_as_json(service: ServiceClient, datatype: str) -> None:
    values = values_of(datatype)
    for data in (values.tolist(), values.ravel().tolist()):
        tensor = {"name": "x", "datatype": datatype, "shape": [2, 2], "data": data}
        response = service.post(f"/v2/models/echo-{datatype}/infer", json={"inputs": [tensor]})
        assert response.status_code == 200, response.text
        assert response.json()["outputs"][0]["data"] == values.ravel().tolist()


def test_only_the_outputs_that_ask_for_it_are_binary(service: ServiceClient) -> None:
    tensors = [
        ("age", "FP64", [2], packed([41, 20], "FP64")),
        ("owner", "BOOL", [2], packed([True, False], "BOOL")),
        ("since", "INT64", [2, 1], packed(held_feed(ROWS)["since"], "INT64")),
        ("purpose", "BYTES", [2], packed(["car", "kite"], "BYTES")),
    ]
    outputs = [
        {"name": "probabilities", "parameters": {"binary_data": True}},
        {"name": "label"},
    ]
    headers, body = binary(tensors, outputs=outputs, id="é")
    response = service.post("/v2/models/credit/infer", content=body, headers=headers)
    found = arrays(response)
    np.testing.assert_allclose(found["probabilities"], EXPECTED, atol=1e-6)
    assert found["label"].tolist() == ["good", "bad"]
    outputs[1]["parameters"] = {"binary_data": False}
    headers, body = binary(tensors, outputs=outputs, parameters={"binary_data_output": True})
    same = arrays(service.post("/v2/models/credit/infer", content=body, headers=headers))
    assert same["label"].tolist() == ["good", "bad"]


def test_images_as_binary_data_are_files_or_pixels(
    service: ServiceClient, pictures: dict[str, Made]
) -> None:
    files = pictures["image"].table["photo"].to_pylist()[:4]
    pixels = np.stack([images.decode(data, (10, 12, 3)) for data in files])
    ways = [
        ("BYTES", [4], packed(files, "BYTES")),
        ("BYTES", [4, 1], packed(files, "BYTES")),
        ("UINT8", [4, 10, 12, 3], pixels.tobytes()),
    ]
    for datatype, shape, raw in ways:
        headers, body = binary([("photo", datatype, shape, raw)])
        found = arrays(service.post("/v2/models/image/infer", content=body, headers=headers))
        expected = pictures["image"].expected[:4]
        np.testing.assert_allclose(found["probabilities"], expected, rtol=1e-5, atol=1e-5)
    headers, body = binary([("photo", "BYTES", [1], packed([b"no image"], "BYTES"))])
    response = service.post("/v2/models/image/infer", content=body, headers=headers)
    assert response.status_code == 400
    assert "row 1" in response.json()["error"]


def test_texts_as_binary_data(service: ServiceClient, pictures: dict[str, Made]) -> None:
    texts = [text or "" for text in pictures["text"].table["review"].to_pylist()]
    headers, body = binary([("review", "BYTES", [len(texts)], packed(texts, "BYTES"))])
    found = arrays(service.post("/v2/models/text/infer", content=body, headers=headers))
    expected = pictures["text"].expected
    np.testing.assert_allclose(found["probabilities"], expected, rtol=1e-5, atol=1e-5)


# -- tritonclient


def credit_inputs(*, as_bytes: bool) -> list[triton.InferInput]:
    feed = held_feed(ROWS)
    inputs = []
    for name, values in feed.items():
        array = np.array(values, dtype=object if name == "purpose" else np.float64)
        each = triton.InferInput(name, [2], "BYTES" if name == "purpose" else "FP64")
        each.set_data_from_numpy(array, binary_data=as_bytes)
        inputs.append(each)
    return inputs


@pytest.mark.parametrize("as_bytes", [True, False])
@pytest.mark.parametrize("asked", [True, False, None])
def test_inference(
    client: triton.InferenceServerClient, as_bytes: bool, asked: bool | None
) -> None:
    names = ("label", "probabilities")
    outputs = (
        None
        if asked is None
        else [triton.InferRequestedOutput(name, binary_data=asked) for name in names]
    )
    inputs = credit_inputs(as_bytes=as_bytes)
    found = client.infer("credit", inputs, outputs=outputs, request_id="7")
    np.testing.assert_allclose(found.as_numpy("probabilities"), EXPECTED, atol=1e-6)
    labels = found.as_numpy("label").astype(str).tolist()
    assert labels == ["good", "bad"]
    assert found.get_response()["id"] == "7"
    versioned = client.infer("credit", inputs, model_version="1", timeout=10**7, priority=1)
    np.testing.assert_allclose(versioned.as_numpy("probabilities"), EXPECTED, atol=1e-6)


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_inference_with_a_compressed_request(
    client: triton.InferenceServerClient, algorithm: str
) -> None:
    found = client.infer(
        "credit",
        credit_inputs(as_bytes=True),
        request_compression_algorithm=algorithm,
        response_compression_algorithm=algorithm,
    )
    np.testing.assert_allclose(found.as_numpy("probabilities"), EXPECTED, atol=1e-6)


def test_inference_at_once(client: triton.InferenceServerClient) -> None:
    x = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    given = triton.InferInput("x", [5, 4], "FP32").set_data_from_numpy(x)
    under_way = [client.async_infer("dense", [given]) for _ in range(4)]
    for each in under_way:
        found = each.get_result().as_numpy("y")
        np.testing.assert_allclose(found, foreign.dense_answer(x), atol=1e-6)


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "INT64", "BOOL", "BYTES"])
def test_datatypes_of_the_client(client: triton.InferenceServerClient, datatype: str) -> None:
    dtypes = {"FP16": np.float16, "FP32": np.float32, "INT64": np.int64, "BOOL": np.bool_}
    values = values_of(datatype).astype(dtypes.get(datatype, object))
    given = triton.InferInput("x", [2, 2], datatype).set_data_from_numpy(values)
    found = client.infer(f"echo-{datatype}", [given]).as_numpy("out_x")
    if datatype == "BYTES":
        found = np.vectorize(bytes.decode, otypes=[object])(found)
    assert found.tolist() == values.tolist()


def test_bfloat16_of_the_client(client: triton.InferenceServerClient) -> None:
    values = values_of("BF16").astype(ml_dtypes.bfloat16)
    given = triton.InferInput("x", [2, 2], "BF16").set_data_from_numpy(values)
    assert client.infer("echo-BF16", [given]).as_numpy("out_x").tolist() == values.tolist()


@pytest.mark.parametrize("as_bytes", [True, False])
def test_classification(client: triton.InferenceServerClient, as_bytes: bool) -> None:
    output = triton.InferRequestedOutput("probabilities", binary_data=as_bytes, class_count=1)
    found = client.infer("credit", credit_inputs(as_bytes=True), outputs=[output])
    labels = found.as_numpy("probabilities").astype(str)
    assert labels.shape == (2, 1)
    assert [text.split(":")[1:] for text in labels.ravel()] == [["1", "good"], ["0", "bad"]]


def test_health_and_metadata(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("credit")
    assert client.is_model_ready("credit", "1")
    assert not client.is_model_ready("nobody")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    found = client.get_model_metadata("echo-INT8")
    assert found["inputs"] == [{"name": "x", "datatype": "INT8", "shape": [-1, -1]}]
    config = client.get_model_config("echo-INT8")
    assert config["input"] == [{"name": "x", "data_type": "TYPE_INT8", "dims": [-1]}]
    assert client.get_model_config("credit", "1")["backend"] == "onnxruntime"


def test_the_repository(client: triton.InferenceServerClient) -> None:
    def states() -> dict[str, str]:
        return {each["name"]: each["state"] for each in client.get_model_repository_index()}

    assert states()["dense"] == "READY"
    client.unload_model("dense")
    assert not client.is_model_ready("dense")
    assert states()["dense"] == "UNAVAILABLE"
    client.load_model("dense")
    assert client.is_model_ready("dense")
    with pytest.raises(InferenceServerException, match="config"):
        client.load_model("dense", config="{}")


def test_statistics(client: triton.InferenceServerClient) -> None:
    def rows() -> int:
        (found,) = client.get_inference_statistics("credit")["model_stats"]
        return int(found["inference_count"])

    before = rows()
    client.infer("credit", credit_inputs(as_bytes=True))
    assert rows() == before + 2
    assert len(client.get_inference_statistics()["model_stats"]) > 3
    assert client.get_inference_statistics("credit", "1")["model_stats"][0]["version"] == "1"


@pytest.mark.parametrize("as_bytes", [True, False])
def test_a_refusal_says_why(client: triton.InferenceServerClient, as_bytes: bool) -> None:
    x = np.zeros((2, 5), np.float32)
    given = triton.InferInput("x", [2, 5], "FP32").set_data_from_numpy(x, binary_data=as_bytes)
    with pytest.raises(InferenceServerException, match=r"Send \[rows, 4\]") as caught:
        client.infer("dense", [given])
    assert caught.value.status() == "400"
