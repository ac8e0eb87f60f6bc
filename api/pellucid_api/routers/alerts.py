"""Alerts: what fires, who looks after it, what is silenced, and by which rules."""

from collections.abc import Callable
from typing import Annotated, TypeVar

from fastapi import Path, Query

from pellucid.monitoring.alerts import history, rulebook, silences
from pellucid.monitoring.alerts.resources import (
    Alert,
    AlertHistory,
    AlertState,
    Person,
    RulesInForce,
    Silence,
    WantedAcknowledgement,
    WantedRules,
    WantedSilence,
)
from pellucid.resources.base import Page
from pellucid_api.deps import Cursor, Held, Limit, Signed

Wanted = TypeVar("Wanted", WantedAcknowledgement, WantedRules, WantedSilence)
AlertId = Annotated[str, Path(description="The alert's id.")]
SilenceId = Annotated[str, Path(description="The silence's id.")]


def list_alerts(
    services: Held,
    model: Annotated[str | None, Query(description="Only alerts of this model.")] = None,
    state: Annotated[AlertState | None, Query(description="Only alerts in this state.")] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[Alert]:
    """List alerts, newest first."""
    return history.listed(services.database, model=model, state=state, cursor=cursor, limit=limit)


def show(services: Held, alert_id: AlertId) -> AlertHistory:
    """Show an alert, and all that happened to it: who was told, who did what."""
    return history.get(services.database, alert_id)


def acknowledge(
    services: Held, signed: Signed, alert_id: AlertId, body: WantedAcknowledgement
) -> Alert:
    """Acknowledge an alert: somebody looks after it, and it escalates no more."""
    return history.acknowledge(services.database, alert_id, _signed(body, signed))


def silence(services: Held, signed: Signed, body: WantedSilence) -> Silence:
    """Silence alerts for a while: they are kept, and nobody is told.

    What still fires when the silence ends is told then.
    """
    return silences.add(services.database, _signed(body, signed))


def list_silences(
    services: Held,
    every: Annotated[bool, Query(alias="all", description="Those that have ended, too.")] = False,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[Silence]:
    """List the silences in force, newest first."""
    return silences.listed(services.database, all_=every, cursor=cursor, limit=limit)


def lift(
    services: Held, signed: Signed, silence_id: SilenceId, by: Annotated[Person, Query()]
) -> Silence:
    """End a silence before its time. It stays in the list of all."""
    return silences.lift(services.database, silence_id, signed(by))


def rules(services: Held) -> RulesInForce:
    """Show the rules by which signals become alerts; the first that fits decides."""
    return rulebook.in_force(services.database)


def set_rules(services: Held, signed: Signed, body: WantedRules) -> RulesInForce:
    """Set all rules, in place of those in force. Open alerts go by them from their next window."""
    return rulebook.replace(services.database, _signed(body, signed))


def _signed(body: Wanted, signed: Callable[[str], str]) -> Wanted:
    return body.model_copy(update={"by": signed(body.by)})
