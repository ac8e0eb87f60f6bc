"""One attempt of a scoring job: `python -m pellucid_api.scoring JOB_DIR`.

Reads and writes the job's directory only, and needs neither the service nor its libraries for
HTTP. Exit status 0: the predictions are committed. 2: `error.json` says why no attempt can
succeed. Anything else is a crash, after which another attempt goes on behind the last part.
"""

import logging
import math
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pellucid.bundle import MANIFEST, Bundle, Input
from pellucid.errors import DeviceUnavailable, InvalidData, InvalidInput, InvalidRows, TooLarge
from pellucid.jobs.process import attempt
from pellucid.jobs.workspace import ScoringRequest, Spool, Workspace
from pellucid.parts import beside, divide, join, write_part
from pellucid_api.engine.devices import choose_device
from pellucid_api.engine.feeds import Layout
from pellucid_api.engine.foreign import adopt
from pellucid_api.engine.frames import table_of
from pellucid_api.engine.model import Model
from pellucid_api.engine.tables import decode_table
from pellucid_api.engine.values import Values

Feed = dict[str, Values]

_MOST_ROWS = 2**15  # of a part
_RUN_ROWS = 1024  # at once: a network's layers take far more memory than its rows
_MOST_BYTES = 2**27  # of a part, once its values are decoded
_TELL_SECONDS = 1.0


def run(workspace: Workspace) -> None:
    """Score what is left of the rows, and commit the predictions."""
    began = time.monotonic()
    request = workspace.read_scoring()
    events = Spool(workspace.events_path)
    _event(events, "stage", stage="load")
    scorer = Scorer(_opened(workspace.initial, request), request)
    parts = workspace.checkpoint
    parts.mkdir(parents=True, exist_ok=True)
    there = sorted(parts.glob("*.parquet"))
    done = sum(pq.read_metadata(part).num_rows for part in there)
    with _readable(Path(request.data_path)) as file:
        _event(events, "stage", stage="score")
        progress = Progress(events, done, file.metadata.num_rows)
        for table in scorer.answers(file, done):
            write_part(table, parts / f"{len(there):09d}.parquet")
            there.append(parts / f"{len(there):09d}.parquet")
            progress.add(table.num_rows)
    workspace.outputs.mkdir(parents=True, exist_ok=True)
    join(there, workspace.predictions)
    size = workspace.predictions.stat().st_size
    seconds = round(time.monotonic() - began, 3)
    workspace.write_result({"rows": progress.done, "bytes": size, "seconds": seconds})
    for directory in (parts, workspace.initial):  # a part of the result, and the registry's
        shutil.rmtree(directory, ignore_errors=True)


class Scorer:
    """A model over the rows of a Parquet file, in memory that the file's size does not change.

    Args:
        model: opened and verified.
        request: which columns are kept.
    """

    def __init__(self, model: Model, request: ScoringRequest) -> None:
        self._model = model
        self._inputs = model.manifest.inputs
        self._keep = request.plan.keep
        self._told = {"model": request.plan.model, "version": str(request.plan.version)}

    def answers(self, file: pq.ParquetFile, start: int) -> Iterator[Any]:
        """Tables of the kept columns and the predictions, from the row `start` on, in order.

        Raises:
            InvalidRows: a row does not fit the model, or the model cannot run it.
            InvalidData: the file is damaged.
        """
        names = [each.name for each in self._inputs]
        sent, kept = divide(file.schema_arrow.names, names, self._keep)
        try:
            for batch in batches(file, start, rows_of(self._inputs), list({*sent, *kept})):
                table = pa.Table.from_batches([batch])
                answered = self._answer(table.select(sent), start + 1)
                yield beside(table.select(kept), answered)
                start += table.num_rows
        except pa.ArrowException as error:
            raise InvalidData(f"The data set's content is damaged: {error}.") from error

    def _answer(self, table: Any, first: int) -> Any:
        rows = table.num_rows
        feed = decode_table(table, self._inputs, rows, self._model.tokenizer, first=first)
        runs = [
            self._run(_cut(feed, start, start + _RUN_ROWS), first + start)
            for start in range(0, rows, _RUN_ROWS)
        ]
        return table_of(self._model.manifest, _joined(runs), None, self._told)

    def _run(self, feed: Feed, first: int) -> Feed:
        """Run the model; where that fails its halves, down to the row that is at fault."""
        rows = len(next(iter(feed.values())))
        try:
            return self._model.run(feed)
        except Exception as error:  # ONNX Runtime's errors share no base class
            if rows == 1:
                raise InvalidRows(
                    f"Row {first}: the model cannot run it: {error}",
                    where={"row": first},
                    remedy="Leave the row out, or score with another version.",
                ) from error
        middle = rows // 2
        head = self._run(_cut(feed, 0, middle), first)
        return _joined([head, self._run(_cut(feed, middle, rows), first + middle)])


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
        _event(self._events, "progress", **told, eta_seconds=(self._total - self.done) / rate)


def batches(
    file: pq.ParquetFile, start: int, rows: int, columns: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """The rows from `start` on, at most so many at once; no more than one row group is read."""
    for group in range(file.num_row_groups):
        count = file.metadata.row_group(group).num_rows
        if start >= count:
            start -= count
            continue
        for batch in file.iter_batches(rows, row_groups=[group], columns=columns):
            if start < batch.num_rows:
                yield batch.slice(start)
            start = max(0, start - batch.num_rows)


def rows_of(inputs: Sequence[Input]) -> int:
    """How many rows make a part: images take more memory than numbers."""
    scalars = Layout(inputs).row_bytes
    row = scalars + sum(8 * abs(math.prod(each.shape)) for each in inputs if not each.scalar)
    return max(1, min(_MOST_ROWS, _MOST_BYTES // max(1, row)))


def _cut(feed: Feed, start: int, stop: int) -> Feed:
    return {name: values[start:stop] for name, values in feed.items()}


def _joined(outputs: Sequence[Feed]) -> Feed:
    return {name: np.concatenate([each[name] for each in outputs]) for name in outputs[0]}


def _opened(root: Path, request: ScoringRequest) -> Model:
    """The model, verified as it is before it serves."""
    bundle = Bundle.open(root) if (root / MANIFEST).is_file() else adopt(root, request.plan.model)
    model = Model(bundle, choose_device(request.device))
    model.verify()
    return model


def _readable(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise InvalidData(
            f"The data set's content cannot be read: {error}.", where={"file": str(path)}
        ) from error


def _event(events: Spool, kind: str, **data: Any) -> None:
    events.append({"time": time.time_ns() // 1_000_000, "kind": kind, "data": data})


def main() -> int:
    """Run the attempt that the command line names; returns the exit status."""
    return attempt(run, (InvalidInput, TooLarge, DeviceUnavailable))


if __name__ == "__main__":
    status = main()
    logging.shutdown()
    os._exit(status)  # all is written; taking the libraries down in order would cost seconds
