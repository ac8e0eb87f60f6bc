"""What monitoring found, as the service sends it and the client reads it."""

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from pellucid.analysis.watching.signals import Signal, Status
from pellucid.resources.base import Resource


class Distribution(Resource):
    """Values in the reference and in the window, as shares, to be drawn over each other.

    number: `at` has one edge more than there are cells, all equally wide. category: `labels` has
    a label for each share.
    """

    kind: Literal["number", "category"]
    at: list[float] = Field(default_factory=list)
    labels: list[str] = Field(default_factory=list)
    reference: list[float]
    window: list[float]


class ColumnFigures(Resource):
    """A column that is worth a look."""

    column: str
    importance: float | None = None
    distribution: Distribution


class Quality(Resource):
    """Shares of a column's rows, in the window and (`was_`) in the reference."""

    column: str
    missing: float
    was_missing: float
    outside: Annotated[float, Field(description="Beyond the range, or never seen before.")]
    was_outside: float
    wrong: Annotated[float, Field(description="Of another type.")]


class Figures(Resource):
    """The numbers behind the signals, for the report."""

    columns: list[ColumnFigures] = Field(
        default_factory=list, description="The ones that differ most, the worst first."
    )
    quality: list[Quality] = Field(
        default_factory=list, description="Columns with values missing, outside, or wrong."
    )
    performance: Annotated[
        dict[str, Any] | None, Field(description="Realised and estimated, with labels' delay.")
    ] = None
    bias: Annotated[dict[str, Any] | None, Field(description="Groups, metrics, impact ratios.")] = (
        None
    )
    since: dict[str, datetime] = Field(
        default_factory=dict,
        description="Of what alarms, or last did and is unclear now: since which window.",
    )
    means: dict[str, float] = Field(
        default_factory=dict, description="Of the outputs that are numbers."
    )
    reference_rows: int = 0
    run_id: Annotated[str | None, Field(description="The version's MLflow run.")] = None


class WindowSummary(Resource):
    """A window in a list."""

    model: str
    version: int
    start: datetime
    end: Annotated[datetime, Field(description="Not included.")]
    rows: int
    status: Annotated[Status, Field(description="The worst of its signals.")]
    alarms: int
    judged_at: datetime

    @property
    def id(self) -> str:
        """What `window` of the report asks for."""
        return window_id(self.version, self.start, self.end)


class WindowResult(WindowSummary):
    """A window with all that was found."""

    complete: Annotated[
        bool, Field(description="False: something did not answer, and it is judged again.")
    ] = True
    scheduled: Annotated[bool, Field(description="False: somebody asked for this window.")] = True
    verdict: Annotated[str, Field(description="In plain language.")] = ""
    signals: list[Signal]
    figures: Figures = Figures()

    @property
    def scores(self) -> list[Signal]:
        """The performance that labels tell."""
        return [s for s in self.signals if s.kind == "performance" and s.current is not None]


class Monitoring(Resource):
    """A model's newest window, and those before."""

    model: str
    latest: WindowResult | None
    windows: Annotated[list[WindowSummary], Field(description="Newest first.")]
    next_cursor: str | None = None


def window_id(version: int, start: datetime, end: datetime) -> str:
    """The name of a version's window: 3-2026-11-21T18:00:00Z-3600."""
    seconds = int((end - start).total_seconds())
    return f"{version}-{start.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}-{seconds}"
