"""Writing the prediction log: batches into spools, spools into segments.

    batch ──▶ spool of its model, version and hour ──(full, old, or the hour is over)──▶ segment

One thread writes; another one seals, takes over what dead processes left, and removes what is older
than it is kept, so that writing never waits for a disk to be synchronised.
"""

import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa

from pellucid.monitoring import ids, layout, segments
from pellucid.monitoring.spools import Folder, Spool

_SEGMENT_BYTES = 2**28  # of a spool
_AGAIN_SECONDS = 10.0  # between tries to seal what could not be sealed
_SWEEP_SECONDS = 3600.0
_NICE = 10  # of 19; lower, and it could hold the interpreter's lock for long on a busy machine

logger = logging.getLogger(__name__)

Key = tuple[str, int, int]  # model, version, hour


@dataclass(frozen=True)
class Retention:
    """How long rows stay where.

    Args:
        segment_seconds: a spool is sealed when it is this old,
        segment_rows: or has this many rows.
        days: segments of older rows are removed; 0 keeps all.
    """

    segment_seconds: float = 300.0
    segment_rows: int = 1_000_000
    days: int = 0


@dataclass
class _Open:
    spool: Spool
    since: float = field(default_factory=time.monotonic)


class LogWriter:
    """One process's end of the prediction log. Its methods are for one thread.

    Args:
        root: of the log.
        retention: when spools are sealed and segments removed.
    """

    def __init__(self, root: Path, retention: Retention) -> None:
        self._root = root
        self._retention = retention
        self._folder: Folder | None = None
        self._open: dict[Key, _Open] = {}
        self._sealer = ThreadPoolExecutor(1, "prediction-log-sealer", initializer=_yield)
        self._tidy_at = 0.0
        self._unsealed: list[Path] = []  # for the sealer, and so are the next two
        self._failing = False
        self._swept_at = float("-inf")

    def start(self) -> None:
        """Take over, in the background, what dead processes left unsealed."""
        self._sealer.submit(self._logged, self._recover)

    def write(self, batch: pa.RecordBatch, model: str, version: int, hour: int) -> None:
        """Append rows of one version and hour; when this returns, they outlive the process.

        Raises:
            OSError: they could not be written, none of them.
        """
        key = model, version, hour
        if key in self._open and self._open[key].spool.schema != batch.schema:
            self._close(key)  # a version that was deleted, and another of its number
        if key not in self._open:
            self._open[key] = _Open(self._new_spool(batch, key))
        spool = self._open[key].spool
        try:
            spool.append(batch)
        except OSError:
            if spool.torn or not spool.rows:  # full disks are not filled with empty files
                self._close(key)
            raise

    def roll(self) -> None:
        """Have what is full, old or of an hour that is over sealed; call it now and then."""
        now, hour = time.monotonic(), int(time.time() // 3600)
        for key, each in list(self._open.items()):
            old = now - each.since >= self._retention.segment_seconds or key[2] < hour
            full = each.spool.rows >= self._retention.segment_rows
            if old or full or each.spool.bytes >= _SEGMENT_BYTES:
                self._close(key)
        if now >= self._tidy_at:
            self._tidy_at = now + _AGAIN_SECONDS
            self._sealer.submit(self._logged, self._tidy)

    def close(self) -> None:
        """Seal everything and let go of it. Spools that cannot be sealed are left for recovery."""
        for key in list(self._open):
            self._close(key)
        self._sealer.submit(self._logged, self._seal_again)
        self._sealer.shutdown()
        if self._folder is not None:
            self._folder.close()

    def _new_spool(self, rows: pa.RecordBatch, key: Key) -> Spool:
        if self._folder is None:
            self._folder = Folder.create(self._root)
        model, _, hour = key
        name = f"{ids.text(rows.column('id')[0].as_py())}.arrow"
        return Spool(self._folder.path / layout.partition(model, hour) / name, rows.schema)

    def _close(self, key: Key) -> None:
        spool = self._open.pop(key).spool
        spool.close()
        if spool.rows:
            self._sealer.submit(self._logged, self._seal, spool.path)

    def _logged(self, call: Callable[..., None], *arguments: Path) -> None:
        """The sealer outlives a surprise; what it left undone is still on the disk."""
        try:
            call(*arguments)
        except Exception:
            logger.exception("tending the prediction log failed")

    def _seal(self, spool: Path) -> None:
        try:
            segments.seal(spool, layout.segment_of(spool, self._root))
        except (OSError, pa.ArrowException) as error:
            if not self._failing:
                logger.error("the prediction log cannot be sealed yet; nothing is lost: %s", error)
            self._failing = True
            self._unsealed.append(spool)
        else:
            self._failing = False

    def _seal_again(self) -> None:
        waiting, self._unsealed = self._unsealed, []
        for spool in waiting:
            self._seal(spool)

    def _recover(self) -> None:
        for folder in Folder.abandoned(self._root):
            sealed = 0
            for spool in folder.spools():
                try:
                    segments.seal(spool, layout.segment_of(spool, self._root))
                    sealed += 1
                except (OSError, pa.ArrowException) as error:
                    logger.error(
                        "%s cannot be recovered; the next start will try: %s", spool, error
                    )
            folder.close()
            logger.info("recovered %d spools of a process that ended", sealed)

    def _tidy(self) -> None:
        self._seal_again()
        if self._retention.days and time.monotonic() - self._swept_at >= _SWEEP_SECONDS:
            self._swept_at = time.monotonic()
            kept = int(time.time() // 3600) - 24 * self._retention.days
            sweep(self._root, kept)


def _yield() -> None:
    """Let other threads go first: sealing can wait, and rows are found unsealed as well."""
    with suppress(OSError):
        if sys.platform == "linux":  # where threads have priorities of their own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


def by_hour(batch: pa.RecordBatch) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The rows of a batch, by the hours of their ids."""
    words = ids.from_arrow(batch.column("id"))
    if not len(words):
        return
    first, last = (ids.hours(words[np.newaxis, row]).item() for row in _ends(words))
    if first == last:
        yield first, batch
        return
    hours = ids.hours(words)
    for hour in np.unique(hours).tolist():
        yield hour, batch.filter(pa.array(hours == hour))


def _ends(words: ids.Words) -> tuple[int, int]:
    """The rows of the earliest and the latest id."""
    high = np.ascontiguousarray(words[:, 0])
    return int(high.argmin()), int(high.argmax())


def sweep(root: Path, first: int) -> None:
    """Remove the segments of hours before the first that is kept, counted from 1970-01-01 UTC."""
    oldest = layout.hour_name(first)
    for directory in root.glob("model=*/hour=*"):
        if directory.name < oldest:
            shutil.rmtree(directory, ignore_errors=True)
            logger.info("removed %s: it is older than predictions are kept", directory)
