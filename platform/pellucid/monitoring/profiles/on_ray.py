"""Profiles of what one machine does not hold: the same counting as map and merge on Ray Data.

Each worker counts batches where their blocks lie and sends back counts, which add up. The numbers
are those of one machine: counts are whole, and adding them knows no order.

Needs the extra `ray`.
"""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import pyarrow as pa

from pellucid.analysis.watching.counting import count
from pellucid.analysis.watching.profiles import Profile, from_json, to_json
from pellucid.monitoring.arrays import unpacked
from pellucid.monitoring.profiles.profiling import ReferenceProfile
from pellucid.monitoring.profiles.windows import profile_rows

if TYPE_CHECKING:
    from ray.data import Dataset

_BATCH_ROWS = 2**17
_MERGED = 64  # profiles that a worker adds up


def profile_dataset(dataset: "Dataset", reference: ReferenceProfile) -> Profile:
    """The rows of a Ray data set in the bins of a reference.

    Args:
        dataset: segments of the prediction log, as `ray.data.read_parquet` gives them, or rows with
            the model's columns, flat. Only counts leave the workers.
        reference: whose bins are taken.
    """
    counted = dataset.map_batches(
        _counter(reference), batch_size=_BATCH_ROWS, batch_format="pyarrow", zero_copy_batch=True
    )
    merged = counted.map_batches(_merger(reference), batch_size=_MERGED, batch_format="pyarrow")
    found = Profile.empty(reference.bins)
    for row in merged.iter_rows():
        found += _read(row["profile"], reference)
    return found


def _counter(reference: ReferenceProfile) -> Callable[[pa.Table], pa.Table]:
    def counted(rows: pa.Table) -> pa.Table:
        found = Profile.empty(reference.bins)
        if {"inputs", "outputs"} & set(rows.column_names):
            for batch in rows.to_batches():
                found += profile_rows(unpacked(batch), reference)
        else:
            columns = {name: rows[name] for name in rows.column_names if name in reference.bins}
            found += count(columns, reference.bins, rows=len(rows))
        return _written(found)

    return counted


def _merger(reference: ReferenceProfile) -> Callable[[pa.Table], pa.Table]:
    def merged(profiles: pa.Table) -> pa.Table:
        found = Profile.empty(reference.bins)
        for text in profiles["profile"].to_pylist():
            found += _read(text, reference)
        return _written(found)

    return merged


def _written(profile: Profile) -> pa.Table:
    return pa.table({"profile": [json.dumps(to_json(profile, bins=False))]})


def _read(text: str, reference: ReferenceProfile) -> Profile:
    return from_json(json.loads(text), reference.bins)
