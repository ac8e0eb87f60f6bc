"""Whatever comes in, what goes out is HTTP, and never our fault."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support.serving import ROW
from support.wire import GET, request, wire

PREDICT, INFER = "/v1/models/credit/predict", "/v2/models/credit/infer"
_settings = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
BODY = json.dumps([ROW]).encode()
TENSORS = {
    "inputs": [
        {"name": "age", "shape": [1], "datatype": "FP64", "data": [41]},
        {"name": "owner", "shape": [1], "datatype": "BOOL", "data": [True]},
        {"name": "since", "shape": [1], "datatype": "FP64", "data": [1.7e9]},
        {"name": "purpose", "shape": [1], "datatype": "BYTES", "data": ["car"]},
    ]
}
FINITE = st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | st.integers() | FINITE | st.text()
documents = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)
names = st.sampled_from(["name", "shape", "datatype", "data", "parameters"])


@st.composite
def damaged(draw):
    """Requests with some bytes replaced, left out or put in."""
    data = draw(st.sampled_from([request(PREDICT, BODY), GET, request(PREDICT, BODY) + GET]))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(data)))
        end = draw(st.integers(start, min(len(data), start + 8)))
        data = data[:start] + draw(st.binary(max_size=8)) + data[end:]
    return data


@_settings
@given(data=damaged(), cut=st.integers(0, 400))
def test_damaged_requests_get_an_answer_or_none(credit, data, cut):
    with wire(credit) as raw:
        raw.send(data[:cut], data[cut:])
        raw.leave()
        statuses = [status for status, _, _ in raw.rest()]
    assert all(status in (200, 400, 404, 405, 408, 413, 415, 422, 431) for status in statuses)
    assert credit.get("/health/live").status_code == 200


@_settings
@given(content=documents)
@pytest.mark.parametrize("path", [PREDICT, INFER])
def test_any_json_is_a_question_or_a_mistake(credit, path, content):
    response = credit.post(path, json=content)
    assert response.status_code in (400, 422), response.text


@_settings
@given(column=st.sampled_from(sorted(ROW)), value=documents)
def test_any_value_in_a_row_is_answered_or_refused(credit, column, value):
    response = credit.post(PREDICT, json=[ROW | {column: value}])
    assert response.status_code in (200, 422), response.text


@_settings
@given(place=st.integers(0, 3), name=names, value=documents)
def test_any_value_in_a_tensor_is_answered_or_refused(credit, place, name, value):
    inputs = [dict(each) for each in TENSORS["inputs"]]
    inputs[place][name] = value
    response = credit.post(INFER, json={"inputs": inputs})
    assert response.status_code in (200, 400), response.text


@_settings
@given(body=st.binary(max_size=64))
@pytest.mark.parametrize("path", [PREDICT, INFER])
def test_any_bytes_are_a_mistake(credit, path, body):
    response = credit.post(path, content=body, headers={"content-type": "application/json"})
    assert response.status_code in (400, 422), response.text
