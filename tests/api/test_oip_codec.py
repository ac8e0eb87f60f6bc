"""The codec of tensors alone: fuzzed, its two readers compared, its memory watched."""

import gc
import json
import tracemalloc
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pellucid.bundle import Datatype, Input, Output
from pellucid.errors import InvalidRows, PellucidError
from pellucid.schema import Kind
from pellucid_api.engine.feeds import Feed, Layout
from pellucid_api.engine.values import shown
from pellucid_api.oip import messages
from pellucid_api.plane import tensors
from pellucid_api.plane.exchange import RequestHeaders
from pellucid_api.plane.tensors import TensorsCodec
from support.oip import LENGTH, binary, packed

INPUTS = (
    Input.of("age", Kind.NUMERIC),
    Input.of("größe ☃", Kind.CATEGORICAL, ("a",)),
    Input.of("owner", Kind.BOOLEAN),
    Input.of("load", Kind.SEQUENCE, shape=(3,)),
    Input(name="x", kind=Kind.TENSOR, datatype=Datatype.FP32, shape=(2,)),
    Input(name="free", kind=Kind.TENSOR, datatype=Datatype.INT64, shape=(-1, 2)),
    Input(name="words", kind=Kind.TENSOR, datatype=Datatype.BYTES, shape=()),
)
OUTPUTS = (
    Output(name="y", datatype=Datatype.FP32, shape=(-1, 2)),
    Output(name="label", datatype=Datatype.BYTES, shape=(-1,)),
)
CODEC = TensorsCodec(max_rows=50)


def served(inputs: tuple[Input, ...] = INPUTS) -> Any:
    manifest = SimpleNamespace(inputs=inputs, outputs=OUTPUTS, classes=("no", "yes"))
    model = SimpleNamespace(manifest=manifest, tokenizer=None)
    found = SimpleNamespace(name="m", version=1, model=model, layout=Layout(inputs))
    found.kept = lambda _, make: make(found)
    return found


ALL = served()


def described(rows: int = 2) -> list[dict[str, Any]]:
    """Every input, as JSON."""
    made = [
        ("age", "FP64", [rows], [1.5, None] * rows),
        ("größe ☃", "BYTES", [rows, 1], ["a", None] * rows),
        ("owner", "BOOL", [rows], [True, False] * rows),
        ("load", "FP32", [rows, 2], [1.0, None] * 2 * rows),
        ("x", "FP32", [rows, 2], [0.5, -1.0] * 2 * rows),
        ("free", "INT64", [rows, 1, 2], [2**62 + 1, -1] * 2 * rows),
        ("words", "BYTES", [rows], ["", "ü"] * rows),
    ]
    return [
        {"name": n, "datatype": t, "shape": s, "data": v[: int(np.prod(s))]} for n, t, s, v in made
    ]


def in_bytes(inputs: list[dict[str, Any]]) -> list[tuple[str, str, list[int], bytes]]:
    """The same inputs as binary data; what is missing is NaN or empty."""
    found = []
    for each in inputs:
        fill = "" if each["datatype"] == "BYTES" else np.nan
        values = [fill if v is None else v for v in each["data"]]
        raw = packed(values, each["datatype"])
        found.append((each["name"], each["datatype"], each["shape"], raw))
    return found


def headers_of(headers: dict[str, str]) -> RequestHeaders:
    return {name.lower().encode(): value.encode("latin-1") for name, value in headers.items()}


def dumped(value: Any) -> bytes:
    """JSON; integers may have more digits than Python writes."""
    text = json.dumps(value, default=str)
    return text.replace('"HUGE"', "1" + "0" * 5000).encode()


def ask(body: Any, headers: dict[str, str] | None = None, model: Any = ALL) -> Any:
    content = body if isinstance(body, bytes) else dumped(body)
    return CODEC.decode(model, headers_of(headers or {}), content)


