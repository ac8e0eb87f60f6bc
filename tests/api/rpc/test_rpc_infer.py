"""Inference over gRPC, by tritonclient and by messages of our own making."""

import math
import queue
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import grpc
import ml_dtypes
import numpy as np
import pytest
import tritonclient.grpc as triton
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

from pellucid.errors import PellucidError
from pellucid_api.rpc.codec import RpcCodec
from support.rpc import inputs, tensor
from support.serving import held_feed, probabilities

ROWS = [
    {"age": 41, "owner": True, "since": "2024-05-31T12:00:00+00:00", "purpose": "car"},
    {"age": 20, "owner": False, "since": "1999-01-01T00:00:00+00:00", "purpose": "kite"},
]
EXAMPLES = {
    "BOOL": np.array([[True, False]]),
    "UINT8": np.array([[0, 255]], np.uint8),
    "UINT16": np.array([[0, 2**16 - 1]], np.uint16),
    "UINT32": np.array([[0, 2**32 - 1]], np.uint32),
    "UINT64": np.array([[0, 2**64 - 1]], np.uint64),
    "INT8": np.array([[-128, 127]], np.int8),
    "INT16": np.array([[-(2**15), 2**15 - 1]], np.int16),
    "INT32": np.array([[-(2**31), 2**31 - 1]], np.int32),
    "INT64": np.array([[-(2**63), 2**63 - 1]], np.int64),
    "FP16": np.array([[-1.5, 65504.0]], np.float16),
    "BF16": np.array([[-1.5, 3e38]], np.float32).astype(ml_dtypes.bfloat16),
    "FP32": np.array([[-0.1, 3e38]], np.float32),
    "FP64": np.array([[-0.1, 1e308]], np.float64),
    "BYTES": np.array([["", "Zürich 🙂"]], object),
}


def raw_request(name="credit", rows=ROWS, **changes):
    """A request whose contents are typed, not raw."""
    request = service_pb2.ModelInferRequest(model_name=name)
    for column, values in (held_feed(rows) | changes).items():
        text = column == "purpose"
        column_ = request.inputs.add(
            name=column, datatype="BYTES" if text else "FP64", shape=[len(values)]
        )
        if text:
            column_.contents.bytes_contents.extend(str(value).encode() for value in values)
        else:
            column_.contents.fp64_contents.extend(values)
    return request


@pytest.fixture
def stub(service):
    with grpc.insecure_channel(service.address) as channel:
        yield service_pb2_grpc.GRPCInferenceServiceStub(channel)


def refused(call):
    with pytest.raises((InferenceServerException, grpc.RpcError)) as caught:
        call()
    error = caught.value
    if isinstance(error, grpc.RpcError):
        return error.code(), error.details()
    return grpc.StatusCode[error.status().removeprefix("StatusCode.")], error.message()


def test_inference_equals_the_model_and_the_answer_of_rest(service):
    found = service.client.infer("credit", inputs(ROWS), request_id="42")
    np.testing.assert_allclose(
        found.as_numpy("probabilities"), probabilities(held_feed(ROWS), 0.03), atol=1e-6
    )
    assert found.as_numpy("label").tolist() == [b"good", b"bad"]
    message = found.get_response()
    assert (message.model_name, message.model_version, message.id) == ("credit", "1", "42")
    assert len(message.parameters["prediction_id"].string_param) == 36
    by_rest = service.http.post("/v1/models/credit/predict", json=ROWS).json()["predictions"]
    ours = found.as_numpy("probabilities")[:, 1].astype(float).tolist()
    assert ours == [each["probabilities"]["good"] for each in by_rest]


def test_a_version_may_be_named(service):
    found = service.client.infer("credit", inputs(ROWS), model_version="1")
    assert found.get_response().model_version == "1"


@pytest.mark.parametrize("datatype", EXAMPLES)
def test_every_datatype_comes_back_as_it_went(service, datatype):
    sent = EXAMPLES[datatype]
    found = service.client.infer(f"echo-{datatype.lower()}", [tensor("x", sent, datatype)])
    message = found.get_response()
    assert message.outputs[0].datatype == datatype
    assert list(message.outputs[0].shape) == [1, 2]
    got = found.as_numpy("out_x")
    if datatype == "BYTES":
        assert [[each.decode() for each in row] for row in got] == sent.tolist()
    else:
        assert got.astype(np.float64).tolist() == sent.astype(np.float64).tolist()


