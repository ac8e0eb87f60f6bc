"""What a training process tells the world while it runs: events and metrics, in spools."""

import time
from types import TracebackType
from typing import Any, Self

from pellucid.jobs.workspace import Spool, Workspace, metric_entries


class Journal:
    """The event and metric spools of a workspace. Appending is safe from several threads."""

    def __init__(self, workspace: Workspace) -> None:
        self._events = Spool(workspace.events_path)
        self._metrics = Spool(workspace.metrics_path)

    def event(self, kind: str, **data: Any) -> None:
        """Something happened: `stage`, `progress`, `environment` or `finding`."""
        self._events.append({"time": time.time_ns() // 1_000_000, "kind": kind, "data": data})

    def stage(self, name: str) -> None:
        """A stage of the run begins."""
        self.event("stage", stage=name)

    def metrics(self, values: dict[str, float], step: int) -> None:
        """Points of curves."""
        self._metrics.append(*metric_entries(values, step))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._events.close()
        self._metrics.close()
