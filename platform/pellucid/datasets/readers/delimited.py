"""CSV and its kin: delimiter and quotes sniffed, every cell read as text."""

import csv
from pathlib import Path
from typing import NamedTuple

import duckdb

from pellucid.datasets.encodings import as_utf8, check_lines
from pellucid.datasets.engine import first_row, literal
from pellucid.datasets.readers.source import (
    MISSING,
    Form,
    Source,
    SourceColumn,
    check_names,
    unreadable,
)
from pellucid.errors import InvalidData

_MIN_LINE = 2**24  # room for a row with an oversized cell, so that its column can be named
_HEADER_CHARACTERS = 2**22
_SNIFFED_BYTES = 2**20


class Dialect(NamedTuple):
    """How cells are told apart."""

    delimiter: str
    quote: str
    escape: str


def open_delimited(
    engine: duckdb.DuckDBPyConnection, path: Path, file: str, scratch: Path, max_cell_bytes: int
) -> Source:
    """The relation of a delimited text file, whose first row is its header.

    Raises:
        InvalidData: the file is not text, has no rows, or its header is wrong.
    """
    text = as_utf8(path, scratch / "text.csv", file)
    line = max(_MIN_LINE, 2 * max_cell_bytes)
    check_lines(text, line, file)
    dialect = _sniff(engine, _head(text, scratch / "head.csv"))
    names = _header(text, dialect, file)
    check_names(names, file)
    columns = ", ".join(f"'c{index}': 'VARCHAR'" for index in range(len(names)))
    missing = ", ".join(literal(space + word) for word in MISSING for space in ("", " "))
    options = (
        f"{literal(str(text))}, auto_detect=false, header=true, new_line='\\n', "
        f"delim={literal(dialect.delimiter)}, quote={literal(dialect.quote)}, "
        f"escape={literal(dialect.escape)}, columns={{{columns}}}, nullstr=[{missing}], "
        f"max_line_size={line}, buffer_size={2 * line}"
    )

    def explain(engine: duckdb.DuckDBPyConnection, error: duckdb.Error) -> InvalidData:
        return _explain(engine, options, file, names, line) or unreadable(file, error)

    fields = tuple(SourceColumn(name, Form.TEXT) for name in names)
    return Source(file, f"read_csv({options})", fields, explain)


def _head(text: Path, target: Path) -> Path:
    """The first whole lines, to sniff: an oversized cell further down must not hold it up."""
    with text.open("rb") as stream:
        head = stream.read(_SNIFFED_BYTES)
    if len(head) < _SNIFFED_BYTES:
        return text
    target.write_bytes(head[: head.rfind(b"\n") + 1] or head)
    return target


def _sniff(engine: duckdb.DuckDBPyConnection, text: Path) -> Dialect:
    """The delimiter that a lenient look finds; the quotes and escapes that a strict one does."""

    def look(options: str) -> tuple[str, str, str]:
        row = first_row(
            engine,
            "SELECT Delimiter, Quote, Escape FROM sniff_csv("
            f"{literal(str(text))}, header=true, all_varchar=true, {options})",
        )
        assert row is not None
        return row

    try:
        delimiter, quote, _ = look("ignore_errors=true, strict_mode=false")
    except duckdb.InvalidInputException:  # too broken to tell; reading it will say where
        return Dialect(",", '"', '"')
    quote = quote if quote in ("'", '"') else '"'
    try:
        _, _, escape = look(f"delim={literal(delimiter)}, quote={literal(quote)}")
    except duckdb.InvalidInputException:
        escape = quote
    return Dialect(delimiter, quote, escape if escape in ("\\", quote) else quote)


def _header(text: Path, dialect: Dialect, file: str) -> list[str]:
    with text.open(encoding="utf-8", newline="") as lines:
        reader = csv.reader(
            iter(lambda: lines.readline(_HEADER_CHARACTERS), ""),
            delimiter=dialect.delimiter,
            quotechar=dialect.quote,
            doublequote=dialect.escape == dialect.quote,
            escapechar=None if dialect.escape == dialect.quote else dialect.escape,
        )
        try:
            return [name.strip() for name in next(reader)] or [""]
        except csv.Error as error:
            raise InvalidData(
                f"The header cannot be read: {error}.",
                where={"file": file, "row": "header"},
                remedy="Begin the file with a row of short column names; close every quote.",
            ) from error


def _explain(
    engine: duckdb.DuckDBPyConnection,
    options: str,
    file: str,
    names: list[str],
    line_bytes: int,
) -> InvalidData | None:
    """The first row that DuckDB cannot take, from its table of rejected rows."""
    try:
        engine.execute(
            f"SELECT count(*) FROM read_csv({options}, store_rejects=true, rejects_limit=1)"
        ).fetchall()
        rejected = first_row(
            engine,
            "SELECT line, column_idx, error_type, error_message FROM reject_errors ORDER BY line",
        )
    except duckdb.Error:  # it cannot say more than it has said
        return None
    if rejected is None:
        return None
    line, index, kind, message = rejected
    where = {"file": file, "row": line - 1}
    if kind == "LINE SIZE OVER MAXIMUM":
        return InvalidData(
            f"The row has more than {line_bytes:,} bytes.",
            where=where,
            remedy="Shorten its cells, or close an open quote.",
        )
    if kind in ("MISSING COLUMNS", "TOO MANY COLUMNS"):
        return InvalidData(
            f"The row has fewer or more cells than the header's {len(names)}: {message}",
            where=where,
            remedy="Give every row as many cells as the header; quote cells with the delimiter.",
        )
    if index and index <= len(names):
        where["column"] = names[index - 1]
    return InvalidData(
        f"The row cannot be read: {message}",
        where=where,
        remedy='Close every quote, and double the quotes inside a quoted cell: "say ""hi""".',
    )
