"""Notifications that wait to be sent, and their delivery.

A notification is written together with what it is about, and sent afterwards, however long that
takes. Each sink gets its messages in their order: what cannot be sent holds up what is behind it,
and is tried again after longer and longer rests. Alerts of one pass are one message, so that a
broken table with fifty columns wakes somebody once.

A message is sent at least once. Its id is always the same, so that a receiver which answered too
late may know it again.
"""

import hashlib
import logging
import random
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from time import monotonic
from typing import NamedTuple

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from pellucid.db.session import Database
from pellucid.db.tables.alerts import AlertEventRow, AlertRow, NotificationRow
from pellucid.errors import PellucidError, Unavailable
from pellucid.monitoring.alerts.episodes import record, to_alert
from pellucid.monitoring.alerts.resources import Alert
from pellucid.monitoring.alerts.sinks.contract import Message, Sink

_log = logging.getLogger(__name__)
_FIRST_REST = timedelta(seconds=5)  # doubled with each further attempt
_LONGEST_REST = timedelta(minutes=5)
_CLAIM = timedelta(minutes=2)  # a sender that says nothing for so long has died
_MOST_REFUSALS = 6  # of a message by a sink that answers
_PATIENCE = timedelta(days=3)  # with a sink that does not
_MOST_MESSAGES = 100  # of a sink in one pass


class _Claimed(NamedTuple):
    rows: list[int]
    message: Message
    attempts: int
    since: datetime


def enqueue(
    session: Session,
    row: AlertRow,
    event: str,
    sinks: Iterable[str],
    batch: str,
    moment: datetime,
) -> None:
    """Have sinks told something about an alert; what one was told before it is not told again."""
    session.flush()
    known = set(
        session.scalars(
            select(NotificationRow.sink).where(
                NotificationRow.alert_id == row.id, NotificationRow.event == event
            )
        )
    )
    payload = to_alert(row).model_dump(mode="json")
    for sink in dict.fromkeys(sinks):
        if sink not in known:
            session.add(
                NotificationRow(
                    alert_id=row.id,
                    event=event,
                    sink=sink,
                    batch=batch,
                    payload=payload,
                    state="waiting",
                    created_at=moment,
                    attempts=0,
                    next_try_at=moment,
                    error="",
                )
            )


def told(session: Session, row: AlertRow) -> list[str]:
    """The sinks that have heard of an alert, or will: they hear of its end, too."""
    heard = select(NotificationRow.sink).where(
        NotificationRow.alert_id == row.id, NotificationRow.state != "dropped"
    )
    return list(session.scalars(heard.distinct().order_by(NotificationRow.sink)))


def forget(session: Session, row: AlertRow) -> None:
    """An alert that never fired leaves no trace."""
    session.flush()
    session.execute(delete(AlertEventRow).where(AlertEventRow.alert_id == row.id))
    row.open_key = None
    session.delete(row)


def deliver(database: Database, sinks: Mapping[str, Sink], now: datetime) -> int:
    """Send what waits and is due; called every few seconds by the monitor.

    Args:
        database: with the notifications.
        sinks: those that have settings, by name; what waits for others is dropped.
        now: the clock's time.

    Returns:
        How many messages were sent.

    Raises:
        DatabaseUnavailable: call again; what was sent meanwhile may be sent once more.
    """
    started = monotonic()

    def clock() -> datetime:  # sending takes its time: no claim and no rest may be over by then
        return now + timedelta(seconds=int(monotonic() - started))

    _drop_unconfigured(database, sinks)
    return sum(_deliver_to(database, name, sink, clock) for name, sink in sinks.items())


