"""Answered requests as rows of the prediction log.

Few large arrays stand for many requests: they take less memory, and what a request was made of is
free again at once, for the next one.
"""

from collections.abc import Iterable, Iterator, Sequence
from operator import itemgetter
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pellucid.monitoring import ids
from pellucid.monitoring.columns import Columns
from pellucid.plan import Serving
from pellucid_api.engine.feeds import Feed, concatenated, join
from pellucid_api.engine.served import Served
from pellucid_api.engine.values import Values
from pellucid_api.plane.dataplane import Answered


class Rows(NamedTuple):
    """Rows that one version answered, whose arrays could be joined."""

    feed: Feed
    outputs: Sequence[Values]  # (rows, ...) each
    words: ids.Words  # the predictions' ids
    times: NDArray[np.int64]  # (rows,) microseconds since 1970-01-01 UTC
    latencies: NDArray[np.float32]  # (rows,) milliseconds
    sensitive: Feed | None = None  # the same rows' columns that are no inputs

    @property
    def nbytes(self) -> int:
        """Of the arrays that depend on the model; a string counts as a pointer."""
        arrays = (self.feed.numbers, self.feed.strings, *self.feed.tensors, *self.outputs)
        return sum(array.nbytes for array in arrays)


def joined(requests: Sequence[Answered]) -> Rows:
    """The rows of some requests of one version and one `Feed.key`."""
    versions, feeds, outputs, firsts, times, seconds, sensitive = zip(*requests, strict=True)
    rows = [feed.rows for feed in feeds]
    counts = np.array(rows)
    beside = versions[0].sensitive.whole(zip(sensitive, rows, strict=True))
    return Rows(
        join(feeds),
        [concatenated(each) for each in zip(*outputs, strict=True)],
        ids.from_numbers(firsts, counts),
        np.repeat(np.array(times) // 1000, counts),
        np.repeat(np.array(seconds, np.float32) * 1000, counts),
        None if beside is None else join(beside),
    )


def together(parts: Sequence[Rows]) -> Rows:
    """Parts of one version and one `Feed.key`, one after the other."""
    if len(parts) == 1:
        return parts[0]
    feeds, outputs, words, times, latencies, sensitive = zip(*parts, strict=True)
    return Rows(
        join(feeds),
        [concatenated(each) for each in zip(*outputs, strict=True)],
        np.concatenate(words),
        np.concatenate(times),
        np.concatenate(latencies),
        None if sensitive[0] is None else join(sensitive),
    )


def alike(requests: Sequence[Answered]) -> Iterable[Sequence[Answered]]:
    """Requests in groups that can be joined; as a rule there is one."""
    if len(set(map(itemgetter(0), requests))) == 1 and not requests[0].served.layout.ragged:
        return [requests]
    found: dict[object, list[Answered]] = {}
    for each in requests:
        found.setdefault((each.served, each.feed.key), []).append(each)
    return found.values()


def pieces(parts: Sequence[Rows], max_rows: int, max_bytes: int) -> Iterator[list[Rows]]:
    """Parts in lists whose sums stay below the bounds; a part that is larger stands alone."""
    piece: list[Rows] = []
    rows = size = 0
    for part in parts:
        if piece and (rows + part.feed.rows > max_rows or size + part.nbytes > max_bytes):
            yield piece
            piece, rows, size = [], 0, 0
        piece.append(part)
        rows, size = rows + part.feed.rows, size + part.nbytes
    if rows:  # a request may have none
        yield piece


class Format:
    """How the answers of one version become rows of the log."""

    def __init__(self, served: Served) -> None:
        manifest = served.model.manifest
        log = Serving.model_validate(manifest.plan.get("serving", {})).log
        self._sample = log.sample
        self._layout, self._sensitive = served.layout, served.sensitive
        self._outputs = [output.name for output in manifest.outputs]
        self._columns = Columns(
            served.name,
            served.version,
            manifest.inputs,
            manifest.outputs,
            log.redact,
            manifest.sensitive,
        )

    def batch(self, rows: Rows) -> pa.RecordBatch:
        """The rows, or the sample of them that the plan wants."""
        inputs = self._layout.unpack(rows.feed)
        outputs = dict(zip(self._outputs, rows.outputs, strict=True))
        sensitive = inputs | self._sensitive.unpack(rows.sensitive)  # some may be inputs, too
        batch = self._columns.batch(
            rows.words, rows.times, rows.latencies, inputs, outputs, sensitive
        )
        if self._sample == 1:
            return batch
        return batch.filter(pa.array(ids.sampled(rows.words, self._sample)))
