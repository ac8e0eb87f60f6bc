"""A version's rows in the log: which Arrow columns, and how arrays become them.

Missing values are null, whatever stands for them in the model's tensors. A number, string, boolean
or time has the type that it has in the data set; a short vector is a list. An image, or any other
array, is its bytes (little-endian, row-major) with its shape. Redacted columns are left out.
"""

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pellucid.bundle import Datatype, Input, Output
from pellucid.monitoring import ids
from pellucid.schema import Kind

Values = NDArray[Any]
TIME = pa.timestamp("us", tz="UTC")
COMMON = (
    pa.field("id", ids.TYPE),
    pa.field("time", TIME),
    pa.field("model", pa.string()),
    pa.field("version", pa.int32()),
    pa.field("latency_ms", pa.float32()),
)
_LONGEST_LIST = 1024  # numbers; a longer vector is recorded as its bytes
_ELEMENTS = {
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


@dataclass(frozen=True)
class Column:
    """One input or output."""

    field: pa.Field
    convert: Callable[[Values], pa.Array]  # (rows, ...) to one value per row

    @classmethod
    def of_input(cls, spec: Input) -> "Column":
        """An input: scalars by kind, sequences and tokens without what fills them up."""
        if spec.scalar:
            kind, convert = _SCALARS[spec.kind]
            return cls(pa.field(spec.name, kind), convert)
        if spec.kind is Kind.SEQUENCE:
            return cls(pa.field(spec.name, pa.list_(pa.float64())), _steps)
        if spec.kind is Kind.TEXT:
            return cls(pa.field(spec.name, pa.list_(pa.int32())), _tokens)
        return cls._of_array(spec.name, spec.datatype, spec.shape)

    @classmethod
    def of_output(cls, spec: Output) -> "Column":
        """An output."""
        return cls._of_array(spec.name, spec.datatype, spec.shape[1:])

    @classmethod
    def _of_array(cls, name: str, datatype: Datatype, shape: Sequence[int]) -> "Column":
        element = _ELEMENTS[datatype]

        def flat(values: Values) -> pa.Array:
            return _elements(values, datatype)

        if not shape:
            return cls(pa.field(name, element), flat)
        if len(shape) == 1 and shape[0] <= _LONGEST_LIST:
            return cls(pa.field(name, pa.list_(element)), lambda values: _lists(values, flat))
        data = pa.list_(pa.string()) if datatype is Datatype.BYTES else pa.binary()
        kind = pa.struct([("shape", pa.list_(pa.int32())), ("data", data)])
        field = pa.field(name, kind, metadata={"datatype": datatype.value})
        return cls(field, lambda values: _arrays(values, flat, kind))


class Columns:
    """The columns of one version.

    Args:
        inputs: as in its manifest, and so are the outputs.
        redacted: names of inputs that are not recorded.
    """

    def __init__(
        self,
        model: str,
        version: int,
        inputs: Sequence[Input],
        outputs: Sequence[Output],
        redacted: Collection[str] = (),
    ) -> None:
        self._model, self._version = model, version
        self._inputs = [Column.of_input(each) for each in inputs if each.name not in redacted]
        self._outputs = [Column.of_output(each) for each in outputs]
        groups = (("inputs", self._inputs), ("outputs", self._outputs))
        structs = [  # Parquet knows no struct without fields
            pa.field(name, pa.struct([column.field for column in columns]))
            for name, columns in groups
            if columns
        ]
        self.schema = pa.schema([*COMMON, *structs], {"version": str(version)})

    def batch(
        self,
        words: ids.Words,
        times: NDArray[np.int64],
        latencies: NDArray[np.float32],
        inputs: Mapping[str, Values],
        outputs: Mapping[str, Values],
    ) -> pa.RecordBatch:
        """The rows as Arrow.

        Args:
            words: ids, (rows, 2).
            times: when each row's request came, microseconds since 1970-01-01 UTC, (rows,).
            latencies: until it was answered, milliseconds, (rows,).
            inputs: one array (rows, ...) each, as the graph takes them, and so are the outputs.
        """
        rows = len(words)
        arrays = [
            ids.to_arrow(words),
            pa.array(times).cast(TIME),
            pa.repeat(self._model, rows),
            pa.repeat(pa.scalar(self._version, pa.int32()), rows),
            pa.array(latencies, pa.float32()),
        ]
        for columns, given in ((self._inputs, inputs), (self._outputs, outputs)):
            if columns:
                made = [each.convert(given[each.field.name]) for each in columns]
                fields = [each.field for each in columns]
                arrays.append(pa.StructArray.from_arrays(made, fields=fields))
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


def _numbers(values: Values) -> pa.Array:
    return pa.array(values, pa.float64(), from_pandas=True)  # NaN becomes null


def _booleans(values: Values) -> pa.Array:
    return pa.array(values != 0, pa.bool_(), mask=np.isnan(values))


def _times(values: Values) -> pa.Array:
    missing = ~np.isfinite(values)
    microseconds = np.where(missing, 0, np.rint(values * 1e6)).astype(np.int64)
    return pa.array(microseconds, mask=missing).cast(TIME)


def _categories(values: Values) -> pa.Array:
    texts = _texts(values)
    return pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)


