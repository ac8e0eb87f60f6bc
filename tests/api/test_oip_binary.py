"""Tensors as bytes: what goes out comes back, and what is no tensor is refused by name."""

import struct
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pellucid.errors import InvalidRows
from pellucid_api.engine.datatypes import DTYPES
from pellucid_api.oip.binary import from_array, to_array
from pellucid_api.oip.classification import classified

NUMBERS = [each.value for each in DTYPES if each != "BYTES"]


@pytest.mark.parametrize("datatype", NUMBERS)
@given(data=st.data())
def test_numbers_come_back(datatype: str, data: Any) -> None:
    dtype = DTYPES[datatype]
    bits = np.dtype(f"u{dtype.itemsize}")  # also NaN, infinities and subnormal numbers
    given = data.draw(arrays.arrays(bits, arrays.array_shapes(max_dims=4)))
    array = given.astype(bool) if datatype == "BOOL" else given.view(dtype)
    raw = from_array(array, datatype)
    found = to_array(raw, datatype, array.shape)
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert found.tobytes() == array.tobytes() == raw
    shifted = to_array(memoryview(b"-" + raw)[1:], datatype, array.shape)
    assert shifted.tobytes() == raw
    assert shifted.flags.aligned


@given(st.lists(st.binary(max_size=9) | st.text(max_size=5), min_size=1))
def test_strings_come_back(texts: list[Any]) -> None:
    array = np.empty(len(texts), dtype=object)
    array[:] = texts
    found = to_array(from_array(array, "BYTES"), "BYTES", [len(texts), 1])
    assert found.shape == (len(texts), 1)
    assert found.ravel().tolist() == [t if isinstance(t, bytes) else t.encode() for t in texts]


def test_numbers_are_little_endian_and_in_rows() -> None:
    assert to_array(struct.pack("<4i", 1, 2, 3, 4), "INT32", [2, 2]).tolist() == [[1, 2], [3, 4]]
    assert from_array(np.array([[1, 2], [3, 4]]).T, "INT16") == struct.pack("<4h", 1, 3, 2, 4)
    assert from_array(np.array([1.0], np.float32), "BF16") == b"\x80\x3f"
    assert to_array(b"\x80\x3f", "BF16", [1]).dtype == ml_dtypes.bfloat16


def test_numbers_are_not_copied() -> None:
    raw = np.arange(6, dtype=np.float32).tobytes()
    found = to_array(raw, "FP32", [2, 3])
    assert found.base is not None
    assert not found.flags.owndata


@pytest.mark.parametrize(
    ("raw", "datatype", "shape", "said"),
    [
        (b"1234", "FP32", [2], "it has 4 bytes"),
        (b"12345678", "FP32", [1], "takes 4"),
        (b"", "FP32", [1], "it has 0 bytes"),
        (b"", "FP32", [0], "its shape is [0]"),
        (b"", "BYTES", [0], "its shape is [0]"),
        (b"1234", "FP32", [2**62, 4], "takes 73786976294838206464"),
        (b"1234", "FP32", [2**32, 2**32], "takes 73786976294838206464"),
        (b"1234", "BYTES", [2**40], "too few for 1099511627776"),
        (b"1234", "FP32", [-1], "its shape is [-1]"),
        (b"1234", "FP32", [-1, -1], "its shape is [-1, -1]"),
        (b"1234", "FP32", [0, 2**64], "its shape is"),
        (b"1234", "FP32", [1] * 33, "its shape has 33 axes"),
        (b"1234", "FP32", [2**62] * 10**6, "its shape has 1000000 axes"),
        (b"", "FP32", [0, 2**62, 2**62], "its shape is"),
        (b"1234", "FLOAT", [1], "its datatype is FLOAT"),
        (b"1234", "fp32", [1], "its datatype is fp32"),
        (b"\2", "BOOL", [1], "neither 0 nor 1"),
        (b"\5\0\0\0abcd", "BYTES", [1], "element 1 claims 5 bytes, and 4 are left"),
        (b"\xff\xff\xff\xff", "BYTES", [1], "element 1 claims 4294967295 bytes"),
        (b"\0\0\0\0\0\0", "BYTES", [1], "2 bytes follow"),
        (b"\4\0\0\0abcd", "BYTES", [2], "end before element 2 of 2"),
    ],
)
def test_what_is_no_tensor_is_refused(raw: bytes, datatype: str, shape: Any, said: str) -> None:
    with pytest.raises(InvalidRows) as caught:
        to_array(raw, datatype, shape, "x")
    assert caught.value.message.startswith("Input 'x': ")
    assert said in caught.value.message
    assert caught.value.where == {"input": "x"}


@given(
    st.binary(max_size=40),
    st.sampled_from([*DTYPES, "FP8", ""]),
    st.lists(st.integers(-(2**70), 2**70) | st.integers(0, 4), max_size=5),
)
def test_any_bytes_are_a_tensor_or_refused(raw: bytes, datatype: str, shape: list[int]) -> None:
    try:
        found = to_array(raw, datatype, shape)
    except InvalidRows:
        return
    assert list(found.shape) == shape
    assert from_array(found, datatype) == raw


@given(
    arrays.arrays(
        np.float32,
        arrays.array_shapes(min_dims=2, max_dims=3),
        elements=st.floats(-9, 9, width=32) | st.sampled_from([0.5, 1.0]),
    ),
    st.integers(1, 9),
)
def test_classification_gives_the_highest_values_of_each_row(values: Any, count: int) -> None:
    found = classified(values, count, ())
    rows = values.reshape(len(values), -1)
    assert found.shape == (len(rows), min(count, rows.shape[1]))
    for row, texts in zip(rows, found, strict=True):
        order = sorted(range(len(row)), key=lambda i: (-row[i], i))[:count]
        assert texts.tolist() == [f"{row[i]:f}:{i}" for i in order]


def test_classification_of_other_types_and_with_labels() -> None:
    values = np.array([[1, 5, 10, 4]])
    assert classified(values, 2, "abcd").tolist() == [["10:2:c", "5:1:b"]]
    assert classified(values, 2, "abc").tolist() == [["10:2", "5:1"]]
    assert classified(values.astype(np.uint8), 1, ()).tolist() == [["10:2"]]
    brain = values.astype(ml_dtypes.bfloat16)
    assert classified(brain, 1, ()).tolist() == [["10.000000:2"]]
    assert classified(np.array([2.5, 1.5]), 3, ()).tolist() == [["2.500000:0"], ["1.500000:0"]]
