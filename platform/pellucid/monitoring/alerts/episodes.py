"""The life of an alert: a row that windows and people move on.

    (no row) --alarm--> pending --for_windows, for_seconds--> firing --resolve_after--> resolved
                           |
                           +--ok--> (no row)

Unclear and absent windows move nothing: neither is a reason to wake somebody, or to say that it is
over. A window that is told twice counts once, and one that comes late does not count.
"""

import hashlib
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from pellucid.analysis.watching.signals import Signal, Status
from pellucid.db.tables.alerts import AlertEventRow, AlertRow
from pellucid.jobs.rows import new_id, storable
from pellucid.monitoring.alerts.resources import Alert, AlertEvent
from pellucid.monitoring.alerts.rules import Rule, Urgency
from pellucid.monitoring.checks.verdicts import said

_ORDER = (Status.ALARM, Status.UNCLEAR, Status.OK, Status.ABSENT)


def key_of(model: str, version: int, signal: Signal) -> str:
    """What one open alert stands for, as 64 hexadecimal digits."""
    text = "\0".join((model, str(version), signal.kind, signal.subject))
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()


def worst_by_key(model: str, version: int, signals: Iterable[Signal]) -> dict[str, Signal]:
    """One signal for each key: several tests of one subject are one alert."""
    found: dict[str, Signal] = {}
    for signal in signals:
        key = key_of(model, version, signal)
        known = found.get(key)
        if known is None or _ORDER.index(signal.status) < _ORDER.index(known.status):
            found[key] = signal
    return found


def to_alert(row: AlertRow) -> Alert:
    """The resource of a row."""
    plain = {name: getattr(row, name) for name in Alert.model_fields}
    return Alert.model_validate(plain | {"rule": row.rule["name"]})


def to_event(row: AlertEventRow) -> AlertEvent:
    """The resource of an event's row."""
    return AlertEvent.model_validate({name: getattr(row, name) for name in AlertEvent.model_fields})


def record(
    session: Session,
    row: AlertRow,
    kind: str,
    moment: datetime,
    *,
    by: str = "",
    **data: Any,
) -> None:
    """Append an event; the row's lock makes the numbering free of gaps."""
    row.last_seq += 1
    session.add(
        AlertEventRow(
            alert_id=row.id, seq=row.last_seq, time=moment, kind=kind, by=by, data=storable(data)
        )
    )


def rule_of(row: AlertRow) -> Rule:
    """The rule that decides about it, as it was when it last fitted."""
    return Rule.model_validate(row.rule)


def outlived(session: Session, model: str, version: int, signal: Signal, at: datetime) -> bool:
    """Whether an alert of the signal was resolved by a later window than this.

    Windows whose labels come late are judged again, one after the other.
    """
    query = select(AlertRow.id).where(
        AlertRow.model == model,
        AlertRow.evaluated_at > at,
        AlertRow.version == version,
        AlertRow.kind == signal.kind,
        AlertRow.subject == storable(signal.subject),
    )
    return session.scalars(query.limit(1)).first() is not None


def still_open() -> Select[AlertRow]:
    """Those that are not resolved, by their ids, locked.

    Both conditions say the same; each is for the sake of an index.
    """
    rows = select(AlertRow).where(
        AlertRow.open_key.is_not(None), AlertRow.state.in_(("pending", "firing"))
    )
    return rows.order_by(AlertRow.id).with_for_update()


def begin(
    session: Session,
    key: str,
    model: str,
    version: int,
    signal: Signal,
    rule: Rule,
    at: datetime,
    moment: datetime,
) -> AlertRow:
    """The alert of a first alarm, pending."""
    row = AlertRow(
        id=new_id(moment),
        open_key=key,
        model=model,
        version=version,
        kind=signal.kind,
        subject=storable(signal.subject),
        severity=rule.severity,
        state="pending",
        summary="",
        signal={},
        rule=rule.model_dump(mode="json"),
        first_seen=at,
        last_seen=at,
        evaluated_at=at,
        last_status="",
        alarms=0,
        oks=0,
        told_severity="",
        silenced=False,
        note="",
        action="",
        last_seq=0,
    )
    session.add(row)
    session.flush()
    record(session, row, "opened", moment, rule=rule.name, severity=rule.severity)
    return row


def advance(row: AlertRow, signal: Signal, at: datetime) -> bool:
    """Count a window; False if it was counted before, or is older than one that was."""
    if at < row.evaluated_at:
        return False
    if signal.status is Status.ALARM:
        row.signal = storable(signal.model_dump(mode="json", exclude_none=True))
        row.summary = storable(said(signal))
    silent = signal.status in (Status.UNCLEAR, Status.ABSENT, row.last_status)
    if at == row.evaluated_at and silent:  # what it had counted as stands
        return False
    row.evaluated_at, row.last_status = at, signal.status.value
    if signal.status is Status.ALARM:
        row.alarms, row.oks, row.last_seen = row.alarms + 1, 0, at
    elif signal.status is Status.OK:
        row.alarms, row.oks = 0, row.oks + 1
    return True


def lasts(row: AlertRow, rule: Rule) -> bool:
    """Whether a pending alert has alarmed for as long as its rule wants."""
    lasted = row.last_seen - row.first_seen >= timedelta(seconds=rule.for_seconds)
    return row.alarms >= rule.for_windows and lasted


def fire(session: Session, row: AlertRow, moment: datetime) -> None:
    """From now on it is told."""
    row.state, row.fired_at = "firing", moment
    record(session, row, "fired", moment, severity=row.severity, summary=row.summary)


def close(session: Session, row: AlertRow, moment: datetime, kind: str, reason: str) -> None:
    """It is over; the next alarm of its signal is another alert."""
    row.state, row.resolved_at, row.open_key = "resolved", moment, None
    record(session, row, kind, moment, reason=reason)


def adopt(session: Session, row: AlertRow, rule: Rule, moment: datetime) -> None:
    """Go by the rule that decides now, unless it is less urgent.

    A severity only rises: an effect that wavers around a rule's minimum is one alert, and wakes
    nobody twice.
    """
    if Urgency[rule.severity] < Urgency[row.severity]:
        return
    row.rule = rule.model_dump(mode="json")
    if rule.severity != row.severity:
        before, row.severity = row.severity, rule.severity
        data = {"before": before, "severity": rule.severity, "rule": rule.name}
        record(session, row, "raised", moment, **data)
