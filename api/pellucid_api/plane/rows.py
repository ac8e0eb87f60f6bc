"""Rows as JSON, the format of `/v1/models/{name}/predict`.

What is well formed is read by msgspec into a struct made for the model's columns. Anything else
goes to `engine.rows`, which is slower and says what is wrong.
"""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import numpy as np
from pydantic_core import from_json

from pellucid.bundle import Input
from pellucid.errors import InvalidRows
from pellucid.schema import Kind
from pellucid_api.engine.answers import answers, prediction_ids
from pellucid_api.engine.feeds import Feed
from pellucid_api.engine.rows import decode_columns, decode_rows, listed
from pellucid_api.engine.served import Served
from pellucid_api.engine.values import DATETIMES, Values, shown
from pellucid_api.plane.deadlines import timeout_of
from pellucid_api.plane.exchange import Question, Reply, RequestHeaders, require_json
from pellucid_api.plane.formats import JSON, accepted, read_table, write_table
from pellucid_api.plane.nested import NestedReader, nested_reader
from pellucid_api.plane.structs import RowStruct, nameable

Read = tuple[Feed, Feed | None]  # the rows, and their sensitive columns, if the version has any
_JSON = [(b"content-type", b"application/json")]
_TYPES: dict[Kind, Any] = {
    Kind.NUMERIC: float | None,
    Kind.BOOLEAN: bool | Literal[0, 1] | None,
    Kind.DATETIME: str | None,
    Kind.CATEGORICAL: str | None,
}


class RowsCodec:
    """Rows in, one answer per row out: JSON, and the formats of `plane.formats`."""

    def __init__(self, max_rows: int) -> None:
        self._max_rows = max_rows

    def decode(self, served: Served, headers: RequestHeaders, body: bytes) -> Question:
        """Read a list of row objects, `{"rows": [...]}`, or columns. Raises as `Codec` says."""
        kind, timeout = accepted(headers.get(b"accept", b"")), timeout_of(headers)
        content_type = headers.get(b"content-type", b"")
        if content_type != b"application/json":
            table = read_table(served, content_type, body, self._max_rows)
            if table is not None:
                return Question(table[0], kind, timeout, sensitive=table[1])
            require_json(headers)
        feed, sensitive = self._quick(served, body) or self._careful(served, body)
        return Question(feed, kind, timeout, 0, sensitive)

    def encode(
        self, served: Served, question: Question, outputs: Sequence[Values], first: int
    ) -> Reply:
        """`resources.Predictions` as plain data: that many models would take longer to make."""
        manifest, rows = served.model.manifest, question.feed.rows
        named = dict(zip([output.name for output in manifest.outputs], outputs, strict=True))
        if question.context != JSON:
            return write_table(served, question.context, named, first, rows)
        found = answers(manifest, named, prediction_ids(first, rows))
        content = {"model": served.name, "version": served.version, "predictions": found}
        return Reply(200, _JSON, msgspec.json.encode(content))

    def _quick(self, served: Served, body: bytes) -> Read | None:
        """The rows, or None where something is not of the plain kinds that are read here."""
        try:
            if reader := served.kept(_Reader, _reader):
                return reader.read(body, self._max_rows)
            nested = served.kept(NestedReader, nested_reader)
            return (nested.read(body, self._max_rows), None) if nested else None
        except (ValueError, OverflowError):
            return None

    def _careful(self, served: Served, body: bytes) -> Read:
        content = parse(body)
        model, sensitive = served.model, served.sensitive
        inputs, tokenizer = model.manifest.inputs, model.tokenizer
        if not isinstance(content, dict) or content.keys() == {"rows"}:
            rows = content["rows"] if isinstance(content, dict) else content
            rows, brought = sensitive.completed(rows)
            arrays = decode_rows(rows, (*inputs, *brought), self._max_rows, tokenizer)
        elif "columns" in content:
            columns = columns_of(content)
            columns_read = (*inputs, *sensitive.among(columns))
            arrays = decode_columns(columns, columns_read, self._max_rows, tokenizer)
        else:
            raise InvalidRows(
                f"The body is an object with the keys: {listed([*content]) or 'none'}.",
                remedy='Send a list of row objects, {"rows": [...]}, or {"columns": {...}}.',
            )
        feed = served.layout.pack(arrays)
        return feed, sensitive.pack(arrays, feed.rows)


