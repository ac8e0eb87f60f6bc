"""Scoring a whole file: batches to the service, predictions into a file beside the rows' ids.

Finished batches lie as Parquet files in `OUT.parts` until all are there and become one file. A
scoring that was interrupted and is started again leaves out what is there. Memory is that of a few
batches, whatever the size of the file.
"""

import json
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from pellucid.errors import Conflict, InvalidData, TooLarge, Unavailable
from pellucid.parts import beside, divide, join, suffix_of, write_part

if TYPE_CHECKING:
    from pellucid.client import Client

_ASKED_AT_ONCE = 4  # batches
_PATIENCE = (0.5, 1, 2, 4, 8)  # seconds before a service that is busy is asked again
_LARGEST = 2**24  # bytes of one request, about
_JOB = "job.json"


@dataclass(frozen=True)
class Scoring:
    """What is to be scored, and where to. One version scores all rows.

    Args:
        source: Parquet, or CSV with a header.
        out: becomes Parquet or CSV, by its suffix.
        model: its name.
        version: of the model.
        ids: columns of the source that are kept beside the predictions; None: all that are no
            input of the model.
        batch_rows: of one request.
    """

    source: Path
    out: Path
    model: str
    version: int
    ids: tuple[str, ...] | None = None
    batch_rows: int = 10_000


def score(client: "Client", job: Scoring, progress: Callable[[int], None]) -> int:
    """Score a file, or what is left of it.

    Args:
        client: of the service.
        job: what to do.
        progress: called with the number of rows of every batch that is done.

    Returns:
        How many rows there are in all.

    Raises:
        InvalidData: the file cannot be read, or its suffix is of neither format.
        Conflict: `OUT.parts` is of another scoring.
        InvalidRows: the rows do not fit the model; batches that did fit are kept.
        Unavailable: the service does not answer; start again later.
    """
    text = suffix_of(job.source) == ".csv"
    suffix_of(job.out)
    inputs = [str(each["name"]) for each in client.models.version(job.model, job.version).inputs]
    parts = _open_parts(job)
    rows = 0

    def answer(batch: Any, path: Path) -> int:
        table = pa.Table.from_batches([batch])
        sent, kept = divide(table.column_names, inputs, job.ids)
        found = _ask(client, job, table.select(sent), text)
        write_part(beside(table.select(kept), found), path)
        return int(batch.num_rows)

    with ThreadPoolExecutor(_ASKED_AT_ONCE) as executor:
        asked: deque[Future[int]] = deque()
        try:
            for number, batch in enumerate(_batches(job, text)):
                path = parts / f"{number:09d}.parquet"
                rows += batch.num_rows
                if path.exists():
                    progress(batch.num_rows)
                    continue
                asked.append(executor.submit(answer, batch, path))
                if len(asked) > _ASKED_AT_ONCE:
                    progress(asked.popleft().result())
            while asked:
                progress(asked.popleft().result())
        except pa.ArrowException as error:
            raise _unreadable(job.source, error) from error
        finally:
            executor.shutdown(cancel_futures=True)
    join(sorted(parts.glob("*.parquet")), job.out)
    shutil.rmtree(parts)
    return rows


def rows_in(source: Path) -> int | None:
    """How many rows a file has, where it tells without being read."""
    if suffix_of(source) == ".csv":
        return None
    try:
        return int(pq.read_metadata(source).num_rows)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(source, error) from error


def _open_parts(job: Scoring) -> Path:
    """The directory of the batches that are done, new or of the same job."""
    parts = job.out.with_name(f"{job.out.name}.parts")
    try:
        stat = job.source.stat()
        told = json.dumps({**asdict(job), "size": stat.st_size, "changed": stat.st_mtime_ns},
                          default=str)  # fmt: skip
        parts.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unreadable(job.source, error) from error
    note = parts / _JOB
    if not note.exists():
        note.write_text(told)
    if note.read_text() != told:
        raise Conflict(
            "It holds what another scoring, or one of another version or file, has done.",
            where={"directory": str(parts)},
            remedy="Delete it to begin anew.",
        )
    return parts


def _batches(job: Scoring, text: bool) -> Iterator[Any]:
    """The rows in batches, whose ends depend on the file and `batch_rows` alone."""
    try:
        if not text:
            with pq.ParquetFile(job.source) as file:
                yield from file.iter_batches(job.batch_rows)
            return
        options = {
            "parse_options": pa.csv.ParseOptions(newlines_in_values=True),
            "convert_options": _strings(job.source),
        }
        with pa.csv.open_csv(job.source, **options) as reader:
            for block in reader:
                for start in range(0, block.num_rows, job.batch_rows):
                    yield block.slice(start, job.batch_rows)
    except OSError as error:
        raise _unreadable(job.source, error) from error


def _strings(source: Path) -> Any:
    """Every cell as it is: the service reads it as it reads any CSV."""
    with source.open("rb") as file:
        head = pa.csv.read_csv(pa.BufferReader(file.readline() + b"\n"))
    return pa.csv.ConvertOptions(column_types=dict.fromkeys(head.column_names, pa.string()))


def _ask(client: "Client", job: Scoring, table: Any, text: bool) -> Any:
    """The answers, asked for again where the service is busy, and in halves where too large."""
    rows = table.num_rows
    if rows > 1 and table.nbytes > _LARGEST:
        return _halves(client, job, table, text)
    for wait in _PATIENCE:
        try:
            return client.predict_table(job.model, table, job.version, text=text)
        except TooLarge:
            if rows == 1:
                raise
            return _halves(client, job, table, text)
        except Unavailable:
            time.sleep(wait)
    return client.predict_table(job.model, table, job.version, text=text)


def _halves(client: "Client", job: Scoring, table: Any, text: bool) -> Any:
    middle = table.num_rows // 2
    halves = (table.slice(0, middle), table.slice(middle))
    return pa.concat_tables([_ask(client, job, half, text) for half in halves])


def _unreadable(source: Path, error: Exception) -> InvalidData:
    return InvalidData(f"The file cannot be read: {error}.", where={"file": str(source)})
