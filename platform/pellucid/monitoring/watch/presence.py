"""Which models and versions have rows in the prediction log, and when."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pellucid.monitoring import layout, spools
from pellucid.monitoring.log import PredictionLog

_HOUR = timedelta(hours=1)
_FAR = timedelta(days=3650)


def models(root: Path, names: Iterable[str]) -> list[str]:
    """Those of some models that have rows: long names cannot be read back from directories."""
    found = {
        path.name for path in (*root.glob("model=*"), *root.glob(f"{layout.SPOOLS}/*/model=*"))
    }
    return sorted(name for name in names if layout.directory_of(name) in found)


def versions(root: Path, model: str, start: datetime, end: datetime) -> dict[int, list[datetime]]:
    """The versions with rows whose ids were made in a span of time, by the starts of the hours.

    A row's id is made when it is answered, so its request may have come in the hour before.
    """
    found: defaultdict[int, set[datetime]] = defaultdict(set)
    for path in _within(root, model, start, end):
        hour = datetime.strptime(path.parent.name, "hour=%Y-%m-%dT%H").replace(tzinfo=UTC)
        version = _version(path)
        if version is not None:
            found[version].add(hour)
    return {version: sorted(hours) for version, hours in sorted(found.items())}


def minutes(root: Path, model: str, version: int, start: datetime, end: datetime) -> Counter[int]:
    """Rows of a version by the minute of their request, counted from 1970-01-01 UTC."""
    found: Counter[int] = Counter()
    parts = PredictionLog(root).parts(model, start, end, version=version, columns=("time",))
    for part in parts:
        times = part.column("time").cast(pa.timestamp("us", tz="UTC")).view(pa.int64())
        each, counts = np.unique(times.to_numpy() // 60_000_000, return_counts=True)
        found.update(dict(zip(each.tolist(), counts.tolist(), strict=True)))
    return found


def ahead(root: Path, model: str, now: datetime) -> dict[int, int]:
    """Rows of each version whose request came after now, by the clock of whoever answered it."""
    found: Counter[int] = Counter()
    with PredictionLog(root).window(model, now, now + _FAR, columns=["version"]) as batches:
        for batch in batches:
            for each in batch.column("version").value_counts().to_pylist():
                found[each["values"]] += each["counts"]
    return dict(found)


def _within(root: Path, model: str, start: datetime, end: datetime) -> Iterator[Path]:
    first = layout.hour_name(int(start.timestamp() // 3600))
    last = layout.hour_name(int((end + _HOUR).timestamp() // 3600))
    directory = layout.directory_of(model)
    patterns = f"{directory}/hour=*/*.parquet", f"{layout.SPOOLS}/*/{directory}/hour=*/*.arrow"
    for pattern in patterns:
        for path in root.glob(pattern):
            if first <= path.parent.name <= last:
                yield path


def _version(path: Path) -> int | None:
    """That of a file; None of one that is gone meanwhile, or torn."""
    try:
        if path.suffix == ".parquet":
            schema = pq.read_schema(path)
        else:
            with pa.OSFile(str(path)) as source:
                schema = spools.schema_of(source)
        return None if schema is None else int(schema.metadata[b"version"])
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
        return None
