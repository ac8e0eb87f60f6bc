"""The recorder: answered requests into the prediction log, off the request path.

`record` puts a request into a bounded queue and returns. A thread empties the queue every 0.25 s,
joins the requests of each version into Arrow columns and writes them. What cannot be taken in or
written is lost and counted; no answer ever waits for it.
"""

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter

import numpy as np
import pyarrow as pa

from pellucid.monitoring import ids
from pellucid.monitoring.columns import Columns
from pellucid.monitoring.writer import LogWriter, by_hour
from pellucid.plan import Serving
from pellucid_api.engine.feeds import concatenated, join
from pellucid_api.engine.served import Served
from pellucid_api.plane.dataplane import Answered

_SECONDS = 0.25  # between two rounds
_QUEUE_BYTES = 2**28
_EACH_BYTES = 1024  # what a request takes beside its arrays
_BATCH_ROWS = 2**16
_BATCH_BYTES = 2**26
_DISK, _QUEUE = "the disk", "the queue"

logger = logging.getLogger(__name__)


class LogRecorder:
    """Records what is answered.

    Args:
        writer: of the log.
        queue_bytes: bound of the queue; what comes while it is full is lost.

    Attributes:
        recorded: rows that were written.
        left_out: rows that the plan's sample leaves out.
    """

    def __init__(self, writer: LogWriter, queue_bytes: int = _QUEUE_BYTES) -> None:
        self._writer = writer
        self._queue_bytes = queue_bytes
        self._waiting: list[Answered] = []
        # Each counter has one thread that adds to it, so that none is locked.
        self._taken_bytes = self._refused = 0  # by the event loop
        self._freed_bytes = self._failed = 0  # by the recorder's thread
        self.recorded = self.left_out = 0
        self._errors: dict[str, str] = {}  # what is in trouble, and why
        self._refused_before = 0
        self._wake, self._stopping = threading.Event(), threading.Event()
        self._round = threading.Condition()
        self._rounds = 0
        self._thread = threading.Thread(target=self._follow, name="prediction-log", daemon=True)

    @property
    def lost(self) -> int:
        """Rows that were answered and are not in the log: the queue was full, or the disk."""
        return self._refused + self._failed

    @property
    def error(self) -> str:
        """Why rows are being lost; empty where none are."""
        return "; ".join(f"{part}: {reason}" for part, reason in self._errors.items())

    @property
    def waiting_bytes(self) -> int:
        """How much is in the queue."""
        return self._taken_bytes - self._freed_bytes

    def start(self) -> None:
        """Recover what dead processes left, and begin to write."""
        self._writer.start()
        self._thread.start()

    def record(self, answered: Answered) -> None:
        """Take a request in, or count its rows as lost."""
        feed = answered.feed
        taken = self._taken_bytes + _EACH_BYTES + feed.rows * answered.served.layout.row_bytes
        for tensor in feed.tensors:
            taken += tensor.nbytes
        if taken - self._freed_bytes > self._queue_bytes:
            self._refused += feed.rows
            return
        self._waiting.append(answered)
        self._taken_bytes = taken

    def flush(self, timeout: float = 2.0) -> None:
        """Wait until what was recorded before this call is written, or lost."""
        with self._round:
            wanted = self._rounds + 2  # the round under way may have begun too early
            deadline = time.monotonic() + timeout
            while self._rounds < wanted and (left := deadline - time.monotonic()) > 0:
                self._wake.set()
                self._round.wait(min(left, 0.05))

    def close(self) -> None:
        """Write what waits, and seal it."""
        self._stopping.set()
        self._wake.set()
        if self._thread.ident is not None:  # it was started
            self._thread.join()
            self._writer.close()

    def _follow(self) -> None:
        while True:
            self._wake.wait(_SECONDS)
            self._wake.clear()
            stopping = self._stopping.is_set()
            self._empty()
            with self._round:
                self._rounds += 1
                self._round.notify_all()
            if stopping:
                return
            self._look_after()

    def _empty(self) -> None:
        """Write what waits now, in pieces that are bounded."""
        taken = self._taken_bytes  # read first: what comes meanwhile is not freed yet
        requests = self._waiting[:]
        del self._waiting[: len(requests)]
        for served, group in _by_version(requests):
            for alike in _alike(served, group):
                for piece, rows in _pieces(alike):
                    self._write(served, piece, rows)
        self._freed_bytes = taken

    def _write(self, served: Served, group: Sequence[Answered], left: int) -> None:
        """Write requests of one version whose arrays can be joined, together of `left` rows."""
        try:
            format = served.kept(_Format, _Format)
            assert format is not None
            batch = format.batch(group)
            self.left_out += left - len(batch)
            left = len(batch)
            for hour, rows in by_hour(batch):
                self._writer.write(rows, served.name, served.version, hour)
                self.recorded += len(rows)
                left -= len(rows)
        except OSError as error:
            self._fail(_DISK, str(error), left)
        except Exception as error:  # whatever it is, serving goes on, and so do other versions
            self._fail(f"{served.name} version {served.version}", repr(error), left)
        else:
            self._succeed(_DISK)

    def _look_after(self) -> None:
        """What need not be done for each request."""
        if self._refused > self._refused_before:
            self._fail(_QUEUE, "it is full: more is answered than can be written", 0)
        else:
            self._succeed(_QUEUE)
        self._refused_before = self._refused
        try:
            self._writer.roll()
        except OSError as error:
            self._fail(_DISK, str(error), 0)

    def _fail(self, part: str, reason: str, rows: int) -> None:
        self._failed += rows
        if part not in self._errors:  # one line for each trouble, not for each row
            logger.error("the prediction log loses rows; serving goes on. %s: %s", part, reason)
        self._errors = self._errors | {part: reason}  # others read it

    def _succeed(self, part: str) -> None:
        if part in self._errors:
            logger.warning("the prediction log is written again (%s); lost: %d", part, self.lost)
            self._errors = {name: why for name, why in self._errors.items() if name != part}


