"""One test for each sentence of the Open Inference Protocol's REST specification that says must.

Sentences without `must` that say what a successful answer is are here as well. Sources:

- https://github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md;
- https://github.com/kserve/kserve, docs/predict-api/v2/required_api.md, for parameters, tensor data
  and health, which the first leaves out;
- https://github.com/triton-inference-server/server, docs/protocol/extension_*.md, for extensions.
"""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from onnx import TensorProto

from pellucid.settings import Settings
from pellucid.tracking.imports import import_onnx
from pellucid.tracking.memory import MemoryTracker
from support import foreign
from support.oip import LENGTH, arrays, binary
from support.serving import serving

X = {"name": "x", "shape": [2, 4], "datatype": "FP32", "data": [1, 2, 3, 4, 0.5, -1, 0, 1]}
EXPECTED = foreign.dense_answer(np.reshape(X["data"], (2, 4)))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """The model dense, y = relu(x W), and two, which gives back both of its inputs."""
    root = tmp_path_factory.mktemp("protocol")
    registry = MemoryTracker(root / "registry")
    ports = (("a", TensorProto.UINT32, ["n", 2]), ("b", TensorProto.BOOL, ["n"]))
    for name, model in {"dense": foreign.dense(), "two": foreign.echo(*ports)}.items():
        import_onnx(registry, registry, foreign.write(model, root / name), name, "champion")
    settings = Settings(home=root / "home", alias_poll_seconds=0.05, device="cpu")
    with serving(settings, registry) as client:
        yield client


def infer(service: httpx.Client, model: str = "dense", **request: Any) -> httpx.Response:
    return service.post(f"/v2/models/{model}/infer", json=request)


def is_error(response: httpx.Response) -> bool:
    found = response.json()
    return (
        400 <= response.status_code < 600
        and list(found) == ["error"]
        and isinstance(found["error"], str)
        and len(found["error"]) > 5
    )


class TestHealth:
    def test_a_compliant_server_must_implement_the_health_metadata_and_inference_apis(
        self, service: httpx.Client
    ) -> None:
        paths = ["", "/health/live", "/health/ready", "/models/dense", "/models/dense/ready"]
        for path in paths:
            assert service.get(f"/v2{path}").status_code == 200
        assert infer(service, inputs=[X]).status_code == 200

    def test_the_server_must_recognize_the_urls_with_the_versions_portion(
        self, service: httpx.Client
    ) -> None:
        assert service.get("/v2/models/dense/versions/1").status_code == 200
        assert service.get("/v2/models/dense/versions/1/ready").status_code == 200
        response = service.post("/v2/models/dense/versions/1/infer", json={"inputs": [X]})
        assert response.status_code == 200

    def test_a_200_status_code_indicates_true_and_another_one_false(
        self, service: httpx.Client
    ) -> None:
        assert service.get("/v2/models/dense/ready").status_code == 200
        assert service.get("/v2/models/nobody/ready").status_code == 404

    def test_the_model_name_and_version_must_be_available_in_the_url(
        self, service: httpx.Client
    ) -> None:
        found = service.get("/v2/models/dense/versions/1/ready").json()
        assert found == {"name": "dense", "ready": True}
        assert is_error(service.get("/v2/models/dense/versions/7/ready"))

    def test_the_responses_of_the_probes_are_booleans(self, service: httpx.Client) -> None:
        assert service.get("/v2/health/live").json() == {"live": True}
        assert service.get("/v2/health/ready").json() == {"ready": True}

    def test_all_strings_in_all_contexts_are_case_sensitive(self, service: httpx.Client) -> None:
        assert is_error(service.get("/v2/models/Dense"))
        assert is_error(infer(service, inputs=[X | {"name": "X"}]))
        assert is_error(infer(service, inputs=[X | {"datatype": "fp32"}]))


