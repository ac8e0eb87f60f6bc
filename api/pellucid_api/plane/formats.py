"""The formats of `/v1/models/{name}/predict` beside rows of JSON: CSV and Arrow, in and out."""

import codecs
from collections.abc import Mapping
from typing import Any

from pellucid.errors import InvalidRows, UnsupportedType
from pellucid_api.engine.answers import prediction_ids
from pellucid_api.engine.delimited import read_csv
from pellucid_api.engine.feeds import Feed
from pellucid_api.engine.frames import csv_of, table_of
from pellucid_api.engine.served import Served
from pellucid_api.engine.streams import read_stream, write_stream
from pellucid_api.engine.tables import decode_table
from pellucid_api.engine.values import Values, shown
from pellucid_api.plane.exchange import Reply

JSON, CSV, ARROW = "application/json", "text/csv", "application/vnd.apache.arrow.stream"
TABLES = (CSV, ARROW)
_ANY = {"*/*": JSON, "application/*": JSON, "text/*": CSV}
_PLAIN = frozenset({b"", b"*/*", b"application/json"})
_SLOW = frozenset({"idna", "punycode"})  # for names of hosts: time grows with the square of a text


def media_type(value: bytes) -> tuple[str, dict[str, str]]:
    """A media type and its parameters, both in lower case."""
    name, *rest = value.decode("latin-1").lower().split(";")
    pairs = (each.partition("=") for each in rest)
    return name.strip(), {key.strip(): text.strip().strip('"') for key, _, text in pairs}


def accepted(value: bytes) -> str:
    """The format that an Accept header asks for; JSON where it names none of ours."""
    if value in _PLAIN:
        return JSON
    best, found = 0.0, JSON
    for each in value.split(b","):
        name, parameters = media_type(each)
        try:
            weight = float(parameters.get("q", "1"))
        except ValueError:
            weight = 0.0
        kind = _ANY.get(name, name)
        if weight > best and kind in (JSON, CSV, ARROW):
            best, found = weight, kind
    return found


def read_table(
    served: Served, content_type: bytes, body: bytes, max_rows: int
) -> tuple[Feed, Feed | None] | None:
    """The rows of a CSV or an Arrow stream, and their sensitive columns; None if it is neither.

    Raises:
        InvalidRows, TooLarge: as `engine.tables.decode_table` says.
        UnsupportedType: the CSV is in an encoding that is not read here.
    """
    table = read_columns(served, content_type, body)
    if table is None:
        return None
    model, text = served.model, media_type(content_type)[0] == CSV
    columns = (*model.manifest.inputs, *served.sensitive.among(table.column_names))
    arrays = decode_table(table, columns, max_rows, model.tokenizer, text=text)
    return served.layout.pack(arrays), served.sensitive.pack(arrays, table.num_rows)


def read_columns(served: Served, content_type: bytes, body: bytes) -> Any:
    """A CSV or an Arrow stream as a pyarrow.Table; None where the body is neither.

    Raises:
        InvalidRows, UnsupportedType: as `read_table` does.
    """
    name, parameters = media_type(content_type)
    if name == CSV:
        text = utf8(body, parameters.get("charset", "utf-8"))
        return read_csv(text, [each.name for each in served.model.manifest.inputs])
    return read_stream(body) if name == ARROW else None


def utf8(body: bytes, charset: str) -> bytes:
    """A text in some encoding as UTF-8.

    Raises:
        InvalidRows: the text is not in that encoding.
        UnsupportedType: nobody knows the encoding, or it is none for tables.
    """
    if charset in ("utf-8", "utf8", "us-ascii"):
        return body
    try:
        if codecs.lookup(charset).name in _SLOW:
            raise LookupError(charset)
        return body.decode(charset).encode()
    except LookupError as error:
        raise UnsupportedType(f"{shown(charset)} is not read here; send UTF-8.") from error
    except ValueError as error:
        raise InvalidRows(f"The body is not {charset}: {error}.") from error


def write_table(
    served: Served, kind: str, outputs: Mapping[str, Values], first: int, rows: int
) -> Reply:
    """The answers as CSV or Arrow; model and version are told in headers, and in the schema."""
    manifest, ids = served.model.manifest, prediction_ids(first, rows)
    told = {"model": served.name, "version": str(served.version)}
    body = (
        csv_of(manifest, outputs, ids)
        if kind == CSV
        else write_stream(table_of(manifest, outputs, ids, told))
    )
    return Reply(200, answered_by(served, kind), body)


def answered_by(served: Served, kind: str) -> list[tuple[bytes, bytes]]:
    """The headers of an answer in a format that has no place for who answers."""
    headers = {
        "content-type": kind,
        "x-model-name": served.name,
        "x-model-version": str(served.version),
    }
    return [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
