"""Arrays (rows, ...) as Arrow columns: numbers, lists, or bytes with a shape.

Up to 16 numbers a row are a list, which any reader of the files understands. What has more of them,
or more axes, and is of one shape is *packed*: its bytes, little-endian and row-major, as one value
of fixed size, with the shape told once, in the field's metadata. Writing a list costs about 6 ns a
number in Parquet alone, packing a tenth of that. `unpacked` turns packed columns into lists, or
into structs of shape and data, as arrays of any shape are written: `PredictionLog` does.
"""

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pellucid.bundle import Datatype

Values = NDArray[Any]
_SHORT_LIST = 16  # numbers; a longer vector is packed,
_LONGEST_LIST = 1024  # and still longer it is read as bytes, too
ELEMENTS = {
    Datatype.BOOL: pa.bool_(),
    Datatype.UINT8: pa.uint8(),
    Datatype.UINT16: pa.uint16(),
    Datatype.UINT32: pa.uint32(),
    Datatype.UINT64: pa.uint64(),
    Datatype.INT8: pa.int8(),
    Datatype.INT16: pa.int16(),
    Datatype.INT32: pa.int32(),
    Datatype.INT64: pa.int64(),
    Datatype.FP16: pa.float16(),
    Datatype.BF16: pa.float32(),  # Arrow has no bfloat16
    Datatype.FP32: pa.float32(),
    Datatype.FP64: pa.float64(),
    Datatype.BYTES: pa.string(),
}
_PACKED: dict[Datatype, np.dtype[Any]] = {
    datatype: np.dtype(element.to_pandas_dtype()).newbyteorder("<")
    for datatype, element in ELEMENTS.items()
    if datatype not in (Datatype.BF16, Datatype.BYTES)
}


@dataclass(frozen=True)
class Column:
    """One input or output."""

    field: pa.Field
    convert: Callable[[Values], pa.Array]  # (rows, ...) to one value per row


def written(name: str, datatype: Datatype, shape: Sequence[int]) -> Column:
    """How arrays (rows, *shape) are written; -1 is an axis of any length."""
    size = math.prod(shape)
    plain = len(shape) <= 1 and size <= _SHORT_LIST
    if plain or min(shape) < 1 or datatype not in _PACKED:
        return _readable(name, datatype, shape)
    dtype = _PACKED[datatype]
    kind = pa.binary(size * dtype.itemsize)

    def pack(values: Values) -> pa.Array:
        if values.shape[1:] != tuple(shape):
            raise ValueError(f"{name} has the shape {values.shape[1:]}, not {tuple(shape)}")
        content = np.ascontiguousarray(values, dtype).reshape(-1)
        return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(content)])

    told = {"datatype": datatype.value, "packed": ",".join(map(str, shape))}
    return Column(pa.field(name, kind, metadata=told), pack)


def unpacked_schema(schema: pa.Schema) -> pa.Schema:
    """A schema whose structs have no packed fields."""
    fields = [_unpacked_struct(field) if _structs(field) else field for field in schema]
    return pa.schema(fields, schema.metadata)


def unpacked(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Rows as `unpacked_schema` has them; vectors are not copied."""
    schema = unpacked_schema(batch.schema)
    columns = [
        column if field.type == column.type else _unpack(column, field)
        for column, field in zip(batch.columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _structs(field: pa.Field) -> bool:
    return bool(pa.types.is_struct(field.type))


def _unpacked_struct(field: pa.Field) -> pa.Field:
    held = [_column(each).field if _is_packed(each) else each for each in field.type]
    return field.with_type(pa.struct(held))


def _unpack(structs: pa.StructArray, wanted: pa.Field) -> pa.Array:
    made = []
    for position, field in enumerate(structs.type):
        values = structs.field(position)
        if _is_packed(field):
            datatype, shape = _told(field)
            dtype, size = _PACKED[datatype], math.prod(shape)
            start = field.type.byte_width * values.offset
            flat = np.frombuffer(values.buffers()[1], dtype, size * len(values), start)
            values = _column(field).convert(flat.reshape(len(values), *shape))
        made.append(values)
    return pa.StructArray.from_arrays(made, fields=list(wanted.type))


def _is_packed(field: pa.Field) -> bool:
    return b"packed" in (field.metadata or {})


def _told(field: pa.Field) -> tuple[Datatype, tuple[int, ...]]:
    shape = tuple(map(int, field.metadata[b"packed"].split(b",")))
    return Datatype(field.metadata[b"datatype"].decode()), shape


def _column(packed: pa.Field) -> Column:
    return _readable(packed.name, *_told(packed))


def _readable(name: str, datatype: Datatype, shape: Sequence[int]) -> Column:
    """A column of numbers, lists, or structs of shape and data."""
    element = ELEMENTS[datatype]

    def flat(values: Values) -> pa.Array:
        return _elements(values, datatype)

    if not shape:
        return Column(pa.field(name, element), flat)
    if len(shape) == 1 and shape[0] <= _LONGEST_LIST:
        return Column(pa.field(name, pa.list_(element)), lambda values: _lists(values, flat))
    data = pa.list_(pa.string()) if datatype is Datatype.BYTES else pa.binary()
    kind = pa.struct([("shape", pa.list_(pa.int32())), ("data", data)])
    field = pa.field(name, kind, metadata={"datatype": datatype.value})
    return Column(field, lambda values: _structured(values, flat, kind))


def texts(values: Values) -> pa.Array:
    """Strings, or bytes in UTF-8; what is none is replaced, never refused."""
    try:
        return pa.array(values, pa.string())
    except (pa.ArrowException, UnicodeError):  # bytes that are no UTF-8, halves of surrogate pairs
        return pa.array([_text(value) for value in values], pa.string())


def _text(value: Any) -> str:
    content = value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")
    return content.decode("utf-8", "replace")


def _elements(values: Values, datatype: Datatype) -> pa.Array:
    flat = values.reshape(-1)
    if datatype is Datatype.BYTES:
        return texts(flat)
    if datatype is Datatype.BF16:
        return pa.array(flat.astype(np.float32))
    return pa.array(flat, ELEMENTS[datatype])


def offsets(ends: Values) -> pa.Array:
    """Where lists begin and end, from where each ends, (rows,)."""
    return pa.array(np.concatenate([[0], ends]).astype(np.int32))


def _lists(values: Values, flat: Callable[[Values], pa.Array]) -> pa.Array:
    ends = np.arange(1, len(values) + 1) * values.shape[1]
    return pa.ListArray.from_arrays(offsets(ends), flat(values))


def _structured(
    values: Values, flat: Callable[[Values], pa.Array], kind: pa.StructType
) -> pa.Array:
    """Arrays of one shape (rows, *shape) as structs of shape and data."""
    rows = len(values)
    shapes = np.tile(np.array(values.shape[1:], np.int32), (rows, 1))
    content = np.ascontiguousarray(values).reshape(rows, -1)
    if pa.types.is_list(kind.field("data").type):
        data = _lists(content, flat)
    else:
        if sys.byteorder == "big":
            content = content.astype(content.dtype.newbyteorder("<"))
        ends = np.arange(1, rows + 1) * (content.nbytes // max(rows, 1))
        buffers = [None, offsets(ends).buffers()[1], pa.py_buffer(content.view(np.uint8))]
        data = pa.Array.from_buffers(pa.binary(), rows, buffers)
    lists = _lists(shapes, lambda each: pa.array(each.reshape(-1)))
    return pa.StructArray.from_arrays([lists, data], fields=list(kind))
