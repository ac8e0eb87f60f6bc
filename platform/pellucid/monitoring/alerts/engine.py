"""From the signals of a window to alerts that fire and resolve; and what time alone brings about.

Whatever happens to alerts and what is to be sent of it are one transaction: a process that dies in
between loses nothing, and tells nothing twice.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from pellucid.analysis.watching.signals import Signal, Status
from pellucid.db.base import now as clock
from pellucid.db.session import Database
from pellucid.db.tables.alerts import AlertRow
from pellucid.jobs.rows import new_id
from pellucid.monitoring.alerts import episodes, outbox, rulebook, silences
from pellucid.monitoring.alerts.resources import Silence
from pellucid.monitoring.alerts.rules import Escalation, Rules


def evaluate(
    database: Database,
    model: str,
    version: int,
    at: datetime,
    signals: Iterable[Signal],
    *,
    now: datetime | None = None,
) -> None:
    """Let alerts fire and resolve, as a window's signals say. Doing it again changes nothing.

    Args:
        database: with the rules, silences and open alerts.
        model: its name.
        version: of the model.
        at: the window's end. Windows are told in their order; one that comes late is passed over.
        signals: of the window, of any kinds. An alert whose signal is not among them stays as it
            is.
        now: by which silences and histories go; by default the clock's.

    Raises:
        DatabaseUnavailable: nothing was changed; evaluate again.
    """
    found = episodes.worst_by_key(model, version, signals)
    try:
        _evaluate(database, model, version, at, found, now or clock())
    except IntegrityError:  # another monitor opened the same alert first
        _evaluate(database, model, version, at, found, now or clock())


def sweep(database: Database, now: datetime) -> None:
    """What time alone brings about: silences end, alerts escalate, and forgotten ones expire.

    Raises:
        DatabaseUnavailable: nothing was changed; sweep again.
    """
    with database.transaction() as session:
        rows = list(session.scalars(episodes.still_open()))
        if not rows:
            return
        pass_ = _Pass(session, now)
        for row in rows:
            pass_.expire(row)
            pass_.settle(row)


def _evaluate(
    database: Database,
    model: str,
    version: int,
    at: datetime,
    signals: Mapping[str, Signal],
    now: datetime,
) -> None:
    query = episodes.still_open().where(AlertRow.model == model, AlertRow.version == version)
    with database.transaction() as session:
        open_ = {row.open_key: row for row in session.scalars(query)}
        if not open_ and all(signal.status is not Status.ALARM for signal in signals.values()):
            return
        rules, pass_ = rulebook.current(session), _Pass(session, now)
        for key, signal in signals.items():
            row = open_.get(key)
            if row is None and signal.status is Status.ALARM:
                rule = rules.deciding(model, signal)
                if rule is None or episodes.outlived(session, model, version, signal, at):
                    continue
                row = episodes.begin(session, key, model, version, signal, rule, at, now)
            if row is not None and episodes.advance(row, signal, at):
                pass_.move(row, signal, rules)
                pass_.settle(row)


class _Pass:
    """One transaction's walk over alerts; what it has to tell is one batch."""

    def __init__(self, session: Session, now: datetime) -> None:
        self._session = session
        self._now = now
        self._silences: list[Silence] = silences.active(session, now)
        self._batch = new_id(now)

    def move(self, row: AlertRow, signal: Signal, rules: Rules) -> None:
        """Bring an alert into the state that its counted windows ask for."""
        rule = rules.deciding(row.model, signal) if signal.status is Status.ALARM else None
        if rule:
            episodes.adopt(self._session, row, rule, self._now)
        rule = episodes.rule_of(row)
        if row.state == "pending" and row.oks:
            outbox.forget(self._session, row)
        elif row.state == "pending" and episodes.lasts(row, rule):
            episodes.fire(self._session, row, self._now)
        elif row.state == "firing" and row.oks >= rule.resolve_after:
            windows = f"{row.oks} window{'s' if row.oks > 1 else ''} in a row"
            self._end(row, "resolved", f"No alarm in {windows}.")

    def expire(self, row: AlertRow) -> None:
        """End an alert of which no window has told anything for long."""
        last = max(row.evaluated_at, row.fired_at or row.evaluated_at)
        if self._now - last > timedelta(seconds=episodes.rule_of(row).expire_after_seconds):
            self._end(row, "expired", f"No window was judged since {row.evaluated_at.isoformat()}.")

    def settle(self, row: AlertRow) -> None:
        """Tell what is to be told of an open alert as it is now."""
        if row.open_key is None:
            return
        silences.hush(self._session, row, self._silences, self._now)
        if row.state != "firing" or row.silenced:
            return
        rule = episodes.rule_of(row)
        if row.told_severity != row.severity:
            event = f"raised-{row.severity}" if row.told_severity else "firing"
            row.notified_at, row.told_severity = row.notified_at or self._now, row.severity
            self._tell(row, event, rule.sinks)
        if rule.escalate is not None:
            self._escalate(row, rule.escalate)

    def _escalate(self, row: AlertRow, wanted: Escalation) -> None:
        """Once, where nobody has acknowledged it in time; a silence before it was told is none."""
        due = (row.notified_at or self._now) + timedelta(seconds=wanted.after_seconds)
        if row.acknowledged_at is None and row.escalated_at is None and due <= self._now:
            row.escalated_at = self._now
            names = list(wanted.sinks)
            episodes.record(self._session, row, "escalated", self._now, sinks=names)
            self._tell(row, "escalated", wanted.sinks)

    def _end(self, row: AlertRow, kind: str, reason: str) -> None:
        episodes.close(self._session, row, self._now, kind, reason)
        self._tell(row, "resolved", outbox.told(self._session, row))

    def _tell(self, row: AlertRow, event: str, sinks: Iterable[str]) -> None:
        outbox.enqueue(self._session, row, event, sinks, self._batch, self._now)
