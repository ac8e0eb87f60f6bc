"""Judging a window: every question is asked, and one that fails spoils no other."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa

from pellucid.analysis.watching.drift import Levels
from pellucid.analysis.watching.profiles import Profile
from pellucid.analysis.watching.signals import Signal, Status
from pellucid.errors import PellucidError, Unavailable
from pellucid.monitoring.checks import sampling
from pellucid.monitoring.feedback.labels import DIRECTORY as LABELS
from pellucid.monitoring.log import PredictionLog
from pellucid.monitoring.profiles.windows import Window
from pellucid.monitoring.watch.references import Reference
from pellucid.settings import Settings

_YEAR = 365.25 * 86_400  # seconds

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Case:
    """A window and what it is judged by.

    Attributes:
        profile: of the window; None where the version has no reference profile.
        rows: of the window.
        since: of each signal that alarmed before, by key: since which window.
        past: the means of outputs in the windows at the same time of the days before, by start.
    """

    settings: Settings
    window: Window
    reference: Reference
    profile: Profile | None
    rows: int
    since: Mapping[str, datetime]
    past: Sequence[tuple[datetime, Mapping[str, float]]] = ()

    @property
    def log(self) -> PredictionLog:
        """Of the predictions."""
        return PredictionLog(self.settings.home / "predictions")

    @cached_property
    def sample(self) -> list[pa.RecordBatch]:
        """Some of the rows, with their inputs and outputs; read once for all questions."""
        window, manifest = self.window, self.reference.manifest
        parts = self.log.parts(
            window.model,
            window.start,
            window.end,
            version=window.version,
            columns=sampling.COLUMNS,
        )
        return sampling.sampled(parts, manifest.inputs if manifest else ())

    @property
    def labels(self) -> Path:
        """The root of what turned out to be true of predictions."""
        return self.settings.home / LABELS

    @property
    def levels(self) -> Levels:
        """What an alarm takes: false ones are rare over a year of such windows."""
        seconds = (self.window.end - self.window.start).total_seconds()
        return Levels(windows_per_year=max(_YEAR / seconds, 1.0))


@dataclass
class Findings:
    """What came of the questions.

    Attributes:
        complete: False where something did not answer; asking again may tell more.
        figures: fields of `Figures`.
    """

    signals: list[Signal] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    complete: bool = True

    def __iadd__(self, other: "Findings") -> "Findings":
        self.signals += other.signals
        self.figures |= other.figures
        self.complete = self.complete and other.complete
        return self


@dataclass(frozen=True)
class Question:
    """One thing to find out about a window.

    Attributes:
        name: of the signal that tells of a failure.
        late: whether labels that arrive later change the answer.
    """

    name: str
    ask: Callable[[Case], Findings]
    late: bool = False


def judge(case: Case, questions: Sequence[Question]) -> Findings:
    """All answers."""
    found = Findings()
    for question in questions:
        found += attempt(question.name, lambda asked=question: asked.ask(case))  # type: ignore[misc]
    return found


def attempt(name: str, ask: Callable[[], Findings]) -> Findings:
    """An answer, or the signal that says why there is none."""
    try:
        return ask()
    except PellucidError as error:
        again = isinstance(error, Unavailable)
        return Findings([failed(name, error, again)], complete=not again)
    except Exception as error:
        logger.exception("%s cannot be judged", name)
        return Findings([failed(name, error)])


def absent(subject: str, summary: str) -> Signal:
    """Something about the window that cannot be told, and what to do."""
    return Signal(
        kind="traffic", subject=subject, status=Status.ABSENT, summary=summary, statistic="rows"
    )


def failed(name: str, error: Exception, again: bool = False) -> Signal:
    """A question that ended in an error."""
    if isinstance(error, PellucidError):
        said = f"{error.message} {error.remedy}".strip()
    else:
        said = f"{type(error).__name__}: {error!s:.300}. The monitor's log says more."
    rest = " The window will be judged again." if again else ""
    return absent(name, f"{name.capitalize()} could not be judged: {said}{rest}")


def dated(
    signals: Sequence[Signal], since: Mapping[str, datetime], start: datetime
) -> list[Signal]:
    """The signals; each that alarms says since when, at the latest since this window's start."""
    return [
        each.model_copy(update={"since": since.get(each.key, start)})
        if each.status is Status.ALARM and each.since is None
        else each
        for each in signals
    ]
