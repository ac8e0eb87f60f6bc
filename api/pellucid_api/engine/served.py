"""A version in memory, with the queue before it."""

import time
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, TypeVar

from pellucid_api.engine.batcher import Batcher
from pellucid_api.engine.feeds import Feed, Layout
from pellucid_api.engine.model import Model
from pellucid_api.engine.statistics import Statistics
from pellucid_api.engine.values import Values

T = TypeVar("T")
_WARMING = (1, 8, 64)  # rows of the runs that tell how long a run takes


@dataclass(frozen=True)
class Limits:
    """Of the queue before each version.

    Args:
        batch_rows: most rows of one run.
        queue_seconds: a request that would wait longer is refused.
    """

    batch_rows: int
    queue_seconds: float


class Served:
    """A version in memory, verified, with the queue before it.

    Args:
        executor: makes the runs that are long.
        limits: of its queue and its batches.
    """

    def __init__(
        self, name: str, version: int, model: Model, executor: Executor, limits: Limits
    ) -> None:
        self.name, self.version, self.model = name, version, model
        self.layout = Layout(model.manifest.inputs)
        self.statistics = Statistics()
        self.batcher = Batcher(
            self._run,
            executor,
            self.statistics,
            max_rows=limits.batch_rows,
            max_wait=limits.queue_seconds,
        )
        self._kept: dict[type, Any] = {}

    def kept(self, kind: type[T], make: Callable[["Served"], T | None]) -> T | None:
        """What a codec made for this version, made at the first call."""
        if kind not in self._kept:
            self._kept[kind] = make(self)
        found: T | None = self._kept[kind]
        return found

    def warm(self) -> None:
        """Verify the model, and run small batches: buffers are made, and times are known.

        Raises:
            InvalidData: as `Model.verify` says.
        """
        self.model.verify()
        feed = self.layout.pack(self.model.examples())
        for rows in _WARMING:
            few = feed.cut(0, min(rows, feed.rows))
            started = time.perf_counter()
            self._run(few)
            self.batcher.cost.learn(few.rows, time.perf_counter() - started)

    def _run(self, feed: Feed) -> list[Values]:
        return list(self.model.run(self.layout.unpack(feed)).values())
