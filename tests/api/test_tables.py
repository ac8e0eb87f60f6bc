"""Arrow tables and CSV to arrays: what a few bytes may stand for, and what they mean exactly."""

import math
import struct
import tracemalloc
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pellucid.bundle import Datatype, Input
from pellucid.errors import InvalidRows, PellucidError, TooLarge
from pellucid.schema import Kind
from pellucid_api.engine.delimited import read_csv
from pellucid_api.engine.streams import read_stream, write_stream
from pellucid_api.engine.tables import decode_table

TIME = Input.of("t", Kind.DATETIME)
WORD = Input.of("w", Kind.CATEGORICAL, ("a",))
NUMBER = Input.of("n", Kind.NUMERIC)
IMAGE = Input.of("i", Kind.IMAGE, shape=(2, 2, 1))
SEQUENCE = Input.of("s", Kind.SEQUENCE, shape=(3,))
FREE = Input(name="x", kind=Kind.TENSOR, datatype=Datatype.FP32, shape=(-1,))
SQUARE = Input(name="x", kind=Kind.TENSOR, datatype=Datatype.FP32, shape=(-1, -1))
STRINGS = Input(name="x", kind=Kind.TENSOR, datatype=Datatype.BYTES, shape=(-1,))


def read(array: Any, each: Input, max_rows: int = 100_000) -> Any:
    """The array of a column that came in a stream."""
    table = pa.table({each.name: array})
    return decode_table(read_stream(write_stream(table)), [each], max_rows)[each.name]


def refusal(array: Any, each: Input) -> str:
    with pytest.raises(PellucidError) as caught:
        read(array, each)
    return str(caught.value)


def views(text: bytes, rows: int, kind: Any) -> Any:
    """So many views of one text."""
    view = struct.pack("<i4sii", len(text), text[:4], 0, 0)
    return pa.Array.from_buffers(kind, rows, [None, pa.py_buffer(view * rows), pa.py_buffer(text)])


@pytest.mark.parametrize("count", [2**20, 2**31 - 1])
@pytest.mark.parametrize("each", [FREE, STRINGS, SEQUENCE, IMAGE], ids=lambda each: each.name)
def test_lists_of_nulls_claim_no_more_than_the_body_can_hold(count: int, each: Input) -> None:
    nulls = pa.nulls(count)
    deep = pa.ListArray.from_arrays([0, 1], pa.FixedSizeListArray.from_arrays(nulls, count))
    for array in (
        pa.ListArray.from_arrays([0, count], nulls),
        pa.FixedSizeListArray.from_arrays(nulls, count),
        deep,
    ):
        body = write_stream(pa.table({each.name: array}))
        assert len(body) < 1000
        tracemalloc.start()
        try:
            with pytest.raises(InvalidRows, match=f"lists hold {count:,} values"):
                read_stream(body)
            assert tracemalloc.get_traced_memory()[1] < 10**6
        finally:
            tracemalloc.stop()


def test_lists_of_a_few_nulls_are_missing_values() -> None:
    found = read(pa.array([[None, None], []], pa.list_(pa.null())), SEQUENCE)
    assert np.isnan(found).all()
    assert found.shape == (2, 3)


@pytest.mark.parametrize(
    "array",
    [
        pa.array([(1, 2, 3)], pa.month_day_nano_interval()),  # of months alone, pyarrow knows none
        pa.array([["a", None]]),
        pa.array([[1.0, 2.0]], pa.list_(pa.float32(), 2)),
        pa.array(["a"]).dictionary_encode(),
        pa.array([datetime(2024, 5, 31)]),
    ],
    ids=lambda array: str(array.type),
)
def test_any_byte_of_a_stream_may_be_another(array: Any) -> None:
    body = write_stream(pa.table({"x": array}))
    for place in range(len(body)):
        for value in (0, 1, 2, 255):
            with suppress(PellucidError):
                read_stream(body[:place] + bytes([value]) + body[place + 1 :])


def test_an_image_is_no_struct_of_nulls() -> None:
    array = pa.StructArray.from_arrays(
        [pa.FixedSizeListArray.from_arrays(pa.nulls(10**9), 10**9)], ["a"]
    )
    assert "the column's type is struct" in refusal(array, IMAGE)
    assert "the column's type is list" in refusal(pa.ListArray.from_arrays([0, 1], array), IMAGE)


@pytest.mark.parametrize(
    ("kind", "each"),
    [(pa.string_view(), WORD), (pa.string_view(), STRINGS), (pa.binary_view(), IMAGE)],
)
def test_views_of_one_long_text_are_counted_each(kind: Any, each: Input) -> None:
    array = views(b"z" * 2**20, 2**10, kind)
    if each is STRINGS:
        array = pa.ListArray.from_arrays([0, 2**10], array)
    with pytest.raises(TooLarge, match=f"{2**30:,} bytes once each row has its own"):
        read(array, each)