def _texts(values: Values) -> pa.Array:
    try:
        return pa.array(values, pa.string())
    except (pa.ArrowException, UnicodeError):  # bytes that are no UTF-8, halves of surrogate pairs
        return pa.array([_readable(value) for value in values], pa.string())


def _readable(value: Any) -> str:
    content = value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")
    return content.decode("utf-8", "replace")


def _elements(values: Values, datatype: Datatype) -> pa.Array:
    flat = values.reshape(-1)
    if datatype is Datatype.BYTES:
        return _texts(flat)
    if datatype is Datatype.BF16:
        return pa.array(flat.astype(np.float32))
    return pa.array(flat, _ELEMENTS[datatype])


def _offsets(ends: Values) -> pa.Array:
    return pa.array(np.concatenate([[0], ends]).astype(np.int32))


def _lists(values: Values, flat: Callable[[Values], pa.Array]) -> pa.Array:
    ends = np.arange(1, len(values) + 1) * values.shape[1]
    return pa.ListArray.from_arrays(_offsets(ends), flat(values))


def _arrays(values: Values, flat: Callable[[Values], pa.Array], kind: pa.StructType) -> pa.Array:
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
        buffers = [None, _offsets(ends).buffers()[1], pa.py_buffer(content.view(np.uint8))]
        data = pa.Array.from_buffers(pa.binary(), rows, buffers)
    lists = _lists(shapes, lambda each: pa.array(each.reshape(-1)))
    return pa.StructArray.from_arrays([lists, data], fields=list(kind))


def _steps(values: Values) -> pa.Array:
    return _shortened(values, ~np.isnan(values), _numbers)


def _tokens(values: Values) -> pa.Array:
    return _shortened(values, values != 0, lambda each: pa.array(each, pa.int32()))


def _shortened(
    values: Values, known: NDArray[np.bool_], convert: Callable[[Values], pa.Array]
) -> pa.Array:
    """Rows (rows, steps) as lists that end with their last known step."""
    steps = values.shape[1]
    lengths = np.where(known.any(axis=1), steps - known[:, ::-1].argmax(axis=1), 0)
    taken = values[np.arange(steps) < lengths[:, None]]
    return pa.ListArray.from_arrays(_offsets(np.cumsum(lengths)), convert(taken))


_SCALARS: dict[Kind, tuple[pa.DataType, Callable[[Values], pa.Array]]] = {
    Kind.NUMERIC: (pa.float64(), _numbers),
    Kind.BOOLEAN: (pa.bool_(), _booleans),
    Kind.DATETIME: (TIME, _times),
    Kind.CATEGORICAL: (pa.string(), _categories),
}
