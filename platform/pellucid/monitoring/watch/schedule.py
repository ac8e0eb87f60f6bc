"""Which windows are due: aligned to 1970-01-01 UTC, one after the other, none twice."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

MINUTE = 60


class Span(NamedTuple):
    """A window of time; `end` is not included."""

    start: datetime
    end: datetime


class Due(NamedTuple):
    """Windows to judge now, the oldest first, and how many older ones are given up."""

    spans: list[Span]
    skipped: int = 0


def floor(moment: datetime, seconds: int) -> datetime:
    """The last boundary of windows of so many seconds, at or before a moment."""
    return datetime.fromtimestamp(moment.timestamp() // seconds * seconds, UTC)


def due(now: datetime, last_end: datetime | None, seconds: int, lateness: int, most: int) -> Due:
    """What has ended, is old enough to have all its rows, and was not judged.

    Args:
        now: the time.
        last_end: of the last window that was judged; None: only the newest one is due.
        seconds: length of a window.
        lateness: seconds between a window's end and its judgement.
        most: windows that are judged afterwards; older ones are skipped.
    """
    newest = floor(now - timedelta(seconds=lateness), seconds)
    length = timedelta(seconds=seconds)
    if last_end is None:
        return Due([Span(newest - length, newest)])
    first = floor(last_end, seconds)
    waiting = max(0, int((newest - first) / length))
    taken = min(waiting, most)
    spans = [Span(newest - length * (n + 1), newest - length * n) for n in reversed(range(taken))]
    return Due(spans, waiting - taken)


def by_rows(
    start: datetime, end: datetime, seconds: int, rows: int, counts: Mapping[int, int]
) -> list[Span]:
    """The windows of a span of time that are over, by their rows or their time.

    Args:
        start, end: whole minutes.
        seconds: longest length of a window; whole minutes.
        rows: a window ends with the minute by which so many have come.
        counts: of each minute since 1970-01-01 UTC.
    """
    found, many = [], 0
    moment = start
    while moment < end:
        many += counts.get(int(moment.timestamp() // MINUTE), 0)
        moment += timedelta(seconds=MINUTE)
        if many >= rows or moment == floor(moment, seconds):
            found.append(Span(start, moment))
            start, many = moment, 0
    return found


def spans(start: datetime, end: datetime, seconds: int) -> Iterator[Span]:
    """The windows of a span of time that somebody asks for; the last one may be shorter."""
    length = timedelta(seconds=seconds)
    while start < end:
        following = min(floor(start, seconds) + length, end)
        yield Span(start, following)
        start = following