def test_views_are_read() -> None:
    texts = ["a long text that is not kept in the view", None, "short"] * 3
    array = pa.array(texts, pa.string_view())
    assert read(array[1:], WORD).tolist() == ["" if t is None else t for t in texts][1:]


def test_dictionaries_with_nulls_and_with_values_that_are_no_strings() -> None:
    for kind in (pa.int8(), pa.uint8(), pa.uint64()):
        array = pa.DictionaryArray.from_arrays(pa.array([1, None, 0], kind), ["a", "b"])
        assert read(array, WORD).tolist() == ["b", "", "a"]
    lists = pa.DictionaryArray.from_arrays(pa.array([0], pa.int8()), pa.array([["a"]]))
    others = pa.DictionaryArray.from_arrays(pa.array([0], pa.int8()), pa.array([["b"]]))
    assert "the column's type is dictionary" in refusal(pa.chunked_array([lists, others]), WORD)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_times_are_exact_whatever_their_unit(unit: str) -> None:
    moment = datetime(2024, 5, 31, 12, 0, 1, tzinfo=UTC)
    found = read(pa.array([moment, None], pa.timestamp(unit, "Europe/Zurich")), TIME)
    assert found[0] == moment.timestamp()
    assert math.isnan(found[1])
    farthest = read(pa.array([2**62, -(2**62)], pa.timestamp(unit)), TIME)
    assert farthest[0] == pytest.approx(2**62 / {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}[unit])
    assert farthest[1] == -farthest[0]


def test_dates_are_their_midnight() -> None:
    day = datetime(1969, 12, 30, tzinfo=UTC)
    for kind in (pa.date32(), pa.date64()):
        assert read(pa.array([day.date()], kind), TIME) == day.timestamp()


def test_a_fixed_size_list_has_the_axes_of_a_free_shape() -> None:
    flat = pa.FixedSizeListArray.from_arrays(pa.array([1.0, 2.0]), 1)
    assert "the column's type is fixed_size_list" in refusal(flat, SQUARE)
    nested = pa.array([[[1.0, 2.0]]], pa.list_(pa.list_(pa.float32()), 1))
    assert read(nested, SQUARE).tolist() == [[[1.0, 2.0]]]


def cells(text: str, each: Input) -> Any:
    return decode_table(read_csv(text.encode(), [each.name]), [each], 1000, text=True)[each.name]


@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize("odd", ["x", "0x10", "1,0", "5\u200b"])
def test_the_first_cell_that_is_no_number_is_named(place: int, odd: str) -> None:
    lines = ["1"] * 5
    lines[place] = f'"{odd}"'
    with pytest.raises(InvalidRows) as caught:
        cells("\n".join(["n", *lines, "also wrong"]), NUMBER)
    assert caught.value.where == {"row": place + 1, "column": "n"}


@pytest.mark.parametrize("odd", ["1e999", "inf", "-Infinity"])
def test_a_cell_that_is_infinite_is_named(odd: str) -> None:
    with pytest.raises(InvalidRows) as caught:
        cells(f"n\n1\n{odd}\n", NUMBER)
    assert caught.value.where == {"row": 2, "column": "n"}


@pytest.mark.parametrize("space", [" ", "\t", "\u00a0", "\x1c", "\x85", "\u3000"])
def test_space_around_a_number_is_none_of_it(space: str) -> None:
    assert cells(f'n\n"{space}5{space}"\n', NUMBER).tolist() == [5.0]


def test_a_header_of_any_length() -> None:
    names = [f"column-{i}" for i in range(20_000)]
    table = read_csv(",".join(names).encode() + b"\n" + b",".join([b"1"] * 20_000), names[-9:])
    assert table.column_names == names
    assert set(table.schema.types) == {pa.string()}
    matrix = {"x": decode_table(table.select(names[:9]), [FREE], 9, text=True)["x"]}
    assert matrix["x"].tolist() == [[1.0] * 9]


def test_lines_may_end_with_a_carriage_return_alone() -> None:
    assert cells("n\r1\r2\r", NUMBER).tolist() == [1.0, 2.0]


def test_a_column_given_thousands_of_times_is_told_once() -> None:
    body = b",".join([b"a"] * 30_000)
    with pytest.raises(InvalidRows) as caught:
        decode_table(read_csv(body + b"\n" + body.replace(b"a", b"1"), []), [FREE], 9, text=True)
    assert str(caught.value) == "The column 'a' is given twice. (column a)"
