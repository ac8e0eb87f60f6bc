"""Rows of raw columns, from files and options."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pellucid.errors import InvalidRows

if TYPE_CHECKING:
    from pellucid.client import Client

RowsFile = Annotated[
    Path | None,
    typer.Argument(
        help="A JSON object or list of objects, a CSV or a Parquet file; - is stdin (JSON)."
    ),
]
Images = Annotated[
    list[Path] | None, typer.Option(help="An image file, for a model of images. Repeatable.")
]
Texts = Annotated[list[str] | None, typer.Option(help="A text, for a model of texts. Repeatable.")]


def given_rows(
    client: "Client",
    name: str,
    version: int | None,
    rows: Path | None,
    image: list[Path] | None,
    text: list[str] | None,
) -> list[dict[str, Any]]:
    """The rows that a command names: those of a file, or one for each image or text.

    Raises:
        InvalidRows: it names none, or of more than one kind, or they cannot be read.
    """
    if [bool(rows), bool(image), bool(text)].count(True) != 1:
        raise InvalidRows(
            "There is nothing to predict, or more than one kind of it.",
            remedy="Name a file of rows, or give --image, or --text.",
        )
    if rows:
        return read_rows(rows)
    column = _only_input(client, name, version, "image" if image else "text")
    values: list[Any] = [_read_image(path) for path in image] if image else list(text or ())
    return [{column: value} for value in values]


def _only_input(client: "Client", name: str, version: int | None, kind: str) -> str:
    """The name of a model's only input, which must be of a kind.

    Raises:
        InvalidRows: it takes something else.
    """
    summary = client.models.get(name)
    number = version or summary.aliases.get("champion") or summary.latest
    inputs = client.models.version(name, number).inputs if number else []
    if [item["kind"] for item in inputs] != [kind]:
        taken = ", ".join(f"{item['name']} ({item['kind']})" for item in inputs[:20])
        raise InvalidRows(
            f"The model {name!r} does not take one {kind}: its inputs are {taken or 'unknown'}.",
            where={"model": name},
            remedy="Put the rows into a JSON or CSV file.",
        )
    return str(inputs[0]["name"])


def _read_image(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidRows(
            f"The image cannot be read: {error}.", where={"file": str(path)}
        ) from error


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows in a file.

    Raises:
        InvalidRows: the file cannot be read, or holds something else than rows.
    """
    try:
        if path.suffix in (".csv", ".parquet"):
            return _read_table(path)
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
        value = json.loads(text)
    except (OSError, ValueError) as error:  # broken JSON, CSV, Parquet, UTF-8 are ValueErrors
        raise InvalidRows(f"No rows can be read: {error}.", where={"file": str(path)}) from error
    rows = value.get("rows", value) if isinstance(value, dict) else value
    rows = [rows] if isinstance(rows, dict) else rows
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InvalidRows(
            "The file holds neither an object nor a list of objects.",
            where={"file": str(path)},
            remedy='One row is {"column": value, ...}.',
        )
    return rows


def _read_table(path: Path) -> list[dict[str, Any]]:
    from pyarrow import csv, parquet

    if path.suffix == ".parquet":
        table = parquet.read_table(path)
    else:
        options = csv.ConvertOptions(strings_can_be_null=True)
        table = csv.read_csv(path, convert_options=options)
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows
