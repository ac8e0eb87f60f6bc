"""Which signals become alerts, how urgent they are, and who is told.

The first rule that fits a signal decides, as in a firewall; a signal that none fits raises nothing.
An alert of the severity `info` is told to the log alone by the default rules: nobody is woken.
"""

from collections.abc import Iterable
from enum import IntEnum
from fnmatch import fnmatchcase
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, TypeAdapter, model_validator

from pellucid.analysis.watching.signals import Signal, SignalKind

Severity = Literal["info", "warning", "critical"]
SinkName = Literal["log", "webhook", "slack", "email"]
ALL_SINKS: tuple[SinkName, ...] = ("log", "webhook", "slack", "email")
_MONTH = 30 * 86400

_KEPT = r"^[^\x00]*$"  # by every database as it is; less a NUL, a name may be empty or another's
Glob = Annotated[str, Field(min_length=1, max_length=200, pattern=_KEPT)]
Seconds = Annotated[int, Field(ge=0, le=366 * 86400)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Match(_Part):
    """Which signals are meant: all, unless something is said."""

    model: Annotated[Glob, Field(description="Of models, as in a shell: `credit-*`.")] = "*"
    kinds: Annotated[
        tuple[SignalKind, ...], Field(description="Of signals. Empty: every kind.")
    ] = ()
    subject: Annotated[Glob, Field(description="Of columns, outputs or metrics.")] = "*"

    def covers(self, model: str, kind: str, subject: str) -> bool:
        """Whether a signal of this kind and subject is among those meant."""
        return (
            fnmatchcase(model, self.model)
            and (not self.kinds or kind in self.kinds)
            and fnmatchcase(subject, self.subject)
        )


class Escalation(_Part):
    """Who is told besides, where an alert is neither acknowledged nor resolved in time."""

    after_seconds: Annotated[
        Seconds, Field(ge=1, description="From when the alert was first told.")
    ]
    sinks: Annotated[tuple[SinkName, ...], Field(min_length=1)]


class Retrain(_Part):
    """Train the champion's plan again, on recorded predictions whose labels have come."""

    window_seconds: Annotated[
        Seconds, Field(ge=1, description="How far back predictions are taken.")
    ] = _MONTH
    append: Annotated[
        bool, Field(description="Behind the rows that the champion was trained on; else alone.")
    ] = False
    min_rows: Annotated[
        int, Field(ge=1, description="Labelled predictions that are waited for.")
    ] = 1000
    cooldown_seconds: Annotated[
        Seconds, Field(description="Between two retrainings of a model, whatever the alert.")
    ] = 7 * 86400
    share: Annotated[
        float,
        Field(ge=0, le=1, description="Of the requests, for the version if it is challenger."),
    ] = 0.0


class Rule(_Part):
    """What is made of the signals that it fits."""

    name: Annotated[str, Field(min_length=1, max_length=100, pattern=_KEPT)]
    match: Match = Match()
    min_effect: Annotated[
        FiniteFloat | None, Field(description="Least |effect|; without one a signal does not fit.")
    ] = None
    min_importance: Annotated[
        float | None, Field(ge=0, le=1, description="Least importance of the column to the model.")
    ] = None
    severity: Severity = "warning"
    for_windows: Annotated[
        int, Field(ge=1, le=10_000, description="Alarms in a row before it fires.")
    ] = 1
    for_seconds: Annotated[
        Seconds, Field(description="From the first such alarm to the last, before it fires.")
    ] = 0
    resolve_after: Annotated[
        int,
        Field(ge=1, le=10_000, description="Windows in a row that are ok; unclear ones are not."),
    ] = 1
    expire_after_seconds: Annotated[
        Seconds, Field(ge=1, description="It ends, too, if no window was judged for so long.")
    ] = _MONTH
    sinks: Annotated[
        tuple[SinkName, ...], Field(description="Who is told. Those without settings are not.")
    ] = ALL_SINKS
    escalate: Escalation | None = None
    action: Literal["none", "retrain"] = "none"
    retrain: Annotated[Retrain, Field(description="How, where the action is to retrain.")] = (
        Retrain()
    )

    def fits(self, model: str, signal: Signal) -> bool:
        """Whether it decides about this signal, if no rule before it does."""
        return (
            self.match.covers(model, signal.kind, signal.subject)
            and _reaches(signal.effect, self.min_effect)
            and _reaches(signal.importance, self.min_importance)
        )


class Rules(_Part):
    """All rules, in the order in which they are asked."""

    rules: Annotated[tuple[Rule, ...], Field(max_length=1000)]

    @model_validator(mode="after")
    def _name_each_once(self) -> Self:
        names = [rule.name for rule in self.rules]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"rules have the same name: {', '.join(twice)}")
        return self

    def deciding(self, model: str, signal: Signal) -> Rule | None:
        """The first rule that fits."""
        return next((rule for rule in self.rules if rule.fits(model, signal)), None)


class Urgency(IntEnum):
    """Severities in order."""

    info = 0
    warning = 1
    critical = 2

    @classmethod
    def highest(cls, severities: Iterable[str]) -> Severity:
        """The most urgent of some."""
        return _SEVERITY.validate_python(max(cls[each] for each in severities).name)


_SEVERITY: TypeAdapter[Severity] = TypeAdapter(Severity)
_HOURS = 3600

DEFAULT_RULES = Rules(
    rules=(
        Rule(
            name="performance",
            match=Match(kinds=("performance", "bias", "type")),
            severity="critical",
            escalate=Escalation(after_seconds=4 * _HOURS, sinks=ALL_SINKS),
        ),
        Rule(
            name="model",
            match=Match(kinds=("output", "estimate", "multivariate", "sequential")),
        ),
        Rule(
            name="important columns",
            match=Match(kinds=("drift", "missing", "unseen", "outside")),
            min_importance=0.05,
        ),
        Rule(name="all else", severity="info", sinks=("log",)),
    )
)


def _reaches(value: float | None, least: float | None) -> bool:
    return least is None or (value is not None and abs(value) >= least)
