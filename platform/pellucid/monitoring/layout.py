"""Where the prediction log lies.

    predictions/
        model=credit/hour=2026-11-21T18/<id of its first row>.parquet     segments, sealed
        spools/<process>.lock                                             held while it lives
        spools/<process>/model=credit/hour=2026-11-21T18/<id>.arrow       what will become one

A spool becomes the segment of the same model, hour and id, so doing it again changes nothing. The
hour is that of the ids, in UTC: from an id one goes straight to its directory.
"""

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

SPOOLS = "spools"
_LONGEST = 200  # bytes of a directory's name; file systems take 255


def directory_of(model: str) -> str:
    """The directory of a model; what a path cannot hold is percent-encoded."""
    name = f"model={quote(model, safe='')}"
    if len(name) <= _LONGEST:
        return name
    return f"{name[: _LONGEST - 33]}-{hashlib.sha256(model.encode()).hexdigest()[:32]}"


def hour_name(hour: int) -> str:
    """The directory of an hour that is counted from 1970-01-01 UTC."""
    return datetime.fromtimestamp(hour * 3600, UTC).strftime("hour=%Y-%m-%dT%H")


def partition(model: str, hour: int) -> Path:
    """The directory of a model's hour, below the log's or a process's."""
    return Path(directory_of(model), hour_name(hour))


def segment_of(spool: Path, root: Path) -> Path:
    """The segment that a spool will be, or has become."""
    within = spool.relative_to(root / SPOOLS)
    return root.joinpath(*within.parts[1:]).with_suffix(".parquet")
