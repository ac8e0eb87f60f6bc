"""The digest knows every cell, name, type and order, and nothing of the layout."""

import hashlib
import json
from datetime import UTC, datetime
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pellucid.datasets.content import ARROW_TYPES, ContentHash, content_hash

CELLS = {
    "int64": st.integers(-(2**63), 2**63 - 1),
    "float64": st.floats(allow_nan=False, allow_infinity=False),
    "bool": st.booleans(),
    "timestamp[us]": st.datetimes(timezones=st.just(UTC)),
    "string": st.text(st.characters(codec="utf-8")),
    "binary": st.binary(max_size=9),
    "list<float64>": st.lists(
        st.none() | st.floats(allow_nan=False, allow_infinity=False), max_size=4
    ),
}
TYPES = {storage.value: arrow for storage, arrow in ARROW_TYPES.items()}


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    rows = draw(st.integers(1, 6))
    kinds = draw(st.lists(st.sampled_from(sorted(CELLS)), min_size=1, max_size=4))
    columns = [
        pa.array(draw(st.lists(st.none() | CELLS[kind], min_size=rows, max_size=rows)), TYPES[kind])
        for kind in kinds
    ]
    return pa.table(columns, names=[f"c{i}" for i in range(len(kinds))])


@given(tables(), st.lists(st.integers(0, 6)))
def test_the_layout_leaves_no_trace(table: pa.Table, cuts: list[int]) -> None:
    bounds = sorted({0, table.num_rows, *(min(cut, table.num_rows) for cut in cuts)})
    pieces = [table.slice(a, b - a) for a, b in pairwise(bounds)]
    digest = ContentHash(table.schema)
    for piece in pieces:
        for batch in piece.to_batches():
            digest.update(batch)
    assert digest.hexdigest() == content_hash(table)


@given(tables(), st.data())
def test_one_changed_cell_changes_it(table: pa.Table, data: st.DataObject) -> None:
    column = data.draw(st.integers(0, table.num_columns - 1))
    row = data.draw(st.integers(0, table.num_rows - 1))
    kind = next(k for k, t in TYPES.items() if t == table.schema.field(column).type)
    values = table.column(column).to_pylist()
    new = data.draw(st.none() | CELLS[kind])
    assume(new != values[row])
    values[row] = new
    changed = table.set_column(
        column, table.schema.field(column), pa.array(values, table.schema.field(column).type)
    )
    assert content_hash(changed) != content_hash(table)


@given(tables())
def test_the_order_of_rows_and_columns_counts(table: pa.Table) -> None:
    backwards = table.take(list(range(table.num_rows))[::-1])
    if backwards.to_pylist() != table.to_pylist():
        assert content_hash(backwards) != content_hash(table)
    swapped = table.select(table.column_names[::-1])
    if table.num_columns > 1:
        assert content_hash(swapped) != content_hash(table)


def test_names_and_types_count() -> None:
    table = pa.table({"a": pa.array([0, 1])})
    renamed = table.rename_columns(["b"])
    as_float = table.cast(pa.schema([("a", pa.float64())]))
    assert len({content_hash(t) for t in (table, renamed, as_float)}) == 3


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ([None, "a"], ["", "a"]),
        (["ab", "c"], ["a", "bc"]),
        (["", None], [None, ""]),
        ([None], [0]),
        ([None], [0.0]),
        ([None], [False]),
        ([0.0], [-0.0]),
        ([None, 0], [0, None]),
        ([None], [datetime(1970, 1, 1, tzinfo=UTC)]),
        ([None, b"a"], [b"", b"a"]),
        ([b"ab", b"c"], [b"a", b"bc"]),
        ([[1.0, 2.0], [3.0]], [[1.0], [2.0, 3.0]]),
        ([None, [1.0]], [[], [1.0]]),
        ([[None], [1.0]], [[], [1.0]]),
        ([[None]], [[0.0]]),
        ([[0.0]], [[-0.0]]),
    ],
)
def test_near_misses_differ(left: list[object], right: list[object]) -> None:
    kind = pa.array(right + [r for r in left if r is not None]).type
    kind = pa.timestamp("us", tz="UTC") if pa.types.is_timestamp(kind) else kind
    kind = pa.large_binary() if pa.types.is_binary(kind) else kind
    digests = [content_hash(pa.table({"a": pa.array(v, kind)})) for v in (left, right)]
    assert digests[0] != digests[1]


def test_the_documented_format_in_plain_python() -> None:
    table = pa.table({"n": pa.array([1, None], pa.int64()), "s": ["é", None]})
    header = json.dumps(
        {"rows": 2, "columns": [["n", "int64"], ["s", "string"]]}, separators=(",", ":")
    )
    streams = [
        b"\x01\x00",
        np.array([1, 0], "<i8").tobytes(),
        np.array([2, -1], "<i8").tobytes(),
        "é".encode(),
    ]
    whole = b"pellucid content 1\n" + header.encode() + b"\n"
    whole += b"".join(hashlib.sha256(stream).digest() for stream in streams)
    assert content_hash(table) == hashlib.sha256(whole).hexdigest()


def test_the_documented_format_of_images_and_lists() -> None:
    table = pa.table(
        {
            "i": pa.array([b"xyz", None, b""], pa.large_binary()),
            "l": pa.array([[1.5, None], None, []], pa.list_(pa.float64())),
        }
    )
    header = {"rows": 3, "columns": [["i", "binary"], ["l", "list<float64>"]]}
    streams = [
        np.array([3, -1, 0], "<i8").tobytes(),
        b"xyz",
        np.array([2, -1, 0], "<i8").tobytes(),
        np.array([1.5], "<f8").tobytes() + bytes.fromhex("000000000000f87f"),
    ]
    whole = b"pellucid content 1\n" + json.dumps(header, separators=(",", ":")).encode() + b"\n"
    whole += b"".join(hashlib.sha256(stream).digest() for stream in streams)
    assert content_hash(table) == hashlib.sha256(whole).hexdigest()


def test_digests_of_scalars_are_those_of_the_first_release() -> None:
    table = pa.table(
        {"n": pa.array([1, None]), "x": [0.5, -0.0], "s": ["é", ""], "b": [True, None]}
    )
    assert content_hash(table) == "ce155cfb676a3669a124b7c07c081b231c05c7e7764c209175be5e2e5bc96abb"


def test_what_a_list_calls_its_elements_is_no_matter() -> None:
    kinds = (pa.list_(pa.float64()), pa.list_(pa.field("element", pa.float64())))
    assert len({content_hash(pa.table({"l": pa.array([[1.0]], kind)})) for kind in kinds}) == 1


def test_every_nan_in_a_list_is_the_same() -> None:
    other = np.array([0x7FF8000000000001], np.uint64).view(np.float64)
    tables = [pa.table({"l": pa.array([v], pa.list_(pa.float64()))}) for v in (other, [None])]
    assert content_hash(tables[0]) == content_hash(tables[1])