class TestMetadata:
    def test_a_successful_server_metadata_request_is_indicated_by_a_200_http_status_code(
        self, service: httpx.Client
    ) -> None:
        response = service.get("/v2")
        assert response.status_code == 200
        found = response.json()
        assert {type(found["name"]), type(found["version"])} == {str}
        assert all(isinstance(each, str) for each in found["extensions"])

    def test_a_failed_server_metadata_request_must_be_indicated_by_an_http_error_status(
        self, service: httpx.Client
    ) -> None:
        assert service.delete("/v2").status_code == 405

    def test_the_body_of_a_failed_server_metadata_request_must_contain_the_error(
        self, service: httpx.Client
    ) -> None:
        assert is_error(service.delete("/v2"))

    def test_the_model_metadata_response_is_returned_for_every_successful_request(
        self, service: httpx.Client
    ) -> None:
        found = service.get("/v2/models/two").json()
        assert (found["name"], found["versions"], found["platform"]) == (
            "two",
            ["1"],
            "onnx_onnxv1",
        )
        assert found["inputs"] == [
            {"name": "a", "datatype": "UINT32", "shape": [-1, 2]},
            {"name": "b", "datatype": "BOOL", "shape": [-1]},
        ]
        assert [each["name"] for each in found["outputs"]] == ["out_a", "out_b"]

    def test_variable_size_dimensions_are_specified_as_minus_1(self, service: httpx.Client) -> None:
        assert service.get("/v2/models/dense").json()["inputs"][0]["shape"] == [-1, 4]

    def test_a_failed_model_metadata_request_must_be_indicated_by_an_http_error_status(
        self, service: httpx.Client
    ) -> None:
        assert service.get("/v2/models/nobody").status_code == 404
        assert service.get("/v2/models/dense/versions/first").status_code == 400

    def test_the_body_of_a_failed_model_metadata_request_must_contain_the_error(
        self, service: httpx.Client
    ) -> None:
        assert is_error(service.get("/v2/models/nobody"))
        assert is_error(service.get("/v2/models/dense/versions/first"))


class TestInference:
    def test_the_inference_request_object_is_required_in_the_http_body(
        self, service: httpx.Client
    ) -> None:
        response = service.post("/v2/models/dense/infer")
        assert response.status_code == 400
        assert is_error(response)

    def test_the_model_name_must_be_available_in_the_url(self, service: httpx.Client) -> None:
        assert is_error(service.post("/v2/models/infer", json={"inputs": [X]}))
        assert is_error(infer(service, "nobody", inputs=[X]))

    def test_an_identifier_that_is_specified_must_be_returned_in_the_response(
        self, service: httpx.Client
    ) -> None:
        assert infer(service, id="4 ☃", inputs=[X]).json()["id"] == "4 ☃"
        assert "id" not in infer(service, inputs=[X]).json()

    def test_of_a_batched_input_shape_and_data_must_represent_the_entire_batch(
        self, service: httpx.Client
    ) -> None:
        (found,) = infer(service, inputs=[X]).json()["outputs"]
        assert found["shape"] == [2, 3]
        np.testing.assert_allclose(np.reshape(found["data"], (2, 3)), EXPECTED, atol=1e-6)
        assert is_error(infer(service, inputs=[X | {"shape": [1, 4]}]))
        assert is_error(infer(service, inputs=[X | {"data": X["data"][:4]}]))

    @pytest.mark.parametrize("size", [-1, 2.5, "2", None, 2**64, 10**30])
    def test_each_dimension_must_be_representable_as_an_unsigned_64_bit_integer(
        self, service: httpx.Client, size: Any
    ) -> None:
        response = infer(service, inputs=[X | {"shape": [size, 4]}])
        assert response.status_code == 400
        assert is_error(response)

    def test_each_dimension_of_an_output_must_be_an_unsigned_64_bit_integer(
        self, service: httpx.Client
    ) -> None:
        for output in infer(service, inputs=[X]).json()["outputs"]:
            assert all(type(size) is int and 0 <= size < 2**64 for size in output["shape"])

    def test_without_outputs_all_outputs_will_be_returned(self, service: httpx.Client) -> None:
        found = infer(service, "two", inputs=TWO).json()["outputs"]
        assert [each["name"] for each in found] == ["out_a", "out_b"]

    def test_the_server_must_return_the_output_that_is_requested(
        self, service: httpx.Client
    ) -> None:
        found = infer(service, "two", inputs=TWO, outputs=[{"name": "out_b"}]).json()["outputs"]
        assert found == [
            {"name": "out_b", "shape": [2], "datatype": "BOOL", "data": [True, False]},
        ]

    def test_a_successful_inference_request_is_indicated_by_a_200_http_status_code(
        self, service: httpx.Client
    ) -> None:
        response = infer(service, inputs=[X])
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/json"
        found = response.json()
        assert (found["model_name"], found["model_version"]) == ("dense", "1")
        assert found["outputs"][0]["datatype"] == "FP32"

    @pytest.mark.parametrize(
        "request_",
        [
            {},
            {"inputs": []},
            {"inputs": [X, X]},
            {"inputs": [X | {"shape": [0, 4], "data": []}]},
            {"inputs": [X | {"datatype": "INT32"}]},
            {"inputs": [X], "outputs": [{"name": "z"}]},
            {"inputs": [X], "parameters": []},
            {"inputs": [X], "id": 4},
        ],
    )
    def test_a_failed_inference_request_must_be_indicated_by_an_http_error_status(
        self, service: httpx.Client, request_: Any
    ) -> None:
        assert infer(service, **request_).status_code == 400

    def test_the_body_of_a_failed_inference_request_must_contain_the_error(
        self, service: httpx.Client
    ) -> None:
        for body in (b"", b"{", b"[]", b'{"inputs": [NaN]}', b"\xff\xfe"):
            assert is_error(service.post("/v2/models/dense/infer", content=body))