def same(one: Feed, other: Feed) -> None:
    np.testing.assert_array_equal(one.numbers, other.numbers)
    np.testing.assert_array_equal(one.strings, other.strings)
    for a, b in zip(one.tensors, other.tensors, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_json_and_binary_data_are_the_same_rows() -> None:
    inputs = described()
    by_json = ask({"inputs": inputs})
    headers, body = binary(in_bytes(inputs), id="7")
    by_bytes = ask(body, headers)
    same(by_json.feed, by_bytes.feed)
    assert by_bytes.context[0] == "7"
    assert by_json.feed.tensors[2][0, 0, 0] == 2**62 + 1  # exact: never a double
    mixed = [*json.loads(body[: int(headers[LENGTH])])["inputs"][:3], *inputs[3:]]
    text = json.dumps({"inputs": mixed}).encode()
    tail = b"".join(raw for *_, raw in in_bytes(inputs)[:3])
    same(ask(text + tail, {LENGTH: str(len(text))}).feed, by_json.feed)


def test_the_order_of_the_inputs_is_free() -> None:
    inputs = described()
    headers, body = binary(in_bytes(inputs[::-1]))
    same(ask(body, headers).feed, ask({"inputs": inputs}).feed)


def test_nested_data_are_the_same_rows() -> None:
    inputs = described()
    nested = [each | {"data": np.reshape(each["data"], each["shape"]).tolist()} for each in inputs]
    same(ask({"inputs": nested}).feed, ask({"inputs": inputs}).feed)


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({LENGTH: "0"}, "is '0'"),
        ({LENGTH: "-1"}, "is '-1'"),
        ({LENGTH: "+10"}, "is '+10'"),
        ({LENGTH: "1_0"}, "is '1_0'"),
        ({LENGTH: " 10"}, "is ' 10'"),
        ({LENGTH: "ten"}, "is 'ten'"),
        ({LENGTH: "\xb2"}, "is '\xb2'"),
        ({LENGTH: "1e3"}, "is '1e3'"),
        ({LENGTH: "9" * 30}, "and the body has"),
        ({LENGTH: "99999"}, "and the body has"),
        ({LENGTH: "10"}, "not JSON"),
    ],
)
def test_a_header_that_lies_is_refused(headers: dict[str, str], said: str) -> None:
    _, body = binary(in_bytes(described()))
    with pytest.raises(InvalidRows) as caught:
        ask(body, headers)
    assert said in caught.value.message


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (15, "it has 15 bytes"),
        (17, "17, and 16 bytes are left"),
        (0, "it has 0 bytes"),
        (-16, "is -16"),
        (16.0, "is 16.0"),
        ("16", 'is "16"'),
        (True, "is true"),
        (None, "is null"),
        (2**62, "bytes are left"),
        (2**63, "parameters"),
        (2**200, "parameters"),
        ("HUGE", "parameters"),
        ([16], "parameters"),
    ],
)
def test_a_size_that_lies_is_refused(size: Any, said: str) -> None:
    tensor = {"name": "age", "datatype": "FP64", "shape": [2]}
    text = dumped({"inputs": [tensor | {"parameters": {"binary_data_size": size}}]})
    for tail in (bytes(16), bytes(16) + b"more") if size != 17 else (bytes(16),):
        with pytest.raises(InvalidRows) as caught:
            ask(text + tail, {LENGTH: str(len(text))}, served(INPUTS[:1]))
        assert said in caught.value.message or "bytes follow" in caught.value.message


def test_a_body_that_is_cut_anywhere_is_refused() -> None:
    headers, body = binary(in_bytes(described()))
    for end in range(len(body)):
        with pytest.raises(InvalidRows):
            ask(body[:end], headers)
    with pytest.raises(InvalidRows, match="1 bytes follow"):
        ask(body + b"0", headers)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("x", {"shape": [2, 3]}, "Send [rows, 2]"),
        ("x", {"shape": [4]}, "Send [rows, 2]"),
        ("free", {"shape": [2**32, 2**32, 2]}, "limit of one request"),
        ("x", {"shape": [1, 2**64]}, "shape"),
        ("x", {"shape": ["HUGE"]}, "shape"),
        ("x", {"shape": [-1, 2]}, "shape"),
        ("x", {"data": [1, 2, 3, "HUGE"]}, "data"),
        ("x", {"shape": [2, 2.5]}, "shape"),
        ("x", {"shape": "2"}, "shape"),
        ("x", {"shape": [1] * 40}, "its shape has 40 axes"),
        ("x", {"shape": [1] * 200_000}, "its shape has 200000 axes"),
        ("x", {"datatype": "FP64"}, "The model takes FP32"),
        ("x", {"datatype": "BF16"}, "The model takes FP32"),
        ("x", {"data": [1, 2, 3, None]}, "a value is null"),
        ("x", {"data": [1, 2, 3, "4"]}, 'row 2: "4" is not a finite number'),
        ("x", {"data": [1, 2, 3, 1e39]}, "too large for FP32"),
        ("x", {"data": [[1, 2], [3, 4, 5]]}, "it has 5 values"),
        ("x", {"data": [[[1, 2]], [[3, 4]]]}, "it has 2 values"),
        ("x", {"data": [1, 2, 3, 10**400]}, "is not a finite number"),
        ("free", {"data": [1, 2, 3, 2**63]}, "is not a whole number"),
        ("free", {"data": [1, 2, 3, 1.0]}, "is not a whole number"),
        ("words", {"data": ["a", None]}, "a string is null"),
        ("words", {"data": ["a", 1]}, "1 is not a string"),
        ("age", {"datatype": "BF16"}, "no form in JSON"),
        ("age", {"shape": [2, 2]}, "Send [rows] or [rows, 1]"),
        ("load", {"shape": [2, 2, 1]}, "Send FP64 [rows, steps]"),
        ("owner", {"data": [2, 0]}, "2 is not true or false"),
        ("größe ☃", {"datatype": "FP64"}, "The model takes BYTES"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(name: str, change: Any, said: str) -> None:
    inputs = [each | change if each["name"] == name else each for each in described()]
    with pytest.raises(PellucidError) as caught:
        ask({"inputs": inputs})
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("name", "datatype", "raw", "said"),
    [
        ("age", "FP64", np.array([np.inf, 1]).tobytes(), "Infinity is not a finite number"),
        ("owner", "FP64", np.array([0.5, 1]).tobytes(), "0.5 is not true or false"),
        ("größe ☃", "BYTES", packed([b"\xff", b"a"], "BYTES"), "no UTF-8"),
        ("words", "BYTES", packed([b"a", b"\xff"], "BYTES"), "row 2: its bytes are no UTF-8"),
        ("x", "FP64", bytes(32), "The model takes FP32"),
    ],
)
def test_binary_data_that_do_not_fit_are_refused(
    name: str, datatype: str, raw: bytes, said: str
) -> None:
    inputs = [
        (n, datatype, shape, raw) if n == name else (n, t, shape, data)
        for n, t, shape, data in in_bytes(described())
    ]
    headers, body = binary(inputs)
    with pytest.raises(InvalidRows) as caught:
        ask(body, headers)
    assert said in str(caught.value)


