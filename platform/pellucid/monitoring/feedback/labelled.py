"""Predictions of a window beside their labels, a batch at a time."""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pellucid.monitoring import ids
from pellucid.monitoring.feedback.labels import Labels
from pellucid.monitoring.feedback.matching import Wanted
from pellucid.monitoring.log import PredictionLog
from pellucid.monitoring.profiles.windows import Window

_DELAY = pa.duration("us")


class _Hour(NamedTuple):
    wanted: Wanted
    records: pa.Table


def labelled(
    log: PredictionLog,
    labels: Path,
    window: Window,
    columns: Sequence[str] = ("version", "outputs", "sensitive"),
) -> Iterator[pa.RecordBatch]:
    """Every prediction of a window, with its label if it has one.

    The join is by id, hour by hour: memory holds the labels of two hours and one batch. Labels that
    came before their predictions are joined as any other.

    Args:
        log: the predictions.
        labels: root of the labels, which need not exist.
        window: of one version.
        columns: of the log, besides id and time; a batch has those that its file has.

    Yields:
        Rows with id, time, the columns, `label` (string) and `delay` (duration between the request
        and the label); both null of a prediction that has no label.
    """
    store = Labels(labels)

    @lru_cache(maxsize=2)
    def of_hour(hour: int) -> _Hour:
        records = store.latest(window.model, hour)
        return _Hour(Wanted(ids.from_arrow(_one(records, "id"))), records)

    names = list(dict.fromkeys(["id", "time", *columns]))
    parts = log.parts(window.model, window.start, window.end, version=window.version, columns=names)
    for part in parts:
        if len(part):  # a file holds ids of one hour
            words = ids.from_arrow(part.column("id").slice(0, 1))
            yield _joined(part, of_hour(int(ids.hours(words)[0])))


def _joined(part: pa.RecordBatch, hour: _Hour) -> pa.RecordBatch:
    rows, places = hour.wanted.match(part.column("id"))
    place = np.zeros(len(part), np.int64)
    missing = np.ones(len(part), bool)
    place[rows], missing[rows] = places, False
    taken = pa.array(place, mask=missing)
    label = _one(hour.records, "label").take(taken)
    told = _one(hour.records, "time").take(taken)
    delay = pc.subtract(told, part.column("time")).cast(_DELAY)
    return part.append_column("label", label).append_column("delay", delay)


def _one(table: pa.Table, name: str) -> pa.Array:
    """A column as one array."""
    return pa.concat_arrays(
        [pa.array([], table.schema.field(name).type), *table.column(name).chunks]
    )
