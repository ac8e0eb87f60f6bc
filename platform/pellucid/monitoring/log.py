"""Reading the prediction log: one prediction by its id, or a window of a model's."""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pellucid.errors import InvalidData
from pellucid.monitoring import ids, layout, segments, spools
from pellucid.monitoring.arrays import unpacked, unpacked_schema
from pellucid.monitoring.columns import COMMON

# An id tells when the row was answered, its time when the request came: at most this much earlier.
_LONGEST_REQUEST = timedelta(hours=1)
_COLUMNS = (*(field.name for field in COMMON), "inputs", "outputs")


@dataclass(frozen=True)
class Logged:
    """One prediction as it was recorded.

    Attributes:
        time: when its request came.
        inputs: by raw column; missing values are None, redacted columns are not there. An image or
            another array is `{"datatype": ..., "shape": [...], "data": bytes}`.
        sensitive: columns that came with the row, and were not for the model.
    """

    id: str
    time: datetime
    model: str
    version: int
    latency_ms: float
    inputs: dict[str, Any]
    outputs: dict[str, Any]
    sensitive: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, row: pa.RecordBatch) -> Self:
        """From a batch of one row."""
        row = unpacked(row)
        (values,) = row.to_pylist()
        values["id"] = ids.text(values["id"])
        for group in ("inputs", "outputs"):
            held = values.setdefault(group, {})
            for part in row.schema.field(group).type if held else ():
                if part.metadata and held[part.name] is not None:
                    datatype = part.metadata[b"datatype"].decode()
                    held[part.name] = {"datatype": datatype} | held[part.name]
        return cls(**values)


class PredictionLog:
    """The log as it is now, rows included that are not sealed yet.

    Spools are listed and opened before segments are listed: what is sealed meanwhile is found as
    both and taken once, and nothing is missed.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def find(self, prediction: uuid.UUID) -> Logged | None:
        """The prediction with an id, if it was recorded and is still kept."""
        within = f"model=*/{layout.hour_name(ids.hour_of(prediction))}"
        for path in self._root.glob(f"{layout.SPOOLS}/*/{within}/*.arrow"):
            row = _find_in_spool(path, prediction.bytes)
            if row is not None:
                return Logged.of(row)
        for path in self._root.glob(f"{within}/*.parquet"):
            try:
                row = segments.find(path, prediction)
            except FileNotFoundError:  # removed since it was listed
                continue
            if row is not None:
                return Logged.of(row)
        return None

    def window(
        self,
        model: str,
        start: datetime,
        end: datetime,
        *,
        version: int | None = None,
        columns: Sequence[str] = _COLUMNS,
    ) -> pa.RecordBatchReader:
        """A model's predictions whose requests came in a span of time, a batch at a time.

        DuckDB and Arrow read from what this returns; it is bounded in memory, in no certain order,
        and holds files open until it is read to its end or closed.

        Args:
            model: its name.
            start: with a time zone; `end` is not included.
            version: all of them by default; a column that a version does not have is null there.
            columns: some of id, time, model, version, latency_ms, inputs, outputs.

        Raises:
            InvalidData: versions have columns of the same name and different types; name one.
        """
        where = (pc.field("time") >= start) & (pc.field("time") < end)
        window = _Window(self._root, layout.directory_of(model), start, end, version)
        schema = pa.schema([window.schema().field(name) for name in columns])
        return pa.RecordBatchReader.from_batches(schema, window.batches(schema, where))

    def parts(
        self,
        model: str,
        start: datetime,
        end: datetime,
        *,
        version: int | None = None,
        columns: Sequence[str] = (*_COLUMNS, "sensitive"),
    ) -> Iterator[pa.RecordBatch]:
        """As `window`, each batch with the columns and types of the file that it is from.

        Nothing has to fit together, so a column may change its type from file to file.
        """
        where = (pc.field("time") >= start) & (pc.field("time") < end)
        window = _Window(self._root, layout.directory_of(model), start, end, version)
        return window.parts(columns, where)


class _Window:
    """The files of some hours of a model."""

    def __init__(
        self, root: Path, model: str, start: datetime, end: datetime, version: int | None
    ) -> None:
        self._opened = ExitStack()
        self._hours = _hour(start), _hour(end + _LONGEST_REQUEST)
        self._spools: list[tuple[pa.NativeFile, pa.Schema]] = []
        found = []
        for path in self._within(root, f"{layout.SPOOLS}/*/{model}/hour=*/*.arrow"):
            try:
                source = self._opened.enter_context(pa.OSFile(str(path)))
            except FileNotFoundError:  # sealed since it was listed
                continue
            found.append((layout.segment_of(path, root), source))
        paths = list(self._within(root, f"{model}/hour=*/*.parquet"))
        self._segments: list[tuple[Path, pa.Schema]] = []
        for path in paths:
            try:
                schema = pq.read_schema(path)
            except FileNotFoundError:  # removed since it was listed
                continue
            if _has(schema, version):
                self._segments.append((path, schema))
        for segment, source in found:
            schema = None if segment in paths else spools.schema_of(source)
            if schema is not None and _has(schema, version):
                self._spools.append((source, schema))

    def _within(self, root: Path, pattern: str) -> Iterator[Path]:
        first, last = self._hours
        return (path for path in root.glob(pattern) if first <= path.parent.name <= last)

    def schema(self) -> pa.Schema:
        """All columns of all files."""
        files = (*self._spools, *self._segments)
        schemas = [unpacked_schema(schema) for _, schema in files]
        empty = [pa.field(name, pa.struct([])) for name in ("inputs", "outputs", "sensitive")]
        try:
            return pa.unify_schemas(
                [*schemas, pa.schema([*COMMON, *empty])], promote_options="permissive"
            )
        except pa.ArrowException as error:
            raise InvalidData(
                f"The versions' columns do not fit together: {error}.",
                remedy="Read one version at a time.",
            ) from error

    def batches(self, schema: pa.Schema, where: pc.Expression) -> Iterator[pa.RecordBatch]:
        """The rows that fit, with the schema's columns."""
        return (_fitted(part, schema) for part in self.parts(schema.names, where))

    def parts(self, names: Sequence[str], where: pc.Expression) -> Iterator[pa.RecordBatch]:
        """The rows that fit, with those of the columns that their file has."""
        with self._opened:
            for source, schema in self._spools:
                kept = [name for name in names if name in schema.names]
                for batch in spools.batches(source):
                    read = batch.select(list(dict.fromkeys([*kept, "time"])))
                    yield unpacked(read.filter(where).select(kept))
            for path, _ in self._segments:
                try:
                    yield from map(unpacked, segments.scan(path, list(names), where))
                except FileNotFoundError:  # removed since it was listed
                    continue


def _has(schema: pa.Schema, version: int | None) -> bool:
    return version is None or schema.metadata[b"version"] == str(version).encode()


def _hour(moment: datetime) -> str:
    return layout.hour_name(int(moment.astimezone(UTC).timestamp() // 3600))


def _fitted(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    arrays = [
        batch.column(field.name).cast(field.type)
        if field.name in batch.schema.names
        else pa.nulls(len(batch), field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _find_in_spool(path: Path, key: bytes) -> pa.RecordBatch | None:
    try:
        source = pa.OSFile(str(path))
    except FileNotFoundError:  # sealed since it was listed
        return None
    with source:
        for batch in spools.batches(source):
            row = segments.position(batch.column("id"), key)
            if row is not None:
                return batch.slice(row, 1)
    return None