def test_nan_and_infinity_in_binary_data_of_a_tensor_are_values() -> None:
    inputs = [each for each in in_bytes(described()) if each[0] != "x"]
    raw = np.array([np.nan, np.inf, -np.inf, -0.0], np.float32).tobytes()
    headers, body = binary([*inputs, ("x", "FP32", [2, 2], raw)])
    assert ask(body, headers).feed.tensors[1].tobytes() == raw


@pytest.mark.parametrize("deep", [b"[" * 10**6, b"[" * 10**6 + b"]" * 10**6, b'{"a":' * 10**6])
def test_what_is_nested_a_million_deep_is_refused(deep: bytes) -> None:
    around = b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": '
    for body in (deep, around + deep, around + deep + b"}]}"):
        with pytest.raises(InvalidRows):
            ask(body)


@pytest.mark.parametrize(
    "text",
    ["", " ", "null", "3", "[]", "{}", "{", "\ufeff{}", "\ufeff", '{"inputs": null}',
     '{"inputs": [null]}', '{"inputs": [{}]}', '{"inputs": [], "id": 3}', '{"inputs": []}',
     '{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [NaN, 1]}]}',
     '{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [Infinity, 1]}]}',
     '{"inputs": [{"name": "\\ud800", "datatype": "FP32", "shape": [1], "data": [1]}]}'],
)  # fmt: skip
def test_what_is_no_request_is_refused(text: str) -> None:
    with pytest.raises(InvalidRows):
        ask(text.encode())


def test_a_body_may_begin_with_a_byte_order_mark() -> None:
    body = b"\xef\xbb\xbf" + json.dumps({"inputs": described()}).encode()
    same(ask(body).feed, ask({"inputs": described()}).feed)


def test_names_of_models_in_a_request_are_ignored() -> None:
    ask({"inputs": described(), "model_name": "another", "model_version": "3"})


# -- fuzz

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)
parameters = st.dictionaries(
    st.sampled_from(
        ["binary_data_size", "binary_data", "binary_data_output", "timeout", "priority",
         "classification", "other"]
    ),
    scalars,
    max_size=2,
)  # fmt: skip
numbers = st.none() | st.integers(-3, 300) | st.floats(-9, 9) | st.just(1e39)


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Any]:
    """Requests that are nearly well formed."""
    inputs = described(draw(st.integers(1, 3)))
    for _ in range(draw(st.integers(0, 2))):
        each = draw(st.sampled_from(inputs))
        key = draw(st.sampled_from(["name", "datatype", "shape", "data", "parameters", "more"]))
        each[key] = draw(
            {
                "name": st.sampled_from([i.name for i in INPUTS]),
                "datatype": st.sampled_from(list(Datatype)),
                "shape": st.lists(st.integers(-1, 4) | st.integers(), max_size=3),
                "data": st.lists(numbers, max_size=6) | st.lists(st.lists(numbers), max_size=3),
                "parameters": parameters,
            }.get(key, anything)
            | anything
        )
    request: dict[str, Any] = {"inputs": inputs}
    if draw(st.booleans()):
        names = st.sampled_from(["y", "label", "other"])
        output = st.fixed_dictionaries({"name": names}, optional={"parameters": parameters})
        request["outputs"] = draw(st.lists(output, max_size=2))
    if draw(st.booleans()):
        request["parameters"] = draw(parameters)
    return request


