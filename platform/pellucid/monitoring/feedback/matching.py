"""Many ids looked for at once, in files whose row groups tell their smallest and largest id."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pellucid.monitoring import ids, layout, spools

Places = NDArray[np.int64]


class Wanted:
    """Ids that are looked for.

    Args:
        words: (N, 2), each id once.
    """

    def __init__(self, words: ids.Words) -> None:
        self._order = np.lexsort((words[:, 1], words[:, 0]))
        self._words = words[self._order]
        self._ids = ids.to_arrow(self._words)

    def match(self, found: pa.Array) -> tuple[Places, Places]:
        """Which of the ids found are wanted.

        Only the wanted ids between the smallest and the largest one found are hashed.

        Args:
            found: ids, any number of times each.

        Returns:
            Places in `found`, rising, and for each the place of its id among the wanted words.
        """
        if not len(found):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        high = ids.from_arrow(found)[:, 0]
        first, last = self._between(high.min(), high.max())
        if first == last:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        index = pc.index_in(found, value_set=self._ids.slice(first, last - first))
        rows = np.flatnonzero(index.is_valid().to_numpy(zero_copy_only=False))
        within = index.take(pa.array(rows)).to_numpy(zero_copy_only=False)
        return rows, self._order[first + within]

    def overlaps(self, low: bytes, high: bytes) -> bool:
        """Whether a wanted id may lie between two ids."""
        words = np.frombuffer(low + high, ">u8").astype(np.uint64)
        first, last = self._between(words[0], words[2])
        return first < last

    def _between(self, low: np.uint64, high: np.uint64) -> tuple[int, int]:
        column = self._words[:, 0]
        return int(column.searchsorted(low)), int(column.searchsorted(high, "right"))


def groups_with(
    path: Path, wanted: Wanted, columns: list[str] | None = None
) -> Iterator[tuple[pa.Table, Places, Places]]:
    """The row groups of a Parquet file that hold wanted ids, and the places of both.

    Raises:
        FileNotFoundError: the file was removed since it was listed.
    """
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            bounds = file.metadata.row_group(group).column(0).statistics  # the id comes first
            known = bounds is not None and bounds.has_min_max
            if known and not wanted.overlaps(bounds.min, bounds.max):
                continue
            table = file.read_row_group(group, columns=columns)
            rows, places = wanted.match(table.column("id").combine_chunks())
            if len(rows):
                yield table, rows, places


class Origins(NamedTuple):
    """Which version made each of N predictions.

    Attributes:
        versions: (model, version), each once.
        which: (N,) places in `versions`; -1 of predictions that are not in the log.
    """

    versions: list[tuple[str, int]]
    which: Places


def origins(log: Path, words: ids.Words) -> Origins:
    """Look predictions up in the prediction log.

    Only the hours of the ids are looked at, there only the row groups that may hold them, and of
    those only the column of ids: a million are found in seconds.

    Args:
        log: its root.
        words: (N, 2), each id once.
    """
    found: dict[tuple[str, int], int] = {}
    which = np.full(len(words), -1)
    hours = ids.hours(words)
    order = np.argsort(hours, kind="stable")
    ends = np.flatnonzero(np.diff(hours[order], append=-1)) + 1
    start = 0
    for end in ends.tolist():
        rows = order[start:end]
        start = end
        wanted = Wanted(words[rows])
        missing = np.ones(len(rows), bool)
        for version, places in _in_hour(log, int(hours[rows[0]]), wanted):
            which[rows[places]] = found.setdefault(version, len(found))
            missing[places] = False
            if not missing.any():
                break
    return Origins(list(found), which)


def _in_hour(log: Path, hour: int, wanted: Wanted) -> Iterator[tuple[tuple[str, int], Places]]:
    """Spools first: what is sealed meanwhile is found as a segment."""
    within = f"model=*/{layout.hour_name(hour)}"
    for path in log.glob(f"{layout.SPOOLS}/*/{within}/*.arrow"):
        try:
            source = pa.OSFile(str(path))
        except FileNotFoundError:  # sealed since it was listed
            continue
        with source:
            for batch in spools.batches(source):
                rows, places = wanted.match(batch.column("id"))
                if len(rows):
                    yield _version(batch.schema, batch.column("model")[0]), places
    for path in log.glob(f"{within}/*.parquet"):
        try:
            for table, _, places in groups_with(path, wanted, ["id", "model"]):
                yield _version(pq.read_schema(path), table.column("model")[0]), places
        except FileNotFoundError:  # removed since it was listed
            continue


def _version(schema: pa.Schema, model: pa.Scalar) -> tuple[str, int]:
    return model.as_py(), int(schema.metadata[b"version"])