class TestParametersAndTensorData:
    @pytest.mark.parametrize("value", ["text", 1, 1.5, True])
    def test_the_value_of_a_parameter_is_a_string_number_or_boolean(
        self, service: httpx.Client, value: Any
    ) -> None:
        own = {"parameters": {"anything": value}}
        response = infer(service, inputs=[X | own], outputs=[{"name": "y"} | own], **own)
        assert response.status_code == 200

    @pytest.mark.parametrize("value", [[1], {"a": 1}])
    def test_the_value_of_a_parameter_is_nothing_else(
        self, service: httpx.Client, value: Any
    ) -> None:
        assert is_error(infer(service, inputs=[X], parameters={"anything": value}))

    def test_tensor_data_must_be_presented_in_row_major_order(self, service: httpx.Client) -> None:
        (found, _) = infer(service, "two", inputs=TWO).json()["outputs"]
        assert found["data"] == [1, 2, 3, 4]

    def test_element_values_must_be_given_in_linear_order_without_stride_or_padding(
        self, service: httpx.Client
    ) -> None:
        assert is_error(infer(service, inputs=[X | {"data": [*X["data"], 0]}]))

    def test_elements_may_be_presented_multi_dimensional_or_flattened(
        self, service: httpx.Client
    ) -> None:
        nested = np.reshape(X["data"], (2, 4)).tolist()
        flat = infer(service, inputs=[X]).json()["outputs"]
        assert infer(service, inputs=[X | {"data": nested}]).json()["outputs"] == flat