FIELDS = {
    "BOOL": "bool", "UINT8": "uint", "UINT16": "uint", "UINT32": "uint", "UINT64": "uint64",
    "INT8": "int", "INT16": "int", "INT32": "int", "INT64": "int64", "FP32": "fp32",
    "FP64": "fp64", "BYTES": "bytes",
}  # fmt: skip


@pytest.mark.parametrize("datatype", FIELDS)
def test_typed_contents_are_read_as_raw_ones_are(service, stub, datatype):
    sent = EXAMPLES[datatype]
    request = service_pb2.ModelInferRequest(model_name=f"echo-{datatype.lower()}")
    given = request.inputs.add(name="x", datatype=datatype, shape=[1, 2])
    values = sent.ravel().tolist()
    if datatype == "BYTES":
        values = [value.encode() for value in values]
    getattr(given.contents, f"{FIELDS[datatype]}_contents").extend(values)
    typed = stub.ModelInfer(request)
    raw = service.client.infer(request.model_name, [tensor("x", sent, datatype)]).get_response()
    assert typed.raw_output_contents == raw.raw_output_contents


def test_nan_and_empty_strings_are_missing(service):
    row = dict.fromkeys(("age", "owner", "since"), np.array([math.nan]))
    found = service.client.infer("credit", inputs(ROWS[:1], **row, purpose=[""]))
    feed = row | {"purpose": [""]}
    np.testing.assert_allclose(
        found.as_numpy("probabilities"), probabilities(feed, 0.03), atol=1e-6
    )


def test_only_the_outputs_asked_for_come_in_that_order(service):
    wanted = [triton.InferRequestedOutput(name) for name in ("probabilities", "label")]
    found = service.client.infer("credit", inputs(ROWS), outputs=wanted).get_response()
    assert [each.name for each in found.outputs] == ["probabilities", "label"]
    found = service.client.infer("credit", inputs(ROWS), outputs=wanted[1:]).get_response()
    assert [each.name for each in found.outputs] == ["label"]


def test_the_best_classes(service):
    wanted = [triton.InferRequestedOutput("probabilities", class_count=1)]
    found = service.client.infer("credit", inputs(ROWS), outputs=wanted)
    share = probabilities(held_feed(ROWS), 0.03)
    assert found.as_numpy("probabilities").tolist() == [
        [f"{share[0, 1]:f}:1:good".encode()], [f"{share[1, 0]:f}:0:bad".encode()],
    ]  # fmt: skip


