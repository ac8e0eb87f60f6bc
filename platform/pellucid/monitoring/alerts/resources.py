"""Alerts, silences and rules, as the service sends them and the client reads them."""

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from pellucid.monitoring.alerts.rules import Match, Rule, Rules, Severity
from pellucid.resources.base import Resource

AlertState = Literal["pending", "firing", "resolved"]
Person = Annotated[
    str,
    Field(
        min_length=1,
        max_length=200,
        pattern=r"[^\x00]",  # which is not kept: without a name it would be Pellucid itself
        description="Who does it.",
        examples=["ada@example.com"],
    ),
]
Words = Annotated[str, Field(max_length=4000)]


class Alert(Resource):
    """One episode of one signal of one version, from its first alarm to its resolution."""

    id: str
    model: str
    version: int
    kind: str = Field(description="Of the signal: drift, performance, bias, ...")
    subject: str = Field(description="Column, output or metric.")
    severity: Severity
    state: AlertState = Field(description="pending: its rule waits for more windows.")
    summary: str = Field(description="Of the last alarm, in plain language.")
    signal: dict[str, Any] = Field(description="The last that alarmed: effect, interval, since.")
    rule: str = Field(description="The name of the rule that decides about it.")
    first_seen: datetime = Field(description="End of the first window that alarmed.")
    last_seen: datetime = Field(description="End of the last one.")
    fired_at: datetime | None = None
    escalated_at: datetime | None = None
    resolved_at: datetime | None = None
    silenced: bool = Field(description="Kept, but nobody is told.")
    acknowledged_by: str | None = None
    acknowledged_at: datetime | None = None
    note: str = Field(default="", description="Of who acknowledged it.")
    job_id: str | None = Field(default=None, description="The retraining that it has started.")


class AlertEvent(Resource):
    """Something that happened to an alert. `seq` counts from 1 within the alert.

    Kinds: opened, fired, raised, silenced, unsilenced, notified, undelivered, escalated,
    acknowledged, resolved, expired, retrain, retrained.
    """

    seq: int
    time: datetime
    kind: str
    by: str = Field(description="A person; empty: Pellucid itself.")
    data: dict[str, Any]


class AlertHistory(Resource):
    """An alert, and all that happened to it."""

    alert: Alert
    events: list[AlertEvent]


class Silence(Resource):
    """Alerts of which nobody wants to hear for a while."""

    id: str
    match: Match
    until: datetime
    by: str
    reason: str
    created_at: datetime
    lifted_at: datetime | None = Field(default=None, description="Ended before its time.")
    lifted_by: str = ""


class RulesInForce(Resource):
    """The rules by which signals become alerts; the first that fits decides."""

    rules: list[Rule]
    by: str = Field(description="Who set them; empty: they are the defaults.")
    since: datetime | None


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class WantedAcknowledgement(_Request):
    """Somebody has seen an alert, and looks after it: it is not escalated any more."""

    by: Person
    note: Words = ""


class WantedSilence(_Request):
    """Of which alerts nobody wants to hear, until when, and why."""

    match: Match = Match()
    until: Annotated[AwareDatetime, Field(description="With a time zone; at most a year ahead.")]
    by: Person
    reason: Annotated[Words, Field(min_length=1)]


class WantedRules(Rules):
    """All rules, in place of those in force."""

    by: Person
