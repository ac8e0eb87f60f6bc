"""What was found out about a window of live traffic, one statement at a time.

Drift, performance and bias all speak in signals: they are stored, shown, and what alerts go by.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

SignalKind = Literal[
    "drift",  # an input column's distribution
    "missing",  # share of missing values of a column
    "unseen",  # share of values that no reference row had
    "outside",  # share of numbers beyond the reference's range
    "type",  # values of another type than the column's
    "output",  # distribution of a score, label or value that the model gives
    "multivariate",  # columns together, by a classifier or a reconstruction
    "sequential",  # a stream's change point
    "performance",  # realised, from labels
    "estimate",  # of the performance, before labels
    "bias",  # a disparity between groups
    "traffic",  # too few rows, clock skew, a version without a profile
]


class Status(StrEnum):
    """What a signal says.

    alarm: a difference that is both certain (its test) and large enough to matter (its effect).
    ok: no such difference, and rows enough to have seen one. unclear: too few rows, or an interval
    that spans the threshold. absent: cannot be told, and `summary` says why.
    """

    OK = "ok"
    ALARM = "alarm"
    UNCLEAR = "unclear"
    ABSENT = "absent"


class Signal(BaseModel):
    """One finding about one subject in one window."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    kind: SignalKind
    subject: Annotated[str, Field(description="Column, output, metric, or metric by column.")]
    status: Status
    summary: Annotated[str, Field(description="In plain language, for whoever is woken by it.")]
    statistic: Annotated[str, Field(description="Its name: ks, wasserstein, share, roc_auc ...")]
    effect: Annotated[float | None, Field(description="Size of the difference.")] = None
    threshold: Annotated[float | None, Field(description="Smallest effect that matters.")] = None
    p_value: Annotated[float | None, Field(description="Before any correction.")] = None
    reference: Annotated[float | None, Field(description="What it was, if it is a number.")] = None
    current: Annotated[float | None, Field(description="What it is.")] = None
    low: Annotated[float | None, Field(description="Confidence limits of `current`.")] = None
    high: float | None = None
    importance: Annotated[
        float | None, Field(description="The column's share of all mean |SHAP values|, 0 to 1.")
    ] = None
    measures: Annotated[
        dict[str, float], Field(description="Other distances of the same two distributions.")
    ] = {}
    since: Annotated[
        datetime | None, Field(description="Start of the first of the windows that alarm so.")
    ] = None

    @property
    def key(self) -> str:
        """What it is about, whatever the window."""
        return f"{self.kind}:{self.subject}"
