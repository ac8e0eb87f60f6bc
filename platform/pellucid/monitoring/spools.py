"""Spools: Arrow IPC streams that one process appends to, and takes over from the dead."""

import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

import pyarrow as pa

from pellucid.monitoring.layout import SPOOLS


class Spool:
    """A file that grows by whole record batches, readable at any time.

    What `append` has returned from is with the kernel: it outlives the process.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path = path
        self.rows = 0
        self.bytes = 0
        self.torn = False  # it ends with a part of a batch, which is lost: nothing may follow
        self.schema = schema
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o640)

    def append(self, batch: pa.RecordBatch) -> None:
        """Write a batch, or nothing of it.

        Raises:
            OSError: it cannot be written; the next one may be.
        """
        parts = [] if self.bytes else [self.schema.serialize()]
        parts.append(batch.serialize())
        try:
            for part in parts:
                _write(self._file, part)
        except OSError:
            self.torn = True
            os.ftruncate(self._file, self.bytes)
            self.torn = False
            raise
        self.bytes += sum(part.size for part in parts)
        self.rows += len(batch)

    def close(self) -> None:
        """Let go of the file; without a row it is removed."""
        os.close(self._file)
        if not self.rows:
            self.path.unlink()


def _write(file: int, part: pa.Buffer) -> None:
    view = memoryview(part)
    while view:
        view = view[os.write(file, view) :]


def batches(source: pa.NativeFile) -> Iterator[pa.RecordBatch]:
    """The whole batches of a spool; one that is being written, or was torn, is left out.

    Raises:
        OSError: the disk does not give what it holds: what follows is not known.
    """
    try:
        stream = pa.ipc.open_stream(source)
        while True:
            yield stream.read_next_batch()
    except (StopIteration, EOFError, pa.ArrowException):
        return
    except OSError as error:
        _raise_if_unreadable(error)


def schema_of(source: pa.NativeFile) -> pa.Schema | None:
    """The columns of a spool, if it has that much; the source is read from its start again."""
    try:
        return pa.ipc.open_stream(source).schema
    except (EOFError, pa.ArrowException):
        return None
    except OSError as error:
        _raise_if_unreadable(error)
        return None
    finally:
        source.seek(0)


def _raise_if_unreadable(error: OSError) -> None:
    """Arrow's error for a stream that ends too soon has no number; those of a disk have one."""
    if error.errno:
        raise error


class Folder:
    """A directory of spools, locked for as long as its owner lives and holds it."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def create(cls, root: Path) -> Self:
        """A new one for this process.

        Raises:
            OSError: it cannot be made.
        """
        (root / SPOOLS).mkdir(parents=True, exist_ok=True)
        while True:
            path = root / SPOOLS / uuid.uuid4().hex
            lock = _lock(path, os.O_CREAT)
            if lock is not None:
                path.mkdir()
                return cls(path, lock)

    @classmethod
    def abandoned(cls, root: Path) -> Iterator[Self]:
        """Those whose owners are dead, taken over one after the other."""
        for file in sorted((root / SPOOLS).glob("*.lock")):
            path = file.with_suffix("")
            lock = _lock(path)
            if lock is not None:
                yield cls(path, lock)

    def spools(self) -> list[Path]:
        """What lies in it."""
        return sorted(self.path.rglob("*.arrow"))

    def close(self) -> None:
        """Give it up; it is removed, unless spools are left in it."""
        if not self.spools():
            shutil.rmtree(self.path, ignore_errors=True)
            with suppress(OSError):
                self.path.with_suffix(".lock").unlink()
        os.close(self._lock)


def _lock(path: Path, flags: int = 0) -> int | None:
    """The descriptor that holds a folder's lock; None where another process has it."""
    name = path.with_suffix(".lock")
    try:
        descriptor = os.open(name, os.O_RDWR | flags, 0o640)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if name.stat().st_ino == os.fstat(descriptor).st_ino:  # else removed before we got it
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return None
