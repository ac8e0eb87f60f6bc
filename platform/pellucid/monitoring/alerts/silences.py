"""Silences: alerts that are kept while nobody is told of them."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from pellucid.db.base import now
from pellucid.db.session import Database
from pellucid.db.tables.alerts import AlertRow, SilenceRow
from pellucid.errors import InvalidInput, NotFound
from pellucid.jobs.rows import new_id, storable
from pellucid.monitoring.alerts.episodes import record, still_open
from pellucid.monitoring.alerts.resources import Silence, WantedSilence
from pellucid.monitoring.alerts.rules import Match
from pellucid.resources.base import Page

_LONGEST = timedelta(days=366)


def active(session: Session, moment: datetime) -> list[Silence]:
    """Those in force, within a transaction."""
    query = select(SilenceRow).where(SilenceRow.until > moment, SilenceRow.lifted_at.is_(None))
    return [_to_silence(row) for row in session.scalars(query.order_by(SilenceRow.id))]


def hush(session: Session, row: AlertRow, silences: Sequence[Silence], moment: datetime) -> None:
    """Silence an alert, or end that, as the silences in force say."""
    covering = next((s for s in silences if s.match.covers(row.model, row.kind, row.subject)), None)
    if (covering is not None) == row.silenced:
        return
    row.silenced = covering is not None
    if covering:
        until = covering.until.isoformat()
        data = {"silence": covering.id, "until": until, "reason": covering.reason}
        record(session, row, "silenced", moment, by=covering.by, **data)
    else:
        record(session, row, "unsilenced", moment)


def add(database: Database, wanted: WantedSilence, moment: datetime | None = None) -> Silence:
    """Silence alerts, those that are open and those that come.

    Raises:
        InvalidInput: its end is past, or more than a year ahead.
    """
    moment = moment or now()
    if not moment < wanted.until <= moment + _LONGEST:
        raise InvalidInput(
            f"A silence ends after now and within {_LONGEST.days} days, not at "
            f"{wanted.until.isoformat()}.",
            where={"path": "until"},
        )
    with database.transaction() as session:
        row = SilenceRow(
            id=new_id(moment),
            match=storable(wanted.match.model_dump(mode="json")),
            until=wanted.until,
            by=storable(wanted.by),
            reason=storable(wanted.reason),
            created_at=moment,
            lifted_at=None,
            lifted_by="",
        )
        session.add(row)
        _apply(session, moment)
        return _to_silence(row)


def lift(database: Database, silence_id: str, by: str, moment: datetime | None = None) -> Silence:
    """End a silence now; one that has ended stays as it is. Raises `NotFound`."""
    moment = moment or now()
    with database.transaction() as session:
        row = session.get(SilenceRow, silence_id, with_for_update=True)
        if row is None:
            raise NotFound(f"There is no silence {silence_id!r}.", where={"silence": silence_id})
        if row.lifted_at is None and row.until > moment:
            row.lifted_at, row.lifted_by = moment, storable(by)
            _apply(session, moment)
        return _to_silence(row)


def listed(
    database: Database,
    *,
    all_: bool = False,
    cursor: str | None = None,
    limit: int = 50,
    moment: datetime | None = None,
) -> Page[Silence]:
    """Silences in force, or with `all_` every one that ever was, newest first."""
    query = select(SilenceRow).order_by(SilenceRow.id.desc()).limit(limit + 1)
    if not all_:
        query = query.where(SilenceRow.until > (moment or now()), SilenceRow.lifted_at.is_(None))
    if cursor is not None:
        query = query.where(SilenceRow.id < cursor)
    with database.reading() as session:
        found = [_to_silence(row) for row in session.scalars(query)]
    more = len(found) > limit
    return Page(items=found[:limit], next_cursor=found[limit - 1].id if more else None)


def _apply(session: Session, moment: datetime) -> None:
    session.flush()
    silences = active(session, moment)
    for row in session.scalars(still_open()):
        hush(session, row, silences, moment)


def _to_silence(row: SilenceRow) -> Silence:
    values = {name: getattr(row, name) for name in Silence.model_fields if name != "match"}
    return Silence(**values, match=Match.model_validate(row.match))
