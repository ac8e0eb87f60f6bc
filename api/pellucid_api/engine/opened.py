"""What explains a version, opened: the graph, and the queues before it."""

import functools
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pellucid.bundle import Datatype, Explanation, Input
from pellucid.schema import Kind
from pellucid_api.engine.attribution import CHOSEN, Attributor
from pellucid_api.engine.batcher import Batcher
from pellucid_api.engine.feeds import Feed, Layout
from pellucid_api.engine.guard import Guard, Watch
from pellucid_api.engine.model import Model
from pellucid_api.engine.statistics import Explanations
from pellucid_api.engine.values import Values

_RUN_SECONDS, _MOST_ROWS = 0.005, 64  # of a run: predictions may wait for it
_FINER, _MOST_STEPS = 4, 512  # an inexact row gets so many times the steps, up to the most
_VERIFIED, _TIMED = 2, 3  # rows, runs
_SAME = 1e-4  # largest difference to the model's own predictions


class Opened(NamedTuple):
    """A graph that was seen to be the model's.

    Args:
        attributor: its session.
        batchers: queues, each for runs with more steps than the one before.
        rows: of a run.
    """

    attributor: Attributor
    batchers: Sequence[Batcher]
    rows: int


@dataclass(frozen=True)
class Opening:
    """How a version's graph is opened.

    Args:
        model: the version's.
        path: of the graph.
        told: of it, by the manifest.
        executor: makes the runs.
        guard: stops runs that take too long.
        statistics: kept up to date.
        queue_seconds: a request that would wait longer is refused.
        run_seconds: a run that takes longer is stopped.
    """

    model: Model
    path: Path
    told: Explanation
    executor: Executor
    guard: Guard
    statistics: Explanations
    queue_seconds: float
    run_seconds: float

    def open(self) -> Opened:
        """Open and verify it, and see how long a row takes.

        Raises:
            InvalidData: it cannot be opened, or is not the model's.
        """
        attributor = Attributor(self.path, self.model.manifest)
        watch = self.guard.watch(attributor.stop)
        watch.begin(self.run_seconds)
        try:
            self._verify(attributor)
            seconds = self._time(attributor)
        finally:
            watch.end()
        inputs = [*self.model.manifest.inputs]
        if attributor.chooses:
            inputs.append(Input(name=CHOSEN, kind=Kind.TENSOR, datatype=Datatype.INT64))
        layout = Layout(inputs)
        rows = int(np.clip(_RUN_SECONDS / seconds, 1, min(_MOST_ROWS, self.told.batch_rows)))
        batchers = [self._batcher(attributor, layout, times, rows, watch) for times in self._times]
        batchers[0].cost.learn(1, seconds)
        return Opened(attributor, batchers, rows)

    def _verify(self, attributor: Attributor) -> None:
        manifest = self.model.manifest
        feed, expected = self.model.parity()
        few = {name: array[:_VERIFIED] for name, array in feed.items()}
        wanted = [expected[output.name][:_VERIFIED] for output in manifest.outputs]
        attributor.verify(few, wanted, max(_SAME, manifest.parity.tolerance))

    def _time(self, attributor: Attributor) -> float:
        """Seconds that a row takes: the least of a few, since others may compute meanwhile."""
        row = {name: array[:1] for name, array in self.model.examples().items()}
        times = []
        for _ in range(_TIMED):
            started = time.perf_counter()
            attributor.run(row)
            times.append(time.perf_counter() - started)
        return min(times)

    @property
    def _times(self) -> list[int]:
        """How many times the graph's own number of steps are taken, one after the other."""
        times, most = [1], _MOST_STEPS // self.told.steps if self.told.steps else 1
        while times[-1] < most:
            times.append(min(_FINER * times[-1], most))
        return times

    def _batcher(
        self, attributor: Attributor, layout: Layout, times: int, rows: int, watch: Watch
    ) -> Batcher:
        steps = self.told.steps * times if times > 1 else 0
        return Batcher(
            functools.partial(_run, attributor, layout, steps),
            self.executor,
            self.statistics,
            max_rows=max(1, rows // times),
            max_wait=self.queue_seconds,
            max_run=self.run_seconds,
            watch=watch,
            on_loop=0.0,
        )


def _run(attributor: Attributor, layout: Layout, steps: int, feed: Feed) -> list[Values]:
    return attributor.run(layout.unpack(feed), steps)
