"""`pellucid feedback`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from pellucid.cli.terminal import Json, connect, say, show_facts, show_json
from pellucid.errors import InvalidRows

_ROWS = 250_000  # of one request
_SHOWN = 10
_COLUMNS = ("id", "prediction_id", "label")


def feedback(
    file: Annotated[
        Path | None,
        typer.Argument(help="A CSV or Parquet file with the columns id and label."),
    ] = None,
    prediction_id: Annotated[
        str | None, typer.Option("--id", help="As it came with the prediction.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="What turned out to be true of it.")] = None,
    source: Annotated[str, typer.Option(help="Where the labels come from.")] = "",
    as_json: Json = False,
) -> None:
    """Tell what turned out to be true of predictions: a file of labels, or one."""
    from pellucid.monitoring.feedback.receipts import together

    one = prediction_id is not None and label is not None
    if (file is None) != one or (prediction_id is None) != (label is None):
        raise InvalidRows(
            "There is nothing to tell, or two kinds of it.",
            remedy="Name a file, or give --id and --label.",
        )
    with connect() as client:
        if file is None:
            receipt = client.feedback({prediction_id: label}, source=source)
        else:
            parts = (client.feedback(each, source=source or file.name) for each in _tables(file))
            receipt = together(parts)
    if as_json:
        show_json(receipt)
        return
    counts = receipt.model_dump(exclude={"notes", "notes_left_out"})
    show_facts([(name, count) for name, count in counts.items() if count or name == "received"])
    for note in receipt.notes[:_SHOWN]:
        say(f"row {note.row}, {note.id or 'no id'}: {note.answer}. {note.reason}")
    more = len(receipt.notes) - _SHOWN + receipt.notes_left_out
    if more > 0:
        say(f"And {more:,} more; --json shows the first hundred of each request.")


def _tables(path: Path) -> Iterator[Any]:
    """The file's ids and labels, in pieces that fit a request."""
    import pyarrow as pa
    from pyarrow import csv, parquet

    if path.suffix not in (".csv", ".parquet"):
        raise InvalidRows("The file is neither .csv nor .parquet.", where={"file": str(path)})
    try:
        if path.suffix == ".parquet":
            with parquet.ParquetFile(path) as opened:
                columns = [name for name in opened.schema_arrow.names if name in _COLUMNS]
                for batch in opened.iter_batches(_ROWS, columns=columns):
                    yield pa.Table.from_batches([batch])
            return
        options = csv.ConvertOptions(
            column_types=dict.fromkeys(_COLUMNS, pa.string()), strings_can_be_null=True
        )
        table = csv.read_csv(path, convert_options=options)
        table = table.select([name for name in table.column_names if name in _COLUMNS])
        for start in range(0, table.num_rows, _ROWS):
            yield table.slice(start, _ROWS)
    except (OSError, pa.ArrowException) as error:
        raise InvalidRows(
            f"The file cannot be read: {error}.", where={"file": str(path)}
        ) from error
