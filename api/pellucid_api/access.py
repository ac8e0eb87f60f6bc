"""The access log: one line for each request that was answered, whatever front it came through.

A request appends one tuple. A thread makes lines of them and writes these in bulk, several times
a second; what it cannot write in time is counted, and a request never waits for it.
"""

import functools
import json
import logging
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from select import PIPE_BUF
from typing import Any, Literal, NamedTuple, TextIO

Client = tuple[Any, ...] | None  # (host, port)


class Entry(NamedTuple):
    """An answered request. Times are of `time.perf_counter`; a plain tuple will do as well."""

    received: float
    answered: float
    method: bytes
    path: bytes  # without the query, which may hold what is nobody's business
    status: int
    identity: bytes  # the X-Request-ID
    client: Client
    size: int  # bytes of the response's body


Record = Entry | tuple[float, float, bytes, bytes, int, bytes, Client, int]
Note = Callable[[Record], None]

CLIENT_LEFT = 499  # nginx' number for a request whose client went away; nobody reads it

logger = logging.getLogger("pellucid_api.access")
_LIMIT = 100_000  # entries that wait
_PIECE = 32  # lines made at once: as long as that takes, nothing else runs
_PAUSE = 1e-4  # seconds after a piece; on one core requests would else wait for all of them
_BUSY = 2048  # entries; if more wait, their number matters more than how long a request waits
_SECONDS = 0.2  # between two writings


def message(entry: Record) -> str:
    """An entry for people."""
    received, answered, method, path, status, identity, client, size = entry
    return (
        f"{method.decode()} {_shown(path)} {status} {1000 * (answered - received):.1f} ms"
        f" {size} B {client[0] if client else '-'} {identity.decode()}"
    )


def to_logging(entry: Record) -> None:
    """Log an entry at once, as any other line."""
    logger.info("%s", message(entry))


class AccessLog:
    """Writes entries to a stream, in bulk.

    Args:
        style: lines for people, or one JSON object a line.
        stream: where they go.
        limit: most entries that wait; any more are lost, and counted.
    """

    def __init__(
        self, style: Literal["text", "json"], stream: TextIO | None = None, limit: int = _LIMIT
    ) -> None:
        self._line = _json_line if style == "json" else _text_line
        self._stream = stream or sys.stderr
        self._limit = limit
        self._entries: deque[Record] = deque()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="access-log", daemon=True)
        self._refused = 0  # by the event loop
        self._unwritten = 0  # by the thread: each adds to its own

    @property
    def lost(self) -> int:
        """Entries that were not written."""
        return self._refused + self._unwritten

    def note(self, entry: Record) -> None:
        """Take an entry, or count it as lost."""
        if len(self._entries) < self._limit:
            self._entries.append(entry)
        else:
            self._refused += 1

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write what has been noted, and end."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _follow(self) -> None:
        stopping = False
        while not stopping:
            stopping = self._stopping.wait(_SECONDS)
            self._write()

    def _write(self) -> None:
        # The clock of entries does not jump; that of lines does, and is asked only here.
        offset = time.time() - time.perf_counter()
        taken = len(self._entries)
        while taken > 0:
            piece = [self._entries.popleft() for _ in range(min(taken, _PIECE))]
            taken -= len(piece)
            if 0 < taken < _BUSY:
                time.sleep(_PAUSE)
            for lines in _together([self._line(entry, offset) for entry in piece]):
                try:
                    self._stream.write("".join(lines))
                    self._stream.flush()
                except (OSError, ValueError):  # the disk is full, or the stream is closed
                    self._unwritten += len(lines)


def _together(lines: list[str]) -> Iterator[list[str]]:
    """As many lines at once as a pipe takes in one piece: other processes may write to it."""
    start = size = 0
    for end, line in enumerate(lines):
        if size + len(line) > PIPE_BUF:
            yield lines[start:end]
            start, size = end, 0
        size += len(line)
    yield lines[start:]


@functools.lru_cache(1024)
def _shown(path: bytes) -> str:
    return path.decode("ascii", "backslashreplace")


@functools.lru_cache(4)
def _local(second: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(second))


@functools.lru_cache(4)
def _utc(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def _text_line(entry: Record, offset: float) -> str:
    """As `pellucid.logs` writes the lines of other loggers."""
    second, part = divmod(entry[1] + offset, 1)
    return f"{_local(int(second))},{int(1000 * part):03d} INFO    {logger.name}: {message(entry)}\n"


def _json_line(entry: Record, offset: float) -> str:
    received, answered, method, path, status, identity, client, size = entry
    time_of = answered + offset
    second = int(time_of)
    return (
        f'{{"time": "{_utc(second)}.{int(1000 * (time_of - second)):03d}Z", '
        f"{_fields(method, path, status, client[0] if client else '')}, "
        f'"seconds": {answered - received:.6f}, "bytes": {size}, '
        f'"request_id": "{identity.decode()}"}}\n'
    )


@functools.lru_cache(1024)
def _fields(method: bytes, path: bytes, status: int, client: str) -> str:
    """What many lines have in common."""
    fields = {
        "level": "info",
        "logger": logger.name,
        "method": method.decode(),
        "path": _shown(path),
        "status": status,
        "client": client,
    }
    return json.dumps(fields)[1:-1]
