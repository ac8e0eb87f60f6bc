"""A message that says it is a test."""

from pellucid.db.base import now
from pellucid.jobs.rows import new_id
from pellucid.monitoring.alerts.resources import Alert
from pellucid.monitoring.alerts.sinks.contract import Message


def message() -> Message:
    """A new one; it stands in no history."""
    moment = now()
    identity = new_id(moment)
    alert = Alert(
        id=identity,
        model="test",
        version=1,
        kind="drift",
        subject="test",
        severity="info",
        state="firing",
        summary="This is a test. Nothing is wrong.",
        signal={},
        rule="test",
        first_seen=moment,
        last_seen=moment,
        silenced=False,
    )
    return Message(f"msg_{identity}", "test", moment, (alert,))