def columns_of(content: dict[str, Any]) -> dict[str, Any]:
    """The columns of `{"columns": {name: values}}` or `{"columns": names, "data": rows}`, pandas'.

    Raises:
        InvalidRows: it is neither.
    """
    columns, rest = content["columns"], content.keys() - {"columns"}
    if isinstance(columns, dict) and not rest:
        return columns
    rows = content.get("data")
    if not isinstance(columns, list) or not isinstance(rows, list) or rest - {"index", "data"}:
        raise InvalidRows(
            "The body is not a table of columns.",
            remedy='Send {"columns": {"age": [41, 20]}} or {"columns": ["age"], "data": [[41]]}.',
        )
    seen: set[str] = set()
    for name in columns:
        if not isinstance(name, str) or name in seen:
            raise InvalidRows(f"{shown(name)} is no name of a column, or is given twice.")
        seen.add(name)
    for number, row in enumerate(rows, 1):
        if not isinstance(row, list) or len(row) != len(columns):
            raise InvalidRows(
                f"Row {number} is no list of {len(columns)} values.", where={"row": number}
            )
    return {name: [row[i] for row in rows] for i, name in enumerate(columns)}


def parse(body: bytes, *, nan: bool = False) -> Any:
    """A body as JSON, in which a client of MLflow also writes NaN.

    Raises:
        InvalidRows: it is empty or no JSON; NaN and Infinity are none, unless `nan`.
    """
    if not body.strip():
        raise InvalidRows("The body is empty.", remedy="Send JSON.")
    try:
        return from_json(body.removeprefix(b"\xef\xbb\xbf"), allow_inf_nan=nan)
    except ValueError as error:
        raise InvalidRows(
            f"The body is not JSON: {error}.",
            remedy="In JSON, NaN is not a number: null stands for a missing value.",
        ) from error


class _Columns:
    """Scalar columns among the values of a row: the numbers, then the strings."""

    def __init__(self, inputs: Sequence[Input], begin: int) -> None:
        numbers = [each for each in inputs if each.kind is not Kind.CATEGORICAL]
        strings = [each for each in inputs if each.kind is Kind.CATEGORICAL]
        self.types = [(each.name, _TYPES[each.kind]) for each in (*numbers, *strings)]
        self._begin, self._middle = begin, begin + len(numbers)
        self._end = begin + len(inputs)
        self._times = [i for i, each in enumerate(numbers) if each.kind is Kind.DATETIME]

    def feed(self, rows: list[tuple[Any, ...]]) -> Feed:
        """These columns of some rows."""
        return Feed(len(rows), self._matrix(rows), self._texts(rows), ())

    def _matrix(self, rows: list[tuple[Any, ...]]) -> Values:
        begin, end = self._begin, self._middle
        if not self._times:
            numbers = np.array([row[begin:end] for row in rows], np.float64)  # None becomes NaN
            return numbers.reshape(len(rows), end - begin).T
        columns = list(zip(*(row[begin:end] for row in rows), strict=True))
        for i in self._times:
            columns[i] = DATETIMES.convert(columns[i])  # type: ignore[call-overload]
        return np.array(columns, dtype=np.float64)

    def _texts(self, rows: list[tuple[Any, ...]]) -> Values:
        texts = np.empty((self._end - self._middle, len(rows)), dtype=object)
        for i in range(len(texts)):
            texts[i] = [row[self._middle + i] or "" for row in rows]
        return texts


class _Reader:
    """Reads rows of scalar columns; its struct has the inputs first, then what may be there."""

    def __init__(self, inputs: Sequence[Input], sensitive: Sequence[Input]) -> None:
        self._inputs = _Columns(inputs, 0)
        self._sensitive = _Columns(sensitive, len(inputs)) if sensitive else None
        types = [*self._inputs.types, *(self._sensitive.types if self._sensitive else ())]
        self._rows = RowStruct(types, optional=len(sensitive))

    def read(self, body: bytes, max_rows: int) -> Read:
        """The rows. Raises ValueError and OverflowError where something does not fit."""
        rows = self._rows.read(body, max_rows)
        sensitive = self._sensitive
        return self._inputs.feed(rows), None if sensitive is None else sensitive.feed(rows)


def _reader(served: Served) -> _Reader | None:
    inputs, sensitive = served.model.manifest.inputs, served.sensitive.columns
    named = (*inputs, *sensitive)
    scalars = all(each.kind in _TYPES for each in named)
    return _Reader(inputs, sensitive) if scalars and nameable(named) else None
