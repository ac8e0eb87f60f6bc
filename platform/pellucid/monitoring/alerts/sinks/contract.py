"""What we ask of a sink, and what it is given."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from pellucid.monitoring.alerts.resources import Alert
from pellucid.monitoring.alerts.rules import Severity, Urgency
from pellucid.monitoring.checks.verdicts import subject

_TITLES = {
    "firing": "Alert",
    "raised-warning": "Alert, now a warning",
    "raised-critical": "Alert, now critical",
    "escalated": "Alert that nobody has acknowledged",
    "resolved": "Resolved",
    "test": "Test, no alert",
}


@dataclass(frozen=True)
class Message:
    """Alerts to which the same happened in one pass, of one or more models.

    Attributes:
        id: always the same for the same message, however often it is sent.
        event: firing, raised-warning, raised-critical, escalated, resolved, or test.
        time: when it happened.
        alerts: at least one, as they were then.
    """

    id: str
    event: str
    time: datetime
    alerts: tuple[Alert, ...]

    @property
    def severity(self) -> Severity:
        """The highest of the alerts'."""
        return Urgency.highest(alert.severity for alert in self.alerts)

    @property
    def most_urgent_first(self) -> list[Alert]:
        """The alerts by severity."""
        return sorted(self.alerts, key=lambda alert: -Urgency[alert.severity])

    @property
    def title(self) -> str:
        """One line: what happened, how urgent, which models, which subjects."""
        models = ", ".join(sorted({f"{alert.model}/{alert.version}" for alert in self.alerts}))
        first, *others = self.most_urgent_first
        more = f" and {len(others)} more" if others else ""
        what = f"{_TITLES.get(self.event, self.event)} ({self.severity})"
        return f"{what}: {models}: {about(first)}{more}"


def about(alert: Alert) -> str:
    """What an alert is about, for people."""
    return f"{alert.kind} of {subject(alert.subject)}"


class Sink(Protocol):
    """Somewhere that alerts are told."""

    def send(self, message: Message) -> None:
        """Tell a message, and return once the other side has taken it.

        Raises:
            Unavailable: nobody took it; it is tried again for days.
            PellucidError: the other side refused it; it is tried again a few times.
        """
        ...