class TestExtensions:
    def test_because_an_extension_is_supported_it_is_reported(self, service: httpx.Client) -> None:
        assert service.get("/v2").json()["extensions"] == [
            "binary_tensor_data",
            "classification",
            "model_configuration",
            "model_repository",
            "schedule_policy",
            "statistics",
        ]

    def test_binary_data_follow_the_json_in_the_order_of_the_tensors(
        self, service: httpx.Client
    ) -> None:
        a, b = np.array([[1, 2], [3, 4]], np.uint32), np.array([True, False])
        tensors = [("b", "BOOL", [2], b.tobytes()), ("a", "UINT32", [2, 2], a.tobytes())]
        headers, body = binary(tensors, all_binary=True)
        found = arrays(service.post("/v2/models/two/infer", content=body, headers=headers))
        assert found["out_a"].tolist() == a.tolist()
        assert found["out_b"].tolist() == b.tolist()

    def test_with_binary_data_inference_header_content_length_must_be_provided(
        self, service: httpx.Client
    ) -> None:
        raw = np.ones((1, 4), np.float32).tobytes()
        headers, body = binary([("x", "FP32", [1, 4], raw)], all_binary=True)
        response = service.post("/v2/models/dense/infer", content=body, headers=headers)
        end = int(response.headers[LENGTH])
        assert json.loads(response.content[:end])["outputs"][0]["parameters"] == {
            "binary_data_size": len(response.content) - end
        }
        del headers[LENGTH]
        assert is_error(service.post("/v2/models/dense/infer", content=body, headers=headers))

    def test_content_length_continues_to_give_the_full_body_length(
        self, service: httpx.Client
    ) -> None:
        raw = np.ones((1, 4), np.float32).tobytes()
        headers, body = binary([("x", "FP32", [1, 4], raw)], all_binary=True)
        response = service.post("/v2/models/dense/infer", content=body, headers=headers)
        assert int(response.headers["content-length"]) == len(response.content)
        assert response.headers["content-type"] == "application/octet-stream"

    def test_binary_data_on_an_output_overrides_binary_data_output(
        self, service: httpx.Client
    ) -> None:
        outputs = [{"name": "out_a", "parameters": {"binary_data": False}}, {"name": "out_b"}]
        request = {"inputs": TWO, "outputs": outputs, "parameters": {"binary_data_output": True}}
        response = service.post("/v2/models/two/infer", json=request)
        found = json.loads(response.content[: int(response.headers[LENGTH])])["outputs"]
        assert "data" in found[0]
        assert found[1]["parameters"] == {"binary_data_size": 2}

    def test_of_a_classification_the_elements_are_value_index_of_the_highest(
        self, service: httpx.Client
    ) -> None:
        outputs = [{"name": "y", "parameters": {"classification": 2}}]
        (found,) = infer(service, inputs=[X], outputs=outputs).json()["outputs"]
        assert (found["datatype"], found["shape"]) == ("BYTES", [2, 2])
        order = np.argsort(-EXPECTED, axis=1, kind="stable")[:, :2]
        wanted = [f"{row[i]:f}:{i}" for row, o in zip(EXPECTED, order, strict=True) for i in o]
        for text, other in zip(found["data"], wanted, strict=True):
            assert text.split(":")[1] == other.split(":")[1]
            assert float(text.split(":")[0]) == pytest.approx(float(other.split(":")[0]), abs=2e-6)

    def test_if_the_request_cannot_be_completed_within_its_timeout_it_ends(
        self, service: httpx.Client
    ) -> None:
        response = infer(service, inputs=[X], parameters={"timeout": 1})
        assert response.status_code == 504
        assert is_error(response)

    @pytest.mark.parametrize("name", ["timeout", "priority"])
    def test_timeout_and_priority_are_whole_numbers_of_which_zero_is_the_default(
        self, service: httpx.Client, name: str
    ) -> None:
        assert infer(service, inputs=[X], parameters={name: 0}).status_code == 200
        for value in (-1, 1.5, "1", True):
            assert is_error(infer(service, inputs=[X], parameters={name: value}))

    def test_the_index_gives_name_version_state_and_reason(self, service: httpx.Client) -> None:
        found = service.post("/v2/repository/index").json()
        assert found == [
            {"name": name, "version": "1", "state": "READY", "reason": ""}
            for name in ("dense", "two")
        ]

    def test_the_body_of_load_and_unload_may_be_empty(self, service: httpx.Client) -> None:
        assert service.post("/v2/repository/models/two/unload").status_code == 200
        assert service.post("/v2/repository/models/two/load").status_code == 200

    def test_a_failed_repository_request_must_be_indicated_by_an_http_error_status(
        self, service: httpx.Client
    ) -> None:
        for path in ("models/nobody/load", "models/nobody/unload"):
            assert is_error(service.post(f"/v2/repository/{path}"))
        assert is_error(service.post("/v2/repository/index", content=b"{"))

    def test_statistics_of_all_versions_of_all_models(self, service: httpx.Client) -> None:
        found = service.get("/v2/models/stats").json()["model_stats"]
        assert [each["name"] for each in found] == ["dense", "two"]
        durations = found[0]["inference_stats"].values()
        assert all(set(each) == {"count", "ns"} for each in durations)

    def test_a_failed_statistics_request_will_be_indicated_by_an_http_error_status(
        self, service: httpx.Client
    ) -> None:
        assert is_error(service.get("/v2/models/nobody/stats"))

    def test_a_failed_configuration_request_must_be_indicated_by_an_http_error_status(
        self, service: httpx.Client
    ) -> None:
        assert is_error(service.get("/v2/models/nobody/config"))


TWO = [
    {"name": "a", "shape": [2, 2], "datatype": "UINT32", "data": [1, 2, 3, 4]},
    {"name": "b", "shape": [2], "datatype": "BOOL", "data": [True, False]},
]
