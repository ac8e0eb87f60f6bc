"""A bounded sample of rows that come in batches: the same rows in whatever order they come."""

import pyarrow as pa

from pellucid.monitoring import ids


class Thinned:
    """All rows as long as they are few, then a half of them, a quarter, and so on.

    Whether a row is kept depends on its id alone, so it is a fair sample of all.

    Args:
        most: rows.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._share = 1.0
        self._batches: list[pa.RecordBatch] = []
        self.seen = self.rows = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Take rows in; they have a column `id`."""
        self.seen += len(batch)
        kept = _sampled(batch, self._share)
        if len(kept):
            self._batches.append(kept)
            self.rows += len(kept)
        while self.rows > self._most:
            self._share /= 2
            halved = [_sampled(each, self._share) for each in self._batches]
            self._batches = [each for each in halved if len(each)]
            self.rows = sum(map(len, self._batches))

    def batches(self) -> list[pa.RecordBatch]:
        """What is kept; batches of different files may have different types."""
        return self._batches


def _sampled(batch: pa.RecordBatch, share: float) -> pa.RecordBatch:
    if share == 1:
        return batch
    return batch.filter(pa.array(ids.sampled(ids.from_arrow(batch.column("id")), share)))
