"""What scoring and explaining a data set have in common: rows in, parts out, one file at the end.

An attempt reads and writes the job's directory only. Exit status 0: the answers are committed. 2:
`error.json` says why no attempt can succeed. Anything else is a crash, after which another attempt
goes on behind the last part.
"""

import logging
import math
import os
import shutil
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from pellucid.bundle import MANIFEST, Bundle, Input
from pellucid.errors import DeviceUnavailable, InvalidData, InvalidInput, TooLarge
from pellucid.jobs.process import attempt
from pellucid.jobs.workspace import AnyPlan, BatchRequest, Spool, Workspace
from pellucid.parts import join, write_part
from pellucid_api.engine.feeds import Layout
from pellucid_api.engine.foreign import adopt

_MOST_ROWS = 2**15  # of a part
_MOST_BYTES = 2**27  # of a part, once its values are decoded
_TELL_SECONDS = 1.0


class Work(Protocol):
    """What is done with the rows."""

    stage: str
    """What it is called while it goes on."""
    width: int
    """Rows of the answer for each row of the data set."""

    def places(self, rows: int) -> Sequence[int]:
        """Which of so many rows are taken, ascending from 0."""
        ...

    def answers(self, file: pq.ParquetFile, places: Sequence[int]) -> Iterator[Any]:
        """Tables, each a part, that answer these rows in order."""
        ...

    def summary(self, path: Path) -> dict[str, Any]:
        """What the result says of all answers, which lie in a file."""
        ...


def run(
    workspace: Workspace,
    plan: type[AnyPlan],
    begin: Callable[[Bundle, BatchRequest[AnyPlan]], Work],
) -> None:
    """Do what is left of the work, and commit the answers.

    Args:
        workspace: of the job.
        plan: the kind of its plan.
        begin: opens what the bundle holds.
    """
    began = time.monotonic()
    request, out = workspace.read_batch(plan), workspace.answers(plan)
    with closing(Spool(workspace.events_path)) as events:
        event(events, "stage", stage="load")
        work = begin(_bundle(workspace.initial, request.plan.model), request)
        parts, done = _answered(workspace, Path(request.data_path), work, events)
    workspace.outputs.mkdir(parents=True, exist_ok=True)
    join(parts, out)
    seconds = round(time.monotonic() - began, 3)
    counts = {"rows": done, "bytes": out.stat().st_size, "seconds": seconds}
    workspace.write_result(counts | work.summary(out))
    for directory in (workspace.checkpoint, workspace.initial):  # in the result, the registry
        shutil.rmtree(directory, ignore_errors=True)


def _answered(
    workspace: Workspace, data: Path, work: Work, events: Spool
) -> tuple[list[Path], int]:
    """The parts with the answers to all rows, those of earlier attempts first, and how many."""
    parts = workspace.checkpoint
    parts.mkdir(parents=True, exist_ok=True)
    there = sorted(parts.glob("*.parquet"))
    done = sum(pq.read_metadata(part).num_rows for part in there) // work.width
    with _readable(data) as file:
        event(events, "stage", stage=work.stage)
        places = work.places(file.metadata.num_rows)
        progress = Progress(events, done, len(places))
        for table in work.answers(file, places[done:]):
            write_part(table, parts / f"{len(there):09d}.parquet")
            there.append(parts / f"{len(there):09d}.parquet")
            progress.add(table.num_rows // work.width)
    return there, progress.done


class Progress:
    """Tells how many rows are done, how fast, and for how long still."""

    def __init__(self, events: Spool, done: int, total: int) -> None:
        self.done = done
        self._events = events
        self._before = done
        self._total = total
        self._began = self._told = time.monotonic()

    def add(self, rows: int) -> None:
        """More rows are done."""
        self.done += rows
        now = time.monotonic()
        if now - self._told < _TELL_SECONDS and self.done < self._total:
            return
        self._told = now
        rate = (self.done - self._before) / max(now - self._began, 1e-9)
        told = {"rows": self.done, "total": self._total, "rows_per_second": round(rate, 1)}
        event(self._events, "progress", **told, eta_seconds=(self._total - self.done) / rate)


def batches(
    file: pq.ParquetFile, places: Sequence[int], rows: int, columns: Sequence[str]
) -> Iterator[tuple[Sequence[int], Any]]:
    """The rows at these places, at most so many at once, with the places.

    No more than one row group is read at a time, and only groups in which there are any.

    Args:
        file: of the data set.
        places: ascending, from 0.
        rows: of a table.
        columns: that are read.

    Raises:
        InvalidData: the file is damaged.
    """
    start = 0
    try:
        for group in range(file.num_row_groups):
            end = start + file.metadata.row_group(group).num_rows
            if bisect_left(places, start) < bisect_left(places, end):
                for batch in file.iter_batches(rows, row_groups=[group], columns=columns):
                    stop = start + batch.num_rows
                    here = places[bisect_left(places, start) : bisect_left(places, stop)]
                    if here:
                        yield here, pa.Table.from_batches([_taken(batch, here, start)])
                    start = stop
            start = end
    except pa.ArrowException as error:
        raise InvalidData(f"The data set's content is damaged: {error}.") from error


def rows_of(inputs: Sequence[Input]) -> int:
    """How many rows are decoded at once: images take more memory than numbers."""
    scalars = Layout(inputs).row_bytes
    row = scalars + sum(8 * abs(math.prod(each.shape)) for each in inputs if not each.scalar)
    return max(1, min(_MOST_ROWS, _MOST_BYTES // max(1, row)))


def event(events: Spool, kind: str, **data: Any) -> None:
    """Tell an event, now."""
    events.append({"time": time.time_ns() // 1_000_000, "kind": kind, "data": data})


def main(run: Callable[[Workspace], None]) -> int:
    """Run the attempt that the command line names; returns the exit status."""
    return attempt(run, (InvalidInput, TooLarge, DeviceUnavailable))


def leave(status: int) -> None:
    """End the process: all is written; taking the libraries down in order would cost seconds."""
    logging.shutdown()
    os._exit(status)


def _taken(batch: pa.RecordBatch, places: Sequence[int], start: int) -> pa.RecordBatch:
    first, count = places[0] - start, len(places)
    if places[-1] - places[0] == count - 1:
        return batch.slice(first, count)
    return batch.take(pa.array([place - start for place in places]))


def _bundle(root: Path, model: str) -> Bundle:
    return Bundle.open(root) if (root / MANIFEST).is_file() else adopt(root, model)


def _readable(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise InvalidData(
            f"The data set's content cannot be read: {error}.", where={"file": str(path)}
        ) from error
