"""Some rows of a window: as many as memory holds, the same ones in whatever order they come."""

from collections.abc import Callable, Iterable, Sequence

import pyarrow as pa

from pellucid.bundle import Input
from pellucid.monitoring import ids
from pellucid.monitoring.profiles.contents import light

COLUMNS = ("id", "inputs", "outputs")
ROWS = 5_000  # of a window that are looked at one by one, at most


class Sample:
    """All rows as long as they are few, then a half of them, a quarter, and so on.

    Whether a row is kept depends on its id alone, so it is a fair sample of all.

    Args:
        most: rows.
        kept_as: what rows that are kept become; they go on having a column `id`.
    """

    def __init__(
        self, most: int, kept_as: Callable[[pa.RecordBatch], pa.RecordBatch] = lambda rows: rows
    ) -> None:
        self._most, self._kept_as = most, kept_as
        self._share = 1.0
        self._batches: list[pa.RecordBatch] = []
        self.seen = self.rows = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Take rows in; they have a column `id`."""
        self.seen += len(batch)
        kept = _chosen(batch, self._share)
        if len(kept):
            self._batches.append(self._kept_as(kept))
            self.rows += len(kept)
        while self.rows > self._most:
            self._share /= 2
            halved = [_chosen(each, self._share) for each in self._batches]
            self._batches = [each for each in halved if len(each)]
            self.rows = sum(map(len, self._batches))

    def batches(self) -> list[pa.RecordBatch]:
        """What is kept, sorted by id: a batch for each of the types that its files have."""
        alike: dict[str, list[pa.RecordBatch]] = {}
        for each in self._batches:
            alike.setdefault(str(pa.struct(each.schema)), []).append(each)
        return [pa.concat_batches(alike[kind]).sort_by("id") for kind in sorted(alike)]


def sampled(parts: Iterable[pa.RecordBatch], inputs: Sequence[Input]) -> list[pa.RecordBatch]:
    """At most `ROWS` rows, with what is read of images, texts and sequences in their place.

    Args:
        parts: of the log, with `COLUMNS`.
        inputs: of the version.
    """
    sample = Sample(ROWS, lambda rows: light(rows, inputs))
    for part in parts:
        sample.add(part)
    return sample.batches()


def _chosen(batch: pa.RecordBatch, share: float) -> pa.RecordBatch:
    if share == 1:
        return batch
    return batch.filter(pa.array(ids.sampled(ids.from_arrow(batch.column("id")), share)))
