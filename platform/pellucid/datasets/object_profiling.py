"""Profiles of image and list columns, in one pass; of each value only a digest stays in memory."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pellucid.analysis.profiles import profile_images, profile_lists
from pellucid.datasets.objects import read_batches
from pellucid.raw import images
from pellucid.resources.datasets import ColumnProfile
from pellucid.schema import StorageType

_DIGEST_BYTES = 16


def profile_objects(path: Path, name: str, storage: StorageType, file: str) -> ColumnProfile:
    """The profile of one column of a canonical Parquet file."""
    column = _Column(path, name, file)
    if storage is StorageType.BINARY:
        profile = profile_images(name, column.images())
    else:
        profile = profile_lists(name, column.lists())
    return profile.model_copy(update=column.counts())


class _Column:
    """A column that is read once; its counts are known afterwards."""

    def __init__(self, path: Path, name: str, file: str) -> None:
        self._path, self._name, self._file = path, name, file
        self._rows = 0
        self._digests = bytearray()

    def images(self) -> Iterator[tuple[str, int, int, int]]:
        """Format, height, width and bytes of each image."""
        for values in self._read():
            for value in values.to_pylist():
                self._digest(value)
                seen = images.inspect(value)
                yield seen.format, seen.height, seen.width, len(value)

    def lists(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """Lengths (n,) and elements (m,) of some lists."""
        for values in self._read():
            lengths = pc.list_value_length(values).to_numpy().astype(np.int64)
            elements = values.flatten().to_numpy(zero_copy_only=False)
            for end, length in zip(np.cumsum(lengths).tolist(), lengths.tolist(), strict=True):
                self._digest(elements[end - length : end].tobytes())
            yield lengths, elements

    def counts(self) -> dict[str, int]:
        """Rows, and missing and distinct values."""
        pairs = np.frombuffer(self._digests, np.uint64).reshape(-1, 2)
        distinct = len(np.unique(pairs, axis=0)) if len(pairs) else 0
        return {"rows": self._rows, "missing": self._rows - len(pairs), "distinct": distinct}

    def _read(self) -> Iterator[pa.Array]:
        for batch in read_batches(self._path, [self._name], self._file):
            self._rows += batch.num_rows
            yield batch.column(0).drop_null()

    def _digest(self, value: bytes) -> None:
        self._digests += hashlib.blake2b(value, digest_size=_DIGEST_BYTES).digest()
