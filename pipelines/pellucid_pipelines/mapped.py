"""A table larger than memory: rewritten once as an Arrow file, which is then mapped.

Its rows cost page cache, which the kernel takes back at will, and no memory of the process. Rows
that lie together are stored together, in blocks that hold all of their columns: to read some rows
of a Parquet file means to decode thousands around them, here it means to touch their pages.
"""

import errno
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pellucid.errors import StorageFull

_BLOCK = 2**18  # bytes of a block
_SAMPLE = 256  # rows whose size stands for that of all
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Mapped:
    """A table in a mapped Arrow file; whole columns come from the Parquet file that it was.

    Reading is safe from several threads.

    Attributes:
        block: rows that are stored together; the last block may have fewer.
        row_bytes: what a row takes, on average.
    """

    def __init__(self, path: Path, parquet: Path) -> None:
        self._source = pa.memory_map(str(path))
        self._reader = pa.ipc.open_file(self._source)
        self._reading = threading.Lock()
        self._parquet = parquet
        blocks = self._reader.num_record_batches
        self.block = max(1, self._reader.get_batch(0).num_rows)
        self.num_rows = (blocks - 1) * self.block + self._reader.get_batch(blocks - 1).num_rows
        self.row_bytes = path.stat().st_size / max(1, self.num_rows)
        self.schema = self._reader.schema
        self.column_names: list[str] = self.schema.names

    def column(self, name: str) -> pa.ChunkedArray:
        """A whole column, in memory."""
        return pq.read_table(self._parquet, columns=[name])[name]

    def take(self, rows: np.ndarray | pa.Array) -> pa.Table:
        """Some rows, in memory. Ascending ones cost least."""
        wanted = np.asarray(rows)
        blocks = wanted // self.block
        cuts = np.flatnonzero(np.diff(blocks)) + 1
        parts = [self._some(part) for part in np.split(wanted, cuts) if len(part)]
        return pa.Table.from_batches(parts, self.schema).combine_chunks()

    def _some(self, rows: np.ndarray) -> pa.RecordBatch:
        """Some rows of one block."""
        block = int(rows[0]) // self.block
        with self._reading:
            batch = self._reader.get_batch(block)
        return batch.take(pa.array(rows - block * self.block))


def rewrite(parquet: Path, target: Path, columns: Sequence[str]) -> None:
    """Write columns of a Parquet file as an uncompressed Arrow file, block by block.

    Raises:
        StorageFull: no space is left; nothing remains.
    """
    file = pq.ParquetFile(parquet, pre_buffer=False, buffer_size=2**16)  # not all at once
    schema = pa.schema([field for field in file.schema_arrow if field.name in set(columns)])
    rows = max(1, int(_BLOCK // max(1.0, bytes_of_a_row(file, columns))))
    batches = file.iter_batches(rows, columns=list(columns))
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with pa.OSFile(str(target), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            for batch in _even(batches, rows):
                writer.write_batch(batch)
            if not file.metadata.num_rows:
                writer.write_batch(pa.RecordBatch.from_pylist([], schema))
    except OSError as error:
        target.unlink(missing_ok=True)
        if error.errno in _FULL:
            raise StorageFull(
                "No space is left for the rows of the run, which are streamed from the disk.",
                where={"file": str(target)},
                remedy="Free space under PELLUCID_HOME, or use fewer columns.",
            ) from error
        raise


def release() -> None:
    """Give back what Arrow keeps for its next allocation: after whole columns that is much."""
    pa.default_memory_pool().release_unused()


def bytes_of_a_row(file: pq.ParquetFile, columns: Sequence[str]) -> float:
    """What a row takes in memory, by the first ones."""
    first = next(file.iter_batches(_SAMPLE, columns=list(columns)), None)
    return 0.0 if first is None or not len(first) else first.nbytes / len(first)


def _even(batches: Iterable[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    """The same rows in batches of one size; the last one may be smaller."""
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        while count + len(batch) >= rows:
            yield pa.concat_batches([*held, batch.slice(0, rows - count)])
            batch = batch.slice(rows - count)
            held, count = [], 0
        if len(batch):
            held.append(batch)
            count += len(batch)
    if held:
        yield pa.concat_batches(held)
