"""Damaged CSV and Arrow bodies: read, or refused with an error of ours; nothing else."""

from contextlib import suppress
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from pellucid.bundle import Datatype, Input
from pellucid.errors import PellucidError
from pellucid.schema import Kind
from pellucid_api.engine.delimited import read_csv
from pellucid_api.engine.streams import read_stream, write_stream
from pellucid_api.engine.tables import decode_table
from support.serving import INPUTS

TENSORS = (
    Input(name="x", kind=Kind.TENSOR, datatype=Datatype.FP32, shape=(2, -1)),
    Input(name="n", kind=Kind.TENSOR, datatype=Datatype.INT8),
)
TABLES = (
    (
        INPUTS,
        pa.table(
            {
                "age": [1.5, None],
                "owner": [True, None],
                "since": [datetime(2024, 5, 31, tzinfo=UTC), None],
                "purpose": pa.array(["car", None]).dictionary_encode(),
            }
        ),
    ),
    (
        TENSORS,
        pa.table({"x": [[[1.0], [2.0]], [[3.0], [4.0]]], "n": pa.array([1, 2], pa.int8())}),
    ),
)
CSVS = (
    (INPUTS, b'age,owner,since,purpose\n1.5,true,2024-05-31,"ca""r"\n,,,\n'),
    (TENSORS, b'x,n\n"[[1],[2]]",1\n"[[3],[4]]",2\n'),
)
DAMAGE = st.lists(
    st.tuples(st.integers(0, 4095), st.binary(max_size=9), st.integers(0, 9)), max_size=6
)


def damaged(body: bytes, damage: list[tuple[int, bytes, int]]) -> bytes:
    """Bytes replaced, put in and left out."""
    for place, content, cut in damage:
        start = place % len(body) if body else 0
        body = body[:start] + content + body[start + cut :]
    return body


@settings(max_examples=400)
@given(st.sampled_from(TABLES), DAMAGE, st.booleans())
def test_arrow_streams(case, damage, same_length):
    inputs, table = case
    if same_length:
        damage = [(place, content, len(content)) for place, content, _ in damage]
    with suppress(PellucidError):
        found = read_stream(damaged(write_stream(table), damage))
        arrays = decode_table(found, inputs, 1000)
        assert {name: len(array) for name, array in arrays.items()} == {
            each.name: found.num_rows for each in inputs
        }


@settings(max_examples=400)
@given(st.sampled_from(CSVS), DAMAGE)
def test_csv(case, damage):
    inputs, body = case
    with suppress(PellucidError):
        found = read_csv(damaged(body, damage), [each.name for each in inputs])
        arrays = decode_table(found, inputs, 1000, text=True)
        assert all(isinstance(array, np.ndarray) for array in arrays.values())


@given(st.binary(max_size=200))
def test_anything(body):
    for read in (read_stream, lambda given: read_csv(given, ["age"])):
        with suppress(PellucidError):
            read(body)
