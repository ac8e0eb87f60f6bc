"""What a pass has to do: windows that are due, and older ones to look at again."""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from pellucid.monitoring import layout
from pellucid.monitoring.watch import presence, schedule
from pellucid.monitoring.watch.resources import WindowSummary
from pellucid.monitoring.watch.results import Results
from pellucid.monitoring.watch.schedule import Due, Span
from pellucid.settings import Settings
from pellucid.tracking.contract import CHAMPION, RegisteredModel

_HOUR = timedelta(hours=1)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Planned:
    """The windows of one version, the oldest first.

    Attributes:
        skipped: older ones that are given up.
        champion: empty windows are told of it alone.
        known: whether it was judged before.
    """

    version: int
    spans: Sequence[Span]
    skipped: int
    champion: bool
    known: bool


def plan(
    model: RegisteredModel, results: Results, settings: Settings, now: datetime
) -> Iterator[Planned]:
    """Windows that are due, of versions that have rows in them; of the champion also empty ones.

    A version that was never judged starts at its first rows, at most `monitor_catch_up` windows
    ago.
    """
    seconds, most = settings.monitor_seconds, settings.monitor_catch_up
    length = timedelta(seconds=seconds)
    newest = boundary(settings, now)
    log = settings.home / "predictions"
    found = presence.versions(log, model.name, newest - length * most, newest)
    champion = model.aliases.get(CHAMPION)
    for version in sorted({*found, *([champion] if champion else [])}):
        hours = found.get(version, [])
        last = known = results.last_end(model.name, version)
        if last is None:
            if not hours:
                continue
            # A row's id is made up to an hour after its request came.
            last = schedule.floor(hours[0] - _HOUR, seconds)
        due = (
            _by_rows(log, model.name, version, last, newest, settings)
            if settings.monitor_rows
            else schedule.due(now, last, seconds, settings.monitor_lateness_seconds, most)
        )
        spans = [span for span in due.spans if version == champion or _meets(span, hours)]
        skipped = due.skipped if version == champion else 0
        yield Planned(version, spans, skipped, version == champion, known is not None)


def boundary(settings: Settings, now: datetime) -> datetime:
    """Up to when rows are complete: the end of the newest window that may be due."""
    step = schedule.MINUTE if settings.monitor_rows else settings.monitor_seconds
    return schedule.floor(now - timedelta(seconds=settings.monitor_lateness_seconds), step)


def _by_rows(
    log: Path, model: str, version: int, last: datetime, newest: datetime, settings: Settings
) -> Due:
    """What is due where windows end by their rows."""
    length, most = timedelta(seconds=settings.monitor_seconds), settings.monitor_catch_up
    last = schedule.floor(last, schedule.MINUTE)
    first = max(last, newest - length * most)
    counts = presence.minutes(log, model, version, first, newest)
    found = schedule.by_rows(first, newest, settings.monitor_seconds, settings.monitor_rows, counts)
    skipped = (first - last) // length + max(0, len(found) - most)
    return Due(found[-most:], skipped)


def labelled(labels: Path, windows: Iterable[WindowSummary], most: int) -> list[WindowSummary]:
    """Windows with labels that arrived after they were judged, the oldest first.

    Args:
        labels: of one model.
        windows: the candidates, newest first.
        most: of more, one half are the newest ones, and the others those that have waited longest:
            where labels come for weeks, every window has its turn.
    """
    changed = _changed(labels)
    found = [each for each in windows if _told_since(changed, each)] if changed else []
    newest, rest = found[: most // 2], found[most // 2 :]
    waiting = sorted(rest, key=lambda each: each.judged_at)[: most - len(newest)]
    return sorted([*newest, *waiting], key=lambda each: each.end)


def _meets(span: Span, hours: Sequence[datetime]) -> bool:
    """Whether rows with ids of some hours may have requests of the span."""
    return any(span.start < hour + _HOUR and hour - _HOUR < span.end for hour in hours)


def _changed(labels: Path) -> dict[str, float]:
    """When labels of an hour came last, by its directory."""
    try:
        with os.scandir(labels) as found:
            return {each.name: each.stat().st_mtime for each in found}
    except OSError:  # there are none, or an hour was removed meanwhile
        return {}


def _told_since(changed: Mapping[str, float], window: WindowSummary) -> bool:
    first = int(window.start.timestamp() // 3600)
    last = int((window.end + _HOUR).timestamp() // 3600)
    judged = window.judged_at.timestamp()
    hours = range(first, last + 1)
    return any(changed.get(layout.hour_name(hour), 0.0) > judged for hour in hours)
