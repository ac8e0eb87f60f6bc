"""The results of monitoring in the database: the only place that queries them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, func, or_, select
from sqlalchemy.orm import defer

from pellucid.analysis.watching.signals import Signal
from pellucid.db.base import now
from pellucid.db.session import Database
from pellucid.db.tables.monitoring import MonitoringResultRow as Row
from pellucid.errors import InvalidInput, NotFound
from pellucid.monitoring.checks.verdicts import verdict
from pellucid.monitoring.watch.resources import Figures, Monitoring, WindowResult, WindowSummary

_WINDOW = re.compile(r"(\d{1,9})-(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)-(\d{1,9})")

_BRIEF = (defer(Row.signals), defer(Row.figures), defer(Row.means))
_LOOKED_AT = 24  # windows, for one that has labels
_PAGE = 1_000


class Results:
    """What was found, window by window. Every call raises `DatabaseUnavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def save(self, result: WindowResult) -> None:
        """Store a window's result, in the place of an earlier one of the same window."""
        with self._database.transaction() as session:
            row = session.scalar(select(Row).where(*_same(result)).with_for_update())
            if row is None:
                row = Row(
                    model=result.model, version=result.version, start=result.start, end=result.end
                )
                session.add(row)
            row.rows, row.status, row.alarms = result.rows, result.status.value, result.alarms
            row.complete, row.judged_at = result.complete, result.judged_at
            row.scheduled = bool(row.scheduled) or result.scheduled
            signals = [each.model_dump(mode="json", exclude_none=True) for each in result.signals]
            row.signals = {"signals": signals}
            row.means = result.figures.means
            row.figures = result.figures.model_dump(mode="json")

    def before(
        self, model: str, version: int, start: datetime, *, scheduled: bool = True
    ) -> WindowResult | None:
        """The last complete result of a window that ended by then, scheduled or asked for."""
        fits = (Row.model == model, Row.version == version, Row.end <= start)
        query = (
            select(Row)
            .where(*fits, Row.complete, Row.scheduled == scheduled)
            .order_by(Row.end.desc(), Row.id.desc())
            .limit(1)
        )
        return self._one(query)

    def means(
        self, model: str, version: int, starts: Sequence[datetime]
    ) -> list[tuple[datetime, dict[str, float]]]:
        """The means of outputs in the scheduled windows that start then, the oldest first."""
        query = (
            select(Row.start, Row.means)
            .where(Row.model == model, Row.version == version, Row.start.in_(starts))
            .where(Row.scheduled, Row.complete, Row.rows > 0)
            .order_by(Row.start)
        )
        with self._database.reading() as session:
            return [(start, means) for start, means in session.execute(query)]

    def last_end(self, model: str, version: int) -> datetime | None:
        """The end of a version's last scheduled window that needs no more judging."""
        fits = (Row.model == model, Row.version == version)
        query = select(func.max(Row.end)).where(*fits, Row.complete, Row.scheduled)
        with self._database.reading() as session:
            return session.scalar(query)

    def latest(self, model: str, version: int | None = None) -> WindowResult | None:
        """The newest window of a model or of one of its versions."""
        query = select(Row).where(Row.model == model).order_by(Row.end.desc(), Row.id.desc())
        if version is not None:
            query = query.where(Row.version == version)
        return self._one(query.limit(1))

    def measured(self, model: str, version: int) -> WindowResult | None:
        """The newest window of which labels tell the performance, of a version's last few."""
        query = (
            select(Row)
            .where(Row.model == model, Row.version == version, Row.rows > 0)
            .order_by(Row.end.desc(), Row.id.desc())
            .limit(_LOOKED_AT)
        )
        with self._database.reading() as session:
            found = map(_result, session.scalars(query))
            return next((each for each in found if each.scores), None)

    def window(self, model: str, name: str | None = None) -> WindowResult:
        """A window by `WindowSummary.id`, or else the newest.

        Raises:
            InvalidInput: that is no such id.
            NotFound: the window was not judged.
        """
        found = self.latest(model) if name is None else self._one(_named(model, name))
        if found is None:
            raise NotFound(
                f"No window of {model!r} has been judged yet."
                if name is None
                else f"The window {name} of {model!r} was not judged.",
                where={"model": model},
                remedy=f"See GET /v1/models/{model}/monitoring; "
                "the monitor judges a window minutes after its end.",
            )
        return found

    def page(
        self,
        model: str,
        *,
        version: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Monitoring:
        """The newest window that fits, and a page of the windows, newest first.

        Args:
            model: its name.
            version: one; default: all.
            since: windows that end after then.
            until: windows that start before then.
            cursor: of the page before.
            limit: most windows.

        Raises:
            InvalidInput: the cursor is none of ours.
        """
        fits: list[ColumnElement[bool]] = [Row.model == model]
        if version is not None:
            fits.append(Row.version == version)
        if since is not None:
            fits.append(Row.end > since)
        if until is not None:
            fits.append(Row.start < until)
        newest = select(Row).where(*fits).order_by(Row.end.desc(), Row.id.desc())
        latest = None if cursor else self._one(newest.limit(1))
        query = (newest.where(_after(cursor)) if cursor else newest).options(*_BRIEF)
        with self._database.reading() as session:
            rows = list(session.scalars(query.limit(limit + 1)))
        return Monitoring(
            model=model,
            latest=latest,
            windows=[WindowSummary.model_validate(_common(row)) for row in rows[:limit]],
            next_cursor=_cursor(rows[limit - 1]) if len(rows) > limit else None,
        )

    def windows(self, model: str, since: datetime) -> Iterator[WindowSummary]:
        """A model's windows that end after then, newest first, however many there are."""
        cursor = None
        while True:
            page = self.page(model, since=since, cursor=cursor, limit=_PAGE)
            yield from page.windows
            cursor = page.next_cursor
            if cursor is None:
                return

    def same(self, window: WindowSummary) -> WindowResult | None:
        """What is known of a window; None if it was removed."""
        return self._one(select(Row).where(*_same(window)))

    def follows(self, model: str, version: int, start: datetime, end: datetime) -> bool:
        """Whether a window was judged as one of those that follow each other."""
        query = select(Row.id).where(
            Row.model == model, Row.version == version, Row.start == start, Row.end == end
        )
        with self._database.reading() as session:
            return session.scalar(query.where(Row.scheduled)) is not None

    def newest(self) -> list[WindowResult]:
        """The newest scheduled window of every version."""
        newest = func.max(Row.end).label("end")
        ends = select(Row.model, Row.version, newest).where(Row.scheduled)
        last = ends.group_by(Row.model, Row.version).subquery()
        same = and_(
            Row.model == last.c.model,
            Row.version == last.c.version,
            Row.end == last.c.end,
            Row.scheduled,
        )
        with self._database.reading() as session:
            rows = session.scalars(select(Row).join(last, same).order_by(Row.start)).all()
        return [_result(row) for row in {(row.model, row.version): row for row in rows}.values()]

    def sweep(self, days: int) -> int:
        """Remove results whose windows ended longer ago; how many."""
        with self._database.transaction() as session:
            done = session.execute(delete(Row).where(Row.end < now() - timedelta(days=days)))
            return int(done.rowcount)  # type: ignore[attr-defined]

    def _one(self, query: Any) -> WindowResult | None:
        with self._database.reading() as session:
            row = session.scalar(query)
            return None if row is None else _result(row)


def _same(result: WindowSummary) -> tuple[ColumnElement[bool], ...]:
    return (
        Row.model == result.model,
        Row.version == result.version,
        Row.start == result.start,
        Row.end == result.end,
    )


def _named(model: str, name: str) -> Any:
    found = _WINDOW.fullmatch(name)
    try:
        if found is None:
            raise ValueError(name)
        start = datetime.strptime(found[2], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        end = start + timedelta(seconds=int(found[3]))
    except (ValueError, OverflowError) as error:
        raise InvalidInput(
            f"{name!r} is no window.",
            where={"parameter": "window"},
            remedy="A version, its start and its seconds: 3-2026-11-21T18:00:00Z-3600.",
        ) from error
    return select(Row).where(
        Row.model == model, Row.version == int(found[1]), Row.start == start, Row.end == end
    )


def _cursor(row: Row) -> str:
    return f"{row.end:%Y%m%dT%H%M%S}-{row.id}"


def _after(cursor: str) -> ColumnElement[bool]:
    """What comes after the last one of a page."""
    try:
        moment, _, number = cursor.partition("-")
        end = datetime.strptime(moment, "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
        last = int(number)
    except ValueError as error:
        raise InvalidInput(
            f"{cursor!r} is not a cursor.", remedy="Take `next_cursor` from the page before."
        ) from error
    return or_(Row.end < end, and_(Row.end == end, Row.id < last))


def _common(row: Row) -> Mapping[str, Any]:
    names = ("model", "version", "start", "end", "rows", "status", "alarms", "judged_at")
    return {name: getattr(row, name) for name in names}


def _result(row: Row) -> WindowResult:
    signals = [Signal.model_validate(each) for each in row.signals["signals"]]
    return WindowResult(
        **_common(row),
        complete=row.complete,
        scheduled=row.scheduled,
        verdict=verdict(signals, row.rows),
        signals=signals,
        figures=Figures.model_validate(row.figures),
    )
