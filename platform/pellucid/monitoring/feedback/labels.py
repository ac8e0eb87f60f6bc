"""Labels of predictions, as they were told: append-only files beside the prediction log.

    labels/
        model=credit/hour=2026-11-21T18/<any>.parquet   of predictions, by the hour of their ids
        pending/<any>.parquet                           of ids that were not in the log then
        spools/<process>.lock, spools/<process>/<any>.arrow   the newest, of all models

A record is a fact: this id, this label, told then. Of several for one id the last one told wins, so
it does no harm to read a record twice, and nothing here needs a transaction. A file is sorted by
id, and its row groups tell their bounds: from ids one goes straight to their rows.
"""

import fcntl
import logging
import os
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pellucid.monitoring import ids, layout, spools
from pellucid.monitoring.columns import TIME
from pellucid.monitoring.feedback.matching import Places, Wanted, groups_with
from pellucid.monitoring.spools import Folder, Spool
from pellucid.monitoring.writer import sweep

DIRECTORY = "labels"  # below PELLUCID_HOME
PENDING = "pending"
RECORDS = pa.schema(
    [
        pa.field("id", ids.TYPE, nullable=False),
        pa.field("time", TIME, nullable=False),  # when it was told
        pa.field("row", pa.int32(), nullable=False),  # of the request; the later one wins
        pa.field("label", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
    ]
)
_SPOOLED = RECORDS.append(pa.field("model", pa.string(), nullable=False))  # "": pending
_ROWS, _BATCHES, _SECONDS = 2**16, 2**9, 300.0  # a spool is sealed that has so many, or is so old
_FILES = 8  # of a directory, which become one,
_WHOLE_BYTES = 2**24  # but for those that are as large as this
_GROUP_ROWS = 2**15
_HOUR = 3600
_TOLD = [("time", "ascending"), ("row", "ascending")]

logger = logging.getLogger(__name__)


class LabelWriter:
    """One process's end of the labels; its methods may be called by any thread.

    Args:
        root: of the labels.
        days: labels of older predictions are removed; 0 keeps all.
    """

    def __init__(self, root: Path, days: int = 0) -> None:
        self._root, self._days = root, days
        self._lock = threading.Lock()
        self._folder: Folder | None = None
        self._spool: Spool | None = None
        self._since, self._batches = 0.0, 0

    def append(self, records: pa.RecordBatch, models: pa.Array) -> None:
        """Keep records; when this returns, they outlive the process.

        Args:
            records: as `RECORDS`.
            models: whose predictions they are of; "" where that is not known yet.

        Raises:
            OSError: they could not be written, none of them.
        """
        batch = pa.RecordBatch.from_arrays([*records.columns, models], schema=_SPOOLED)
        with self._lock:
            if self._folder is None:
                self._folder = Folder.create(self._root)
                self._recover()
            if self._spool is None:
                self._spool = Spool(self._folder.path / f"{uuid.uuid4().hex}.arrow", _SPOOLED)
                self._since, self._batches = time.monotonic(), 0
            try:
                self._spool.append(batch)
            except OSError:
                if self._spool.torn or not self._spool.rows:
                    self._seal()
                raise
            self._batches += 1
            old = time.monotonic() - self._since >= _SECONDS
            if self._spool.rows >= _ROWS or self._batches >= _BATCHES or old:
                self._seal()

    def close(self) -> None:
        """Seal what there is."""
        with self._lock:
            if self._spool is not None:
                self._seal()
            if self._folder is not None:
                self._folder.close()
                self._folder = None

    def _seal(self) -> None:
        assert self._spool is not None
        spool, self._spool = self._spool, None
        spool.close()
        if spool.rows:
            self._logged([spool.path])

    def _recover(self) -> None:
        """What dead processes left."""
        for folder in Folder.abandoned(self._root):
            self._logged(folder.spools())
            folder.close()

    def _logged(self, paths: Iterable[Path]) -> None:
        """A spool that cannot be sealed is left to whoever starts next; it is read as it is."""
        for path in paths:
            first = int(time.time() // _HOUR) - 24 * self._days if self._days else 0
            try:
                with _alone(self._root):
                    _distribute(path, self._root, first)
                    if first:
                        _forget(self._root, first)
            except (OSError, pa.ArrowException) as error:
                logger.error("%s cannot be sealed yet; nothing is lost: %s", path, error)


class Labels:
    """The labels as they are now, those included that are not sealed yet.

    What lies in spools is read here and now, once: what is sealed meanwhile is read twice.

    Args:
        root: of the labels, which need not exist.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._spooled = _spooled(root)
        self._hours = ids.hours(_words(self._spooled))

    def latest(self, model: str, hour: int, wanted: Wanted | None = None) -> pa.Table:
        """The label of each prediction of a model and an hour that has one.

        Those of predictions that were not in the log when they were labelled are among them.

        Args:
            model: its name; "" for those alone.
            hour: of the ids, counted from 1970-01-01 UTC.
            wanted: only of these ids.

        Returns:
            `RECORDS`, one for each id, in no certain order.
        """
        return _last(self._records(model, hour, wanted))

    def told(self, model: str, prediction: uuid.UUID) -> pa.Table:
        """All that was told of one prediction of a model: `RECORDS`, the last one at the end."""
        words = ids.from_arrow(pa.array([prediction.bytes], ids.TYPE))
        records = self._records(model, ids.hour_of(prediction), Wanted(words))
        return records.group_by(RECORDS.names).aggregate([]).sort_by(_TOLD)  # each once

    def _records(self, model: str, hour: int, wanted: Wanted | None) -> pa.Table:
        mine = np.flatnonzero(self._hours == hour)
        near = self._spooled.take(pa.array(mine))
        fits = pc.is_in(near.column("model"), value_set=pa.array(["", model]))
        parts = [near.filter(fits).select(RECORDS.names)]
        if wanted is not None:
            parts = [part.take(pa.array(_rows(part, wanted))) for part in parts]
        pending = wanted or _Hour(hour)
        parts += _read(self._root / PENDING, pending)
        if model:
            parts += _read(self._root / layout.partition(model, hour), wanted or _Hour(hour))
        return pa.concat_tables(parts).combine_chunks()


class _Hour(Wanted):
    """All ids of an hour."""

    def __init__(self, hour: int) -> None:
        self._low = np.uint64(hour * ids.HOUR_MS) << np.uint64(16)
        self._high = np.uint64((hour + 1) * ids.HOUR_MS) << np.uint64(16)

    def match(self, found: pa.Array) -> tuple[Places, Places]:
        """Places of ids of the hour."""
        high = ids.from_arrow(found)[:, 0]
        rows = np.flatnonzero((high >= self._low) & (high < self._high))
        return rows, rows

    def _between(self, low: np.uint64, high: np.uint64) -> tuple[int, int]:
        return 0, int(low < self._high and high >= self._low)


def _read(directory: Path, wanted: Wanted) -> list[pa.Table]:
    """The rows of a directory's files that are wanted, listed again if files became one."""
    while True:
        try:
            return [
                table.take(pa.array(rows))
                for path in directory.glob("*.parquet")
                for table, rows, _ in groups_with(path, wanted, RECORDS.names)
            ]
        except FileNotFoundError:
            continue


def _rows(table: pa.Table, wanted: Wanted) -> Places:
    return wanted.match(table.column("id").combine_chunks())[0]


def _words(table: pa.Table) -> ids.Words:
    column = table.column("id").combine_chunks()
    return ids.from_arrow(column) if len(column) else np.empty((0, 2), np.uint64)


def _last(table: pa.Table) -> pa.Table:
    """Of each id the record that was told last."""
    if not len(table):
        return table
    words = _words(table)
    told = table.column("time").cast(pa.int64()).to_numpy(), table.column("row").to_numpy()
    order = np.lexsort((told[1], told[0], words[:, 1], words[:, 0]))
    ordered = words[order]
    last = np.append((ordered[1:] != ordered[:-1]).any(axis=1), True)
    return table.take(pa.array(order[last]))


def _spooled(root: Path) -> pa.Table:
    batches = []
    for path in root.glob(f"{layout.SPOOLS}/*/*.arrow"):
        with suppress(FileNotFoundError), pa.OSFile(str(path)) as source:  # or sealed meanwhile
            batches += list(spools.batches(source))
    return pa.Table.from_batches(batches, _SPOOLED).combine_chunks()


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """One process at a time makes one file of several."""
    with (root / "sealing.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _distribute(spool: Path, root: Path, first: int) -> None:
    """A spool's records into the directories of their models and hours; then it is removed.

    What belongs to hours before the first that is kept is left out wherever files become one.
    Doing it again after a crash leaves records twice, which changes nothing.
    """
    with pa.OSFile(str(spool)) as source:
        table = pa.Table.from_batches(spools.batches(source), _SPOOLED).combine_chunks()
    hours = ids.hours(_words(table))
    for model in pc.unique(table.column("model")).to_pylist():
        of_model = np.asarray(pc.equal(table.column("model"), model))
        if not model:
            _put(root / PENDING, table.filter(pa.array(of_model)), first)
            continue
        for hour in np.unique(hours[of_model]).tolist():
            rows = pa.array(of_model & (hours == hour))
            _put(root / layout.partition(model, hour), table.filter(rows), first)
    spool.unlink()


def _put(directory: Path, table: pa.Table, first: int) -> None:
    """Add records to a directory; many small files become one."""
    directory.mkdir(parents=True, exist_ok=True)
    there = [p for p in directory.glob("*.parquet") if p.stat().st_size < _WHOLE_BYTES]
    parts = [table.select(RECORDS.names)]
    if len(there) + 1 < _FILES:
        there = []
    parts += [pq.read_table(path, schema=RECORDS, partitioning=None) for path in there]
    whole = pa.concat_tables(parts).combine_chunks()
    words = _words(whole)
    order = np.lexsort((words[:, 1], words[:, 0]))
    whole = whole.take(pa.array(order[ids.hours(words[order]) >= first]))
    if len(whole):
        _write(whole, directory)
    for old in there:
        old.unlink(missing_ok=True)


def _write(table: pa.Table, directory: Path) -> None:
    partial = directory / "next.part"  # whoever died over it left it to us
    try:
        pq.write_table(
            table,
            partial,
            row_group_size=_GROUP_ROWS,
            compression="zstd",
            use_dictionary=["label", "source"],
            write_statistics=["id"],
        )
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.rename(directory / f"{uuid.uuid4().hex}.parquet")
    finally:
        partial.unlink(missing_ok=True)  # where that went wrong: a full disk needs the room


def _forget(root: Path, first: int) -> None:
    """Remove what belongs to hours before the first that is kept."""
    sweep(root, first)
    bound = (first * ids.HOUR_MS).to_bytes(6)
    for path in (root / PENDING).glob("*.parquet"):
        file = pq.read_metadata(path)
        last = file.row_group(file.num_row_groups - 1).column(0).statistics.max
        if last[:6] < bound:
            path.unlink(missing_ok=True)