def _deliver_to(database: Database, name: str, sink: Sink, clock: Callable[[], datetime]) -> int:
    for sent in range(_MOST_MESSAGES):
        claimed = _claim(database, name, clock())
        if claimed is None:
            return sent
        try:
            sink.send(claimed.message)
        except Unavailable as error:
            now = clock()
            _fail(database, name, claimed, error, now, over=now - claimed.since > _PATIENCE)
            return sent
        except Exception as error:  # a sink's mistake holds up that sink alone
            if not isinstance(error, PellucidError):
                _log.exception("The alert sink %s failed.", name)
            over = claimed.attempts >= _MOST_REFUSALS
            _fail(database, name, claimed, error, clock(), over=over)
            return sent
        _finish(database, name, claimed, clock())
    return _MOST_MESSAGES


def _claim(database: Database, sink: str, now: datetime) -> _Claimed | None:
    """The sink's next message, if it is due; nobody else sends it meanwhile."""
    waiting = select(NotificationRow).where(
        NotificationRow.sink == sink, NotificationRow.state == "waiting"
    )
    with database.transaction() as session:
        head = session.scalars(
            waiting.order_by(NotificationRow.id).limit(1).with_for_update()
        ).first()
        if head is None or timedelta(0) < head.next_try_at - now <= _LONGEST_REST:
            return None  # a rest that is longer was begun by a clock that has been set back
        together = waiting.where(
            NotificationRow.batch == head.batch, NotificationRow.event == head.event
        )
        rows = list(session.scalars(together.order_by(NotificationRow.id).with_for_update()))
        for row in rows:
            row.attempts += 1
            row.next_try_at = now + _CLAIM
        numbers = [row.id for row in rows]
        identity = hashlib.sha256(f"{head.alert_id} {numbers}".encode()).hexdigest()
        alerts = [Alert.model_validate(row.payload) for row in rows]
        message = Message(f"msg_{identity[:32]}", head.event, head.created_at, tuple(alerts))
        return _Claimed(numbers, message, head.attempts, head.created_at)


def _finish(database: Database, sink: str, claimed: _Claimed, now: datetime) -> None:
    with database.transaction() as session:
        for row in _held(session, claimed):
            row.state, row.delivered_at, row.error = "delivered", now, ""
            alert = session.get_one(AlertRow, row.alert_id, with_for_update=True)
            record(session, alert, "notified", now, sink=sink, of=row.event, attempts=row.attempts)


def _fail(
    database: Database,
    sink: str,
    claimed: _Claimed,
    error: Exception,
    now: datetime,
    *,
    over: bool,
) -> None:
    _log.warning("The alert sink %s did not take a message: %s", sink, error)
    again = now + rest(claimed.attempts)
    with database.transaction() as session:
        for row in _held(session, claimed):
            row.error, row.next_try_at = str(error)[:2000], again
            if over:
                row.state = "dropped"
                alert = session.get_one(AlertRow, row.alert_id, with_for_update=True)
                data = {"sink": sink, "of": row.event, "error": row.error}
                record(session, alert, "undelivered", now, **data)


def _held(session: Session, claimed: _Claimed) -> list[NotificationRow]:
    query = select(NotificationRow).where(
        NotificationRow.id.in_(claimed.rows), NotificationRow.state == "waiting"
    )
    return list(session.scalars(query.order_by(NotificationRow.alert_id).with_for_update()))


def _drop_unconfigured(database: Database, sinks: Mapping[str, Sink]) -> None:
    others = (NotificationRow.state == "waiting", NotificationRow.sink.not_in(list(sinks)))
    with database.reading() as session:
        if session.scalars(select(NotificationRow.id).where(*others).limit(1)).first() is None:
            return
    with database.transaction() as session:
        told_why = {"state": "dropped", "error": "This sink has no settings."}
        session.execute(update(NotificationRow).where(*others).values(**told_why))


def rest(attempts: int) -> timedelta:
    """How long a message rests after so many attempts: doubled each time, and half of it chance."""
    longest = min(_FIRST_REST * 2.0 ** min(attempts - 1, 10), _LONGEST_REST)
    return longest * random.uniform(0.5, 1.0)
