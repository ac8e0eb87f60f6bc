"""CSV to an Arrow table of strings: the header names the columns, every cell is kept as it is.

The words for a missing value are those of data sets: an empty cell, NA, null and the like.
"""

import csv
import io
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
from pyarrow import csv as arrow_csv

from pellucid.datasets.readers.source import MISSING
from pellucid.errors import InvalidRows

_DELIMITERS = (",", ";", "\t", "|")
_NULLS = [space + word for word in MISSING for space in ("", " ")]
_QUOTES = 'Close every quote, and double the quotes inside a quoted cell: "say ""hi""".'
_CHARSET = "Name its encoding: Content-Type: text/csv; charset=latin-1."
_HEAD = 2**20  # bytes that hold the header
_MOST = 2**31 - 1  # bytes of a block: one row may hold all


def read_csv(body: bytes, known: Sequence[str]) -> Any:
    """The table, every column of strings; null is missing.

    Args:
        body: UTF-8, the first line the header. The delimiter is the one of comma, semicolon, tab
            and bar that makes the most known names of it.
        known: names of the model's inputs.

    Raises:
        InvalidRows: it is no such text, or a row has another number of cells than the header.
    """
    body = body.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n")
    if not body.strip():
        raise InvalidRows("The body is empty.", remedy="Send a header and a line for each row.")
    try:
        body.decode()
    except UnicodeDecodeError as error:
        raise InvalidRows(f"The CSV is not UTF-8: {error}.", remedy=_CHARSET) from error
    if body.count(b'"') % 2:  # pyarrow would take all that follows for one cell
        raise InvalidRows("A quote is not closed.", remedy=_QUOTES)
    head = body[:_HEAD].decode("utf-8", "replace")
    headers = {each: _header(head, each) for each in _DELIMITERS}
    delimiter = max(_DELIMITERS, key=lambda each: len(set(headers[each]) & set(known)))
    faults: list[Any] = []
    try:
        table = _read(body, delimiter, headers[delimiter], faults)
        if any(kind != pa.string() for kind in table.schema.types):  # Arrow reads other names
            table = _read(body, delimiter, table.column_names, faults)
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise _broken(faults, error) from error
    return table.rename_columns([name.strip() for name in table.column_names])


def _header(head: str, delimiter: str) -> list[str]:
    """The names; none where this delimiter makes none, such as a single one without end."""
    try:
        return next(csv.reader(io.StringIO(head), delimiter=delimiter))
    except csv.Error:
        return []


def _read(body: bytes, delimiter: str, names: list[str], faults: list[Any]) -> Any:
    def note(row: Any) -> str:
        faults.append(row)
        return "error"

    return arrow_csv.read_csv(
        pa.BufferReader(body),
        read_options=arrow_csv.ReadOptions(use_threads=False, block_size=min(len(body) + 1, _MOST)),
        parse_options=arrow_csv.ParseOptions(
            delimiter=delimiter,
            newlines_in_values=True,
            ignore_empty_lines=len(names) != 1,  # of one column, it is a missing value
            invalid_row_handler=note,
        ),
        convert_options=arrow_csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()),
            null_values=_NULLS,
            strings_can_be_null=True,
        ),
    )


def _broken(faults: list[Any], error: Exception) -> InvalidRows:
    if not faults:
        return InvalidRows(
            f"The CSV cannot be read: {error}.",
            remedy=_QUOTES,
        )
    row = faults[0]
    number = row.number - 1 if row.number else None  # the header is the first line
    return InvalidRows(
        f"Row {number} has {row.actual_columns} cells, and the header {row.expected_columns}.",
        where={"row": number},
        remedy="Give every row as many cells as the header; quote cells with the delimiter.",
    )
