"""A version's rows in the log: which Arrow columns, and how arrays become them.

Missing values are null, whatever stands for them in the model's tensors. A number, string, boolean
or time has the type that it has in the data set; `arrays` tells of all others. Redacted columns are
left out.
"""

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pellucid.bundle import Input, Output
from pellucid.monitoring import ids
from pellucid.monitoring.arrays import Column, Values, offsets, texts, written
from pellucid.schema import Kind

TIME = pa.timestamp("us", tz="UTC")
COMMON = (
    pa.field("id", ids.TYPE, nullable=False),
    pa.field("time", TIME, nullable=False),
    pa.field("model", pa.string(), nullable=False),
    pa.field("version", pa.int32(), nullable=False),
    pa.field("latency_ms", pa.float32(), nullable=False),
)


def _input(spec: Input) -> Column:
    """Scalars by kind, sequences and tokens without what fills them up."""
    if spec.scalar:
        kind, convert = _SCALARS[spec.kind]
        return Column(pa.field(spec.name, kind), convert)
    if spec.kind is Kind.SEQUENCE:
        return Column(pa.field(spec.name, pa.list_(pa.float64())), _steps)
    if spec.kind is Kind.TEXT:
        return Column(pa.field(spec.name, pa.list_(pa.int32())), _tokens)
    return written(spec.name, spec.datatype, spec.shape)


def _output(spec: Output) -> Column:
    return written(spec.name, spec.datatype, spec.shape[1:])


class Columns:
    """The columns of one version.

    Args:
        inputs: as in its manifest, and so are the outputs.
        redacted: names of inputs and sensitive columns that are not recorded.
        sensitive: as in its manifest.
    """

    def __init__(
        self,
        model: str,
        version: int,
        inputs: Sequence[Input],
        outputs: Sequence[Output],
        redacted: Collection[str] = (),
        sensitive: Sequence[Input] = (),
    ) -> None:
        self._model, self._version = model, version
        self._inputs = [_input(each) for each in inputs if each.name not in redacted]
        self._outputs = [_output(each) for each in outputs]
        self._sensitive = [_input(each) for each in sensitive if each.name not in redacted]
        groups = (
            ("inputs", self._inputs),
            ("outputs", self._outputs),
            ("sensitive", self._sensitive),
        )
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
        sensitive: Mapping[str, Values] | None = None,
    ) -> pa.RecordBatch:
        """The rows as Arrow.

        Args:
            words: ids, (rows, 2).
            times: when each row's request came, microseconds since 1970-01-01 UTC, (rows,).
            latencies: until it was answered, milliseconds, (rows,).
            inputs: one array (rows, ...) each, as the graph takes them, and so are the outputs.
            sensitive: one array (rows,) each, as the inputs' are; needed if there are any.
        """
        rows = len(words)
        arrays = [
            ids.to_arrow(words),
            pa.array(times).view(TIME),
            pa.repeat(self._model, rows),
            pa.repeat(pa.scalar(self._version, pa.int32()), rows),
            pa.array(latencies, pa.float32()),
        ]
        for columns, given in (
            (self._inputs, inputs),
            (self._outputs, outputs),
            (self._sensitive, sensitive or {}),
        ):
            if columns:
                made = [each.convert(given[each.field.name]) for each in columns]
                fields = [each.field for each in columns]
                arrays.append(pa.StructArray.from_arrays(made, fields=fields))
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)


def _numbers(values: Values) -> pa.Array:
    return _known(pa.array(np.ascontiguousarray(values, float)), ~np.isnan(values))


def _booleans(values: Values) -> pa.Array:
    return pa.array(values != 0, pa.bool_(), mask=np.isnan(values))


def _times(values: Values) -> pa.Array:
    missing = ~np.isfinite(values)
    microseconds = np.where(missing, 0, np.rint(values * 1e6)).astype(np.int64)
    return _known(pa.array(microseconds), ~missing).view(TIME)


def _categories(values: Values) -> pa.Array:
    found = texts(values)
    ends = np.frombuffer(found.buffers()[1], np.int32, len(found) + 1)
    return _known(found, ends[1:] != ends[:-1])


def _known(array: pa.Array, known: NDArray[np.bool_]) -> pa.Array:
    """The array, null where a value is not known: only the bits that say so are made."""
    if known.all():
        return array
    bits = pa.py_buffer(np.packbits(known, bitorder="little"))
    return pa.Array.from_buffers(array.type, len(array), [bits, *array.buffers()[1:]])


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
    return pa.ListArray.from_arrays(offsets(np.cumsum(lengths)), convert(taken))


_SCALARS: dict[Kind, tuple[pa.DataType, Callable[[Values], pa.Array]]] = {
    Kind.NUMERIC: (pa.float64(), _numbers),
    Kind.BOOLEAN: (pa.bool_(), _booleans),
    Kind.DATETIME: (TIME, _times),
    Kind.CATEGORICAL: (pa.string(), _categories),
}