def _by_version(requests: list[Answered]) -> Iterator[tuple[Served, list[Answered]]]:
    versions = set(map(itemgetter(0), requests))
    for served in versions:
        if len(versions) > 1:
            yield served, [each for each in requests if each[0] is served]
        else:
            yield served, requests


def _pieces(group: list[Answered]) -> Iterator[tuple[list[Answered], int]]:
    """Requests whose arrays can be joined, in pieces that are bounded, with the rows of each."""
    feed = group[0].feed
    tensors = sum(tensor.nbytes for tensor in feed.tensors) // max(feed.rows, 1)
    most = min(_BATCH_ROWS, _BATCH_BYTES // (group[0].served.layout.row_bytes + tensors + 1))
    counts = [answered.feed.rows for answered in group]
    start = rows = 0
    if sum(counts) > most:
        for end, count in enumerate(counts):
            if rows and rows + count > most:
                yield group[start:end], rows
                start, rows = end, 0
            rows += count
    if left := sum(counts[start:]):  # a request may have none
        yield group[start:], left


def _alike(served: Served, group: list[Answered]) -> Iterable[list[Answered]]:
    """Requests in groups whose arrays can be joined: all of them, unless an axis has any length."""
    if all(-1 not in each.shape for each in served.model.manifest.inputs):
        return [group]
    found: dict[object, list[Answered]] = {}
    for answered in group:
        found.setdefault(answered.feed.key, []).append(answered)
    return found.values()


class _Format:
    """How the requests of one version become rows of the log."""

    def __init__(self, served: Served) -> None:
        manifest = served.model.manifest
        log = Serving.model_validate(manifest.plan.get("serving", {})).log
        self._sample = log.sample
        self._layout = served.layout
        self._outputs = [output.name for output in manifest.outputs]
        self._columns = Columns(
            served.name, served.version, manifest.inputs, manifest.outputs, log.redact
        )

    def batch(self, group: Sequence[Answered]) -> pa.RecordBatch:
        """The rows of some requests, or the sample of them that the plan wants."""
        _, feeds, outputs, firsts, times, seconds = zip(*group, strict=True)
        counts = np.array([feed.rows for feed in feeds])
        words = ids.from_numbers(firsts, counts)
        joined = [concatenated(each) for each in zip(*outputs, strict=True)]
        batch = self._columns.batch(
            words,
            np.repeat(np.array(times) // 1000, counts),
            np.repeat(np.array(seconds, np.float32) * 1000, counts),
            self._layout.unpack(join(feeds)),
            dict(zip(self._outputs, joined, strict=True)),
        )
        if self._sample == 1:
            return batch
        return batch.filter(pa.array(ids.sampled(words, self._sample)))
