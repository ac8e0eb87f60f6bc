"""Profiles of what was predicted: of a window of the log, of its hours, or of any Parquet file.

Rows are counted a batch at a time by a few threads; memory holds a few batches and one profile. An
hour that is over is counted once: its profile is a small file, and a month is the sum of its hours.

    profiles/model=credit/version=3/hour=2026-11-21T18.json.gz
"""

import gzip
import json
import logging
import os
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pellucid.analysis.watching.counting import count
from pellucid.analysis.watching.profiles import Profile, from_json, to_json
from pellucid.bundle import Input
from pellucid.monitoring import layout
from pellucid.monitoring.log import PredictionLog
from pellucid.monitoring.profiles.profiling import ReferenceProfile
from pellucid.monitoring.profiles.readings import Columns, inputs_of, outputs_of
from pellucid.sensitive import coded

_HOUR = timedelta(hours=1)
_COLUMNS = ("inputs", "outputs", "sensitive")
T = TypeVar("T")

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Window:
    """A version's predictions whose requests came in [start, end); times have time zones."""

    model: str
    version: int
    start: datetime
    end: datetime


def profile_window(log: PredictionLog, window: Window, reference: ReferenceProfile) -> Profile:
    """The rows of a window in the bins of a reference, in bounded memory.

    A column that is not recorded is missing in every row, and one of another type than in training
    is wrong in every row that has it; both may change within a window. Rows whose version records
    sensitive columns are counted by their groups as well.
    """
    parts = log.parts(
        window.model, window.start, window.end, version=window.version, columns=_COLUMNS
    )
    return total(parts, lambda part: profile_rows(part, reference), Profile.empty(reference.bins))


def profile_rows(part: pa.RecordBatch, reference: ReferenceProfile) -> Profile:
    """Rows as `PredictionLog` gives them."""
    grouped = tuple(reference.outputs.bins)
    groups = groups_in(part, reference.grouping)
    columns = columns_of(part, reference.classes)
    return count(columns, reference.bins, rows=len(part), groups=groups, grouped=grouped)


def columns_of(part: pa.RecordBatch, classes: Sequence[str] = ()) -> Columns:
    """What of such rows is counted; the classes are the manifest's."""
    columns: Columns = {}
    if "inputs" in part.schema.names:
        columns |= inputs_of(part.column("inputs"))
    if "outputs" in part.schema.names:
        columns |= outputs_of(part.column("outputs"), classes)
    return columns


def groups_in(
    part: pa.RecordBatch, grouping: Mapping[str, Input]
) -> dict[str, NDArray[np.object_]]:
    """Sensitive column -> (rows,) the group of each row; a column may be an input as well."""
    found: dict[str, NDArray[np.object_]] = {}
    for struct in ("inputs", "sensitive"):
        if struct in part.schema.names:
            fields, values = part.schema.field(struct).type, part.column(struct).flatten()
            for field, column in zip(fields, values, strict=True):
                if field.name in grouping:
                    groups = coded(grouping[field.name], column)
                    found[field.name] = np.array(groups.names, dtype=object)[groups.codes]
    return found


def total(
    parts: Iterable[T], profile: Callable[[T], Profile], start: Profile, threads: int | None = None
) -> Profile:
    """The sum of the profiles of parts, each by a thread; few parts are held at a time."""
    threads = threads or min(8, os.cpu_count() or 1)
    found, waiting = start, deque[Future[Profile]]()
    with ThreadPoolExecutor(threads, "profile") as pool:
        try:
            for part in parts:
                waiting.append(pool.submit(profile, part))
                if len(waiting) > threads:
                    found += waiting.popleft().result()
            while waiting:
                found += waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)
    return found


class Hours:
    """Profiles of the log's hours, each counted once.

    Args:
        log: the predictions.
        root: where the profiles are kept.
        lateness: how long after its end an hour is final; before that it is counted again.
    """

    def __init__(
        self, log: PredictionLog, root: Path, lateness: timedelta = timedelta(minutes=5)
    ) -> None:
        self._log, self._root, self._lateness = log, root, lateness

    def profile(
        self, window: Window, reference: ReferenceProfile, now: datetime | None = None
    ) -> Profile:
        """As `profile_window`, from kept hours as far as the window has whole ones."""
        now = now or datetime.now(UTC)
        found = Profile.empty(reference.bins)
        for hour in hours(window):
            whole = hour.end - hour.start == _HOUR
            if whole and hour.end + self._lateness <= now:
                found += self._kept(hour, reference)
            else:
                found += profile_window(self._log, hour, reference)
        return found

    def sweep(self, before: datetime) -> None:
        """Remove the profiles of earlier hours."""
        oldest = layout.hour_name(int(before.timestamp() // 3600))
        for path in self._root.glob("*/version=*/hour=*.json.gz"):
            if path.name < oldest:
                path.unlink(missing_ok=True)

    def _kept(self, hour: Window, reference: ReferenceProfile) -> Profile:
        path = self._path(hour)
        try:
            document = json.loads(gzip.decompress(path.read_bytes()))
            if document["reference"] == reference.digest:
                return from_json(document["profile"], reference.bins)
        except (OSError, EOFError, KeyError, TypeError, ValueError):  # not there, or damaged
            pass
        found = profile_window(self._log, hour, reference)
        document = {"reference": reference.digest, "profile": to_json(found, bins=False)}
        partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(gzip.compress(json.dumps(document).encode(), mtime=0))
            partial.rename(path)
        except OSError as error:  # it can be counted again, as long as its rows are kept
            logger.warning("the profile of an hour cannot be kept: %s", error)
            with suppress(OSError):
                partial.unlink()
        return found

    def _path(self, hour: Window) -> Path:
        name = layout.hour_name(int(hour.start.timestamp() // 3600))
        model = layout.directory_of(hour.model)
        return self._root / model / f"version={hour.version}" / f"{name}.json.gz"


def hours(window: Window) -> Iterator[Window]:
    """The window cut at every full hour (UTC): parts of the first and last one, if so."""
    start = window.start
    while start < window.end:
        following = datetime.fromtimestamp((start.timestamp() // 3600 + 1) * 3600, UTC)
        end = min(following, window.end)
        yield replace(window, start=start, end=end)
        start = end
