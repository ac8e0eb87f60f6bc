"""Looking at alerts, and acknowledging them."""

from datetime import datetime

from sqlalchemy import select

from pellucid.db.base import now
from pellucid.db.session import Database
from pellucid.db.tables.alerts import AlertEventRow, AlertRow
from pellucid.errors import Conflict, NotFound
from pellucid.jobs.rows import storable
from pellucid.monitoring.alerts.episodes import record, to_alert, to_event
from pellucid.monitoring.alerts.resources import (
    Alert,
    AlertHistory,
    AlertState,
    WantedAcknowledgement,
)
from pellucid.resources.base import Page


def listed(
    database: Database,
    *,
    model: str | None = None,
    state: AlertState | None = None,
    cursor: str | None = None,
    limit: int = 50,
) -> Page[Alert]:
    """Alerts, newest first. New ones do not shift the pages that a cursor leads to."""
    query = select(AlertRow).order_by(AlertRow.id.desc()).limit(limit + 1)
    if model is not None:
        query = query.where(AlertRow.model == model)
    if state is not None:
        query = query.where(AlertRow.state == state)
    if cursor is not None:
        query = query.where(AlertRow.id < cursor)
    with database.reading() as session:
        found = [to_alert(row) for row in session.scalars(query)]
    more = len(found) > limit
    return Page(items=found[:limit], next_cursor=found[limit - 1].id if more else None)


def get(database: Database, alert_id: str) -> AlertHistory:
    """An alert, and all that happened to it. Raises `NotFound`."""
    events = select(AlertEventRow).where(AlertEventRow.alert_id == alert_id)
    with database.reading() as session:
        row = session.get(AlertRow, alert_id)
        if row is None:
            raise _not_found(alert_id)
        history = [to_event(each) for each in session.scalars(events.order_by(AlertEventRow.seq))]
        return AlertHistory(alert=to_alert(row), events=history)


def acknowledge(
    database: Database,
    alert_id: str,
    wanted: WantedAcknowledgement,
    moment: datetime | None = None,
) -> Alert:
    """Note who has seen an alert and looks after it: it does not escalate any more.

    Raises:
        NotFound: there is no such alert.
        Conflict: it has not fired yet.
    """
    moment = moment or now()
    with database.transaction() as session:
        row = session.get(AlertRow, alert_id, with_for_update=True)
        if row is None:
            raise _not_found(alert_id)
        if row.state == "pending":
            raise Conflict(
                "The alert has not fired yet: its rule waits for more windows.",
                where={"alert": alert_id},
            )
        row.acknowledged_by, row.acknowledged_at = storable(wanted.by), moment
        row.note = storable(wanted.note)
        record(session, row, "acknowledged", moment, by=row.acknowledged_by, note=row.note)
        return to_alert(row)


def _not_found(alert_id: str) -> NotFound:
    return NotFound(f"There is no alert {alert_id!r}.", where={"alert": alert_id})
