"""Alerts, silences and rules over REST."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from pellucid.analysis.watching.signals import SignalKind
from pellucid.client.connection import Connection, given, segment
from pellucid.monitoring.alerts.resources import (
    Alert,
    AlertHistory,
    AlertState,
    RulesInForce,
    Silence,
)
from pellucid.monitoring.alerts.rules import Rule
from pellucid.resources.base import Page


class Alerts:
    """What the monitor has found, and who looks after it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def list(
        self,
        model: str | None = None,
        state: AlertState | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> Page[Alert]:
        """Alerts, newest first."""
        params = given(model=model, state=state, cursor=cursor, limit=limit)
        return self._connection.fetch(Page[Alert], "GET", "/v1/alerts", params=params)

    def get(self, alert_id: str) -> AlertHistory:
        """An alert, and all that happened to it."""
        return self._connection.fetch(AlertHistory, "GET", _alert(alert_id))

    def acknowledge(self, alert_id: str, by: str, note: str = "") -> Alert:
        """Look after an alert: it escalates no more."""
        body = {"by": by, "note": note}
        return self._connection.fetch(Alert, "POST", _alert(alert_id) + "/acknowledge", json=body)

    def silence(
        self,
        by: str,
        reason: str,
        duration: timedelta,
        *,
        model: str = "*",
        kinds: Sequence[SignalKind] = (),
        subject: str = "*",
    ) -> Silence:
        """Tell nobody of some alerts for a while.

        Args:
            by: who wants it.
            reason: why.
            duration: from now; at most a year.
            model: names as in a shell, such as credit-*; so is the subject.
            kinds: of signals; none: every kind.
            subject: columns, outputs or metrics.
        """
        match = {"model": model, "kinds": [*kinds], "subject": subject}
        until = (datetime.now(UTC) + duration).isoformat()
        body = {"match": match, "until": until, "by": by, "reason": reason}
        return self._connection.fetch(Silence, "POST", "/v1/silences", json=body)

    def silences(
        self, *, every: bool = False, cursor: str | None = None, limit: int = 50
    ) -> Page[Silence]:
        """The silences in force, or with `every` those that have ended, too."""
        params = given(all=every or None, cursor=cursor, limit=limit)
        return self._connection.fetch(Page[Silence], "GET", "/v1/silences", params=params)

    def lift(self, silence_id: str, by: str) -> Silence:
        """End a silence before its time."""
        path = f"/v1/silences/{segment(silence_id)}"
        return self._connection.fetch(Silence, "DELETE", path, params={"by": by})

    def rules(self) -> RulesInForce:
        """The rules by which signals become alerts."""
        return self._connection.fetch(RulesInForce, "GET", "/v1/alert-rules")

    def set_rules(self, rules: Sequence[Rule], by: str) -> RulesInForce:
        """Set all rules, in place of those in force."""
        body = {"rules": [rule.model_dump(mode="json") for rule in rules], "by": by}
        return self._connection.fetch(RulesInForce, "PUT", "/v1/alert-rules", json=body)


def _alert(alert_id: str) -> str:
    return f"/v1/alerts/{segment(alert_id)}"