def answered_or_refused(body: bytes, headers: dict[str, str]) -> None:
    try:
        question = ask(body, headers)
    except PellucidError:
        return
    rows = question.feed.rows
    outputs = [np.zeros((rows, 2), np.float32), np.array(["a"] * rows, dtype=object)]
    reply = CODEC.encode(ALL, question, outputs, 0)
    assert reply.status == 200
    length = dict(reply.headers).get(LENGTH.lower().encode())
    json.loads(reply.body[: int(length)] if length else reply.body)


@settings(max_examples=300)
@given(requests(), st.none() | st.integers(-3, 2000), st.binary(max_size=40))
def test_nearly_any_request_is_answered_or_refused(
    request: dict[str, Any], length: int | None, tail: bytes
) -> None:
    text = json.dumps(request).encode()
    answered_or_refused(text, {})
    answered_or_refused(text + tail, {LENGTH: str(len(text) if length is None else length)})


@settings(max_examples=200)
@given(st.binary(max_size=200), st.text(max_size=12))
def test_any_bytes_are_answered_or_refused(body: bytes, length: str) -> None:
    answered_or_refused(body, {})
    answered_or_refused(body, {LENGTH: length.encode("latin-1", "replace").decode("latin-1")})


@settings(max_examples=200)
@given(st.data())
def test_a_request_with_a_few_changed_bytes_is_answered_or_refused(data: st.DataObject) -> None:
    headers, body = binary(in_bytes(described()), all_binary=True)
    changed = bytearray(body)
    for _ in range(data.draw(st.integers(1, 3))):
        changed[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    answered_or_refused(bytes(changed), headers)


@settings(max_examples=300)
@given(requests())
@example({"inputs": described()})
def test_the_quick_and_the_careful_reader_agree(request: dict[str, Any]) -> None:
    try:
        parsed = messages.parse(json.dumps(request).encode())
        data = messages.binary_data(parsed.inputs, memoryview(b""))
    except PellucidError:
        return
    for each in INPUTS:  # one at a time: then what the quick one leaves out hides nothing
        model = served((each,))
        parsed_one = messages.Request([given for given in parsed.inputs if given.name == each.name])
        quick = CODEC._quick(parsed_one, data, model.model.manifest)
        if quick is not None:
            careful = CODEC._careful(parsed_one, data, model)
            same(model.layout.pack(quick), model.layout.pack(careful))


@settings(max_examples=300)
@given(requests(), st.sampled_from([(2,), (-1,), (2, -1)]))
@example({"inputs": described()}, (2,))
@example({"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 0], "data": []}]}, (-1,))
def test_one_input_is_read_at_once_as_the_careful_reader_reads_it(
    request: dict[str, Any], shape: tuple[int, ...]
) -> None:
    only = Input(name="x", kind=Kind.TENSOR, datatype=Datatype.FP32, shape=shape)
    model = served((only,))
    text = dumped({"inputs": [each for each in request["inputs"] if each.get("name") == "x"]})
    reader = tensors._one_input(model)
    assert reader is not None
    try:
        feed, _ = reader.read(text, 50)
    except (ValueError, OverflowError):
        return
    same(feed, model.layout.pack(CODEC._careful(messages.parse(text), {}, model)))


def test_memory_does_not_grow() -> None:
    headers, body = binary(in_bytes(described()), all_binary=True)
    text = json.dumps({"inputs": described()}).encode()

    def some(times: int) -> None:
        for number in range(times):
            answered_or_refused(body, headers)
            answered_or_refused(text, {})
            answered_or_refused(text[: number % len(text)], {LENGTH: str(number)})
            answered_or_refused(body[:-1] + bytes([number % 256]), headers)

    some(50)
    tracemalloc.start()
    try:
        some(50)
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        some(500)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 50_000


def test_values_are_shown_short() -> None:
    assert len(shown(["x" * 10**6] * 10)) <= 60


@pytest.mark.parametrize(
    ("parameters", "header", "timeout", "priority"),
    [
        ({}, None, None, 0),
        ({"timeout": 0, "priority": 0}, None, None, 0),
        ({"timeout": 1500}, None, 0.0015, 0),
        ({"timeout": 1500}, "1", 0.001, 0),
        ({"timeout": 1500}, "2", 0.0015, 0),
        ({}, "2.5", 0.0025, 0),
        ({"priority": 1}, None, None, -9),
        ({"priority": 10}, None, None, 0),
        ({"priority": 11}, None, None, 1),
    ],
)
def test_timeout_and_priority(
    parameters: dict[str, int], header: str | None, timeout: float | None, priority: int
) -> None:
    headers = {"X-Request-Timeout-Ms": header} if header else {}
    question = ask({"inputs": described(), "parameters": parameters}, headers)
    assert (question.timeout, question.priority) == (timeout, priority)
