"""Profiles of Parquet files that hold a model's columns flat, as a data set has them."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pellucid.analysis.watching.counting import tally
from pellucid.analysis.watching.profiles import Bins, Profile, Tally
from pellucid.errors import InvalidData
from pellucid.monitoring.profiles.profiling import ReferenceProfile

_BATCH_ROWS = 2**17
_BUFFER = 2**20  # bytes of a column that are read at once, however large its part of the file is


def profile_parquet(
    path: Path, reference: ReferenceProfile, *, threads: int | None = None
) -> Profile:
    """The rows of a Parquet file, or of a directory of them, in the bins of a reference.

    A column at a time by each thread, so that memory does not grow with rows or columns. Strings
    that Parquet keeps in a dictionary are looked up once each.

    Args:
        path: columns have the names of the model's; scores may be there as `outputs.value` and so
            on. One that is not there is missing in every row.
        reference: whose bins are taken. Rows are not counted by group.
        threads: by default as many as there are cores.

    Raises:
        InvalidData: a file cannot be read.
    """
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise InvalidData("There is no Parquet file in it.", where={"file": str(path)})
    bins = reference.bins
    try:
        rows = sum(pq.read_metadata(file).num_rows for file in files)
        with ThreadPoolExecutor(threads or os.cpu_count(), "profile") as pool:
            found = list(pool.map(lambda name: _tally(files, name, bins[name]), bins))
    except (OSError, pa.ArrowException) as error:
        raise InvalidData(
            f"A Parquet file cannot be read: {error}.",
            where={"file": str(path)},
            remedy="Write it again.",
        ) from error
    return Profile(bins, dict(zip(bins, found, strict=True)), rows)


def _tally(files: Sequence[Path], name: str, bins: Bins) -> Tally:
    found = Tally(np.zeros(len(bins), np.int64))
    for path in files:
        schema = pq.read_schema(path)
        coded = name in schema.names and pa.types.is_string(schema.field(name).type)
        options = {"read_dictionary": [name]} if coded else {}
        with pq.ParquetFile(path, buffer_size=_BUFFER, **options) as file:
            if name not in schema.names:
                found += Tally(np.zeros(len(bins), np.int64), missing=file.metadata.num_rows)
                continue
            for batch in file.iter_batches(_BATCH_ROWS, columns=[name], use_threads=False):
                found += tally(batch.column(0), bins, len(batch))
    return found