def test_many_rows_are_answered_in_order(service):
    count = 50_000
    feed = held_feed(ROWS * (count // 2))
    feed["age"] = np.linspace(18, 90, count)
    found = service.client.infer("credit", inputs(ROWS * (count // 2), age=feed["age"]))
    np.testing.assert_allclose(
        found.as_numpy("probabilities"), probabilities(feed, 0.03), atol=1e-6
    )


def test_concurrent_requests_share_runs_and_keep_their_rows(service, monkeypatch):
    served = service.services.pool.champion("credit")
    statistics, run = served.statistics, served.batcher._run

    def slow(feed):
        time.sleep(0.02)
        return run(feed)

    monkeypatch.setattr(served.batcher, "_run", slow)
    monkeypatch.setattr(served.batcher.cost, "of_run", lambda rows: 0.02)  # hence in the thread
    before = statistics.succeeded, statistics.executions
    ages = np.linspace(18, 90, 400)
    calls = queue.SimpleQueue()
    for age in ages:
        changed = inputs(ROWS[:1], age=[age])
        service.client.async_infer(
            "credit", changed, lambda result, error, age=age: calls.put((age, result, error))
        )
    for _ in ages:
        age, result, error = calls.get(timeout=60)
        assert error is None
        feed = held_feed(ROWS[:1]) | {"age": np.array([age])}
        np.testing.assert_allclose(
            result.as_numpy("probabilities"), probabilities(feed, 0.03), atol=1e-6
        )
    assert statistics.succeeded - before[0] == len(ages)
    assert statistics.executions - before[1] < len(ages)


def test_a_stream_answers_in_order_and_outlives_a_request_that_is_refused(service):
    answers = queue.SimpleQueue()
    with triton.InferenceServerClient(service.address) as client:
        client.start_stream(lambda result, error: answers.put((result, error)))
        for i in range(100):
            name = "nobody" if i == 50 else "credit"
            client.async_stream_infer(name, inputs(ROWS), request_id=str(i))
        for i in range(100):
            result, error = answers.get(timeout=60)
            if i == 50:
                assert "There is no model 'nobody'" in str(error)
            else:
                assert result.get_response().id == str(i)
        client.stop_stream()


INVALID = grpc.StatusCode.INVALID_ARGUMENT
BAD = {
    "no input": (lambda r: r.inputs.pop(0), "Missing inputs: age"),
    "unknown": (lambda r: setattr(r.inputs[0], "name", "ago"), "no such input"),
    "twice": (lambda r: r.inputs.add().CopyFrom(r.inputs[0]), "given twice"),
    "datatype": (lambda r: setattr(r.inputs[0], "datatype", "FLOAT"), "its datatype is FLOAT"),
    "field": (lambda r: setattr(r.inputs[0], "datatype", "FP32"), "FP32 is in fp32_contents"),
    "no field": (lambda r: setattr(r.inputs[0], "datatype", "FP16"), "raw_input_contents"),
    "strings": (lambda r: r.inputs[3].contents.bytes_contents.append(b"x"), "it has 3 values"),
    "utf-8": (lambda r: r.inputs[3].contents.bytes_contents.__setitem__(0, b"\xff"), "no UTF-8"),
    "infinite": (lambda r: r.inputs[0].contents.fp64_contents.__setitem__(0, math.inf), "row 1"),
    "shape": (lambda r: r.inputs[0].shape.__setitem__(0, 3), "its shape is [3]"),
    "negative": (lambda r: r.inputs[0].shape.__setitem__(0, -1), "its shape is [-1]"),
    "overflow": (lambda r: r.inputs[0].shape.extend([2**62, 2**62]), "its shape is"),
    "zero rows": (lambda r: [i.shape.__setitem__(0, 0) for i in r.inputs], "its shape is [0]"),
    "raw too few": (lambda r: r.raw_input_contents.append(b""), "4 inputs and 1 raw"),
    "both": (lambda r: r.raw_input_contents.extend([b""] * 4), "and raw_input_contents as well"),
    "output": (lambda r: r.outputs.add(name="zzz"), "no such output"),
    "outputs": (lambda r: [r.outputs.add(name="label") for _ in "ab"], "asked for twice"),
    "version": (lambda r: setattr(r, "model_version", "x"), 'version "x" is no number'),
    "version 0": (lambda r: setattr(r, "model_version", "0"), 'version "0" is no number'),
    "huge version": (lambda r: setattr(r, "model_version", "9" * 5000), "is no number"),
    "timeout": (lambda r: r.parameters["timeout"].__setattr__("string_param", "1"), "'timeout'"),
}


@pytest.mark.parametrize("case", BAD)
def test_requests_that_do_not_fit_are_refused(stub, case):
    spoil, said = BAD[case]
    request = raw_request()
    spoil(request)
    code, text = refused(lambda: stub.ModelInfer(request))
    assert (code, said in text) == (INVALID, True), text


@pytest.mark.parametrize(
    ("datatype", "field", "value"),
    [("INT8", "int", 128), ("INT16", "int", -(2**15) - 1), ("UINT8", "uint", 256)],
)
def test_a_small_integer_out_of_its_range_is_refused(stub, datatype, field, value):
    request = service_pb2.ModelInferRequest(model_name=f"echo-{datatype.lower()}")
    given = request.inputs.add(name="x", datatype=datatype, shape=[1, 2])
    getattr(given.contents, f"{field}_contents").extend([1, value])
    code, text = refused(lambda: stub.ModelInfer(request))
    assert (code, f"out of the range of {datatype}" in text) == (INVALID, True), text


@pytest.mark.parametrize(
    "raw",
    [b"", b"\0", b"\x05\0\0\0abc", b"\xff\xff\xff\xff", b"\0\0\0\0\0\0\0\0\0\0\0\0"],
)
def test_raw_strings_whose_lengths_lie_are_refused(stub, raw):
    request = service_pb2.ModelInferRequest(model_name="echo-bytes", raw_input_contents=[raw])
    request.inputs.add(name="x", datatype="BYTES", shape=[1, 2])
    code, _ = refused(lambda: stub.ModelInfer(request))
    assert code is INVALID


def test_unknown_models_and_versions(service):
    for name, version in (("nobody", ""), ("credit", "9"), ("", "")):
        code, _ = refused(lambda n=name, v=version: service.client.infer(n, inputs(ROWS), v))
        assert code is grpc.StatusCode.NOT_FOUND


def test_what_is_no_message_is_refused(service):
    with grpc.insecure_channel(service.address) as channel:
        for method in ("ModelInfer", "ModelReady"):
            call = channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
            code, text = refused(lambda call=call: call(b"\xff\xff\xff"))
            assert (code, "are no inference.Model" in text) == (INVALID, True), text


def test_too_many_rows(service):
    code, text = refused(lambda: service.client.infer("credit", inputs(ROWS * 50_001)))
    assert (code, "100,000" in text) == (grpc.StatusCode.RESOURCE_EXHAUSTED, True)


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_a_message_over_the_limit(start, register, compression):
    register()
    service = start(max_body_bytes=2**20)
    rows = ROWS * 20_000
    code, text = refused(
        lambda: service.client.infer("credit", inputs(rows), compression_algorithm=compression)
    )
    assert (code, "larger than max" in text) == (grpc.StatusCode.RESOURCE_EXHAUSTED, True), text
    assert service.client.infer("credit", inputs(ROWS))


def test_many_threads(service):
    def ask(i):
        found = service.client.infer("credit", inputs(ROWS[:1], age=[i]))
        return found.as_numpy("probabilities")[0]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, range(200)))
    feed = held_feed(ROWS[:1] * 200) | {"age": np.arange(200.0)}
    np.testing.assert_allclose(found, probabilities(feed, 0.03), atol=1e-6)


@given(st.data())
def test_no_bytes_make_the_codec_raise_anything_else(service, data):
    served = service.services.pool.champion("credit")
    body = bytearray(raw_request().SerializeToString())
    for _ in range(data.draw(st.integers(1, 8))):
        start = data.draw(st.integers(0, len(body)))
        end = data.draw(st.integers(start, min(start + 8, len(body))))
        body[start:end] = data.draw(st.binary(max_size=12))
    with suppress(PellucidError):
        assert RpcCodec(10).decode(served, {}, bytes(body)).feed.rows <= 10


@given(
    datatype=st.sampled_from([*EXAMPLES, "FLOAT", ""]),
    shape=st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 3), max_size=3)
    | st.lists(st.just(1), min_size=30, max_size=80),
    raw=st.binary(max_size=40),
    field=st.sampled_from([*FIELDS.values(), None]),
)
def test_no_tensor_makes_the_codec_raise_anything_else(service, datatype, shape, raw, field):
    name = f"echo-{datatype.lower()}" if datatype in EXAMPLES else "echo-fp32"
    served = service.services.pool.champion(name)
    message = service_pb2.ModelInferRequest(model_name=name)
    tensor = message.inputs.add(name="x", datatype=datatype, shape=shape)
    if field is None:
        message.raw_input_contents.append(raw)
    else:
        values = [raw] if field == "bytes" else list(raw)
        values = [bool(value) for value in values] if field == "bool" else values
        getattr(tensor.contents, f"{field}_contents").extend(values)
    with suppress(PellucidError):
        assert RpcCodec(10).decode(served, {}, message.SerializeToString()).feed.rows <= 10


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ([1] * 80, "its shape has 80 axes"),
        ([2**62] * 300_000, "its shape has 300000 axes"),
        ([0, 2**62, 2**62], "it has 0 values"),
        ([1, 0], "it has 0 values"),
        ([-1, 2], "its shape is [-1, 2]"),
    ],
)
def test_shapes_of_typed_contents_that_lie_are_refused(service, shape, said):
    message = service_pb2.ModelInferRequest(model_name="echo-fp32")
    message.inputs.add(name="x", datatype="FP32", shape=shape)
    served = service.services.pool.champion("echo-fp32")
    with pytest.raises(PellucidError) as caught:
        RpcCodec(10).decode(served, {}, message.SerializeToString())
    assert said in str(caught.value)
