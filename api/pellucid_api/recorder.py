"""The recorder: answered requests into the prediction log, off the request path.

`record` puts a request into a bounded queue, in which small requests are joined, and returns. A
thread empties the queue every 0.25 s, makes Arrow columns of each version's rows and writes them.
What cannot be taken in or written is lost and counted; no answer ever waits for it.
"""

import logging
import threading
import time
from collections.abc import Sequence

from pellucid.monitoring.writer import LogWriter, by_hour
from pellucid_api.engine.served import Served
from pellucid_api.oddities import Oddities
from pellucid_api.plane.dataplane import Answered
from pellucid_api.recorded import Format, Rows, alike, joined, pieces, together

_SECONDS = 0.25  # between two rounds
_QUEUE_BYTES = 2**28
_EACH_BYTES = 1024  # what a request takes beside its arrays
_TOGETHER = 128  # requests that are joined
_LARGE_BYTES = 2**16  # of a request; joining it would only copy it once more
_BATCH_ROWS = 2**13  # written at once: larger buffers are new memory from the kernel each time
_BATCH_BYTES = 2**20
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
        oddities: odd values in what was written.
    """

    def __init__(self, writer: LogWriter, queue_bytes: int = _QUEUE_BYTES) -> None:
        self._writer = writer
        self._queue_bytes = queue_bytes
        self._lock = threading.Lock()  # of these three
        self._unjoined: list[Answered] = []
        self._unjoined_bytes = 0
        self._joined: dict[tuple[Served, object], list[Rows]] = {}
        # Each counter has one thread that adds to it, so that none is locked.
        self._taken_bytes = self._refused = 0  # by the event loop
        self._freed_bytes = self._failed = 0  # by the recorder's thread
        self.recorded = self.left_out = 0
        self.oddities = Oddities()
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
        served = answered.served
        size = feed.rows * (served.layout.row_bytes + served.sensitive.row_bytes) + _EACH_BYTES
        for tensor in feed.tensors:
            size += tensor.nbytes
        if self._taken_bytes - self._freed_bytes + size > self._queue_bytes:
            self._refused += feed.rows
            return
        with self._lock:
            self._taken_bytes += size
            if size > _LARGE_BYTES:
                self._keep([answered])
                return
            self._unjoined.append(answered)
            self._unjoined_bytes += size
            if len(self._unjoined) >= _TOGETHER or self._unjoined_bytes >= _BATCH_BYTES:
                self._join()

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

    def _join(self) -> None:
        """Join what waits; with the lock, in the event loop or in the thread."""
        for group in alike(self._unjoined):
            try:
                self._keep(group)
            except Exception:  # told when they are written, one by one
                for each in group:
                    self._keep([each])
        self._unjoined, self._unjoined_bytes = [], 0

    def _keep(self, group: Sequence[Answered]) -> None:
        key = group[0].served, group[0].feed.key
        self._joined.setdefault(key, []).append(joined(group))

    def _empty(self) -> None:
        """Write what waits now, in pieces that are bounded."""
        with self._lock:
            taken = self._taken_bytes
            self._join()
            parts, self._joined = self._joined, {}
        for (served, _), found in parts.items():
            for piece in pieces(found, _BATCH_ROWS, _BATCH_BYTES):
                self._write(served, piece)
        self._freed_bytes = taken

    def _write(self, served: Served, piece: Sequence[Rows]) -> None:
        """Write rows of one version that can be joined."""
        left = sum(len(part.words) for part in piece)
        try:
            format = served.kept(Format, Format)
            assert format is not None
            batch = format.batch(together(piece))
            self.left_out += left - len(batch)
            left = len(batch)
            for hour, rows in by_hour(batch):
                self._writer.write(rows, served.name, served.version, hour)
                self.recorded += len(rows)
                left -= len(rows)
            self.oddities.add(served, batch)
        except OSError as error:
            self._fail(_DISK, str(error), left)
        except Exception as error:  # whatever it is, serving goes on, and so do other versions
            self._fail(_named(served), repr(error), left)
        else:
            self._succeed(_DISK)

    def _look_after(self) -> None:
        """What need not be done for each request."""
        if self._refused > self._refused_before:
            self._fail(_QUEUE, "it is full: more is answered than can be written", 0)
        else:
            self._succeed(_QUEUE)
        self._refused_before = self._refused
        self.oddities.settle()
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


def _named(served: Served) -> str:
    return f"{served.name} version {served.version}"
