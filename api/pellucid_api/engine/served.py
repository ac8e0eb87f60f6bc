"""A version in memory, with the queue before it."""

import copy
import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from pellucid.bundle import AMORTIZED, EXPLAINER
from pellucid.schema import Kind
from pellucid_api.engine.aside import Aside
from pellucid_api.engine.batcher import ON_LOOP, ON_LOOP_ALONE, Batcher
from pellucid_api.engine.explainer import DEFAULT, LEARNT, Explainer
from pellucid_api.engine.feeds import Feed, Layout
from pellucid_api.engine.guard import Guard
from pellucid_api.engine.lane import Lane
from pellucid_api.engine.model import Model
from pellucid_api.engine.sensitive import Sensitive
from pellucid_api.engine.statistics import Statistics
from pellucid_api.engine.trial import Trial
from pellucid_api.engine.values import Values

T = TypeVar("T")
_WARMING = (1, 8, 64)  # rows of the runs that tell how long a run takes
_GRAPHS = {DEFAULT: EXPLAINER, LEARNT: AMORTIZED}


@dataclass(frozen=True)
class Limits:
    """Of the queue before each version.

    Args:
        batch_rows: most rows of one run.
        queue_seconds: a request that would wait longer is refused.
        run_seconds: a run that takes longer is stopped.
        threads: of each run; 0 is one for each core.
        explanation_bytes: of rows whose explanations are kept, to be given again.
        explain_early: open what explains when the version is loaded, not when it is asked for.
    """

    batch_rows: int
    queue_seconds: float
    run_seconds: float = 60.0
    threads: int = 0
    explanation_bytes: int = 2**24
    explain_early: bool = False


class Served:
    """A version in memory, verified, with the queue before it.

    Nothing that it holds refers to it, so that it is freed at once when it is let go.

    Args:
        limits: of its queue and its batches.
        guard: stops runs that take too long.
        statistics: counts on from here; None begins anew.
    """

    trial: Trial | None = None  # of the champion, for requests that name no version

    def __init__(
        self,
        name: str,
        version: int,
        model: Model,
        limits: Limits,
        guard: Guard,
        statistics: Statistics | None = None,
    ) -> None:
        self.name, self.version, self.model = name, version, model
        self.layout = Layout(model.manifest.inputs)
        self.sensitive = Sensitive(model.manifest)
        # A small file may hold a large image: decoding it would hold up everybody.
        self.quick = all(i.kind not in (Kind.IMAGE, Kind.TEXT) for i in model.manifest.inputs)
        self.statistics = statistics or Statistics()
        self._watch, self._longest = guard.watch(model.stop), limits.run_seconds
        self._batch_rows = limits.batch_rows
        self.batcher = Batcher(
            functools.partial(_run, model, self.layout),
            Lane(f"{name}-{version}"),
            self.statistics,
            max_rows=limits.batch_rows,
            max_wait=limits.queue_seconds,
            max_run=limits.run_seconds,
            watch=self._watch,
            on_loop=_on_loop(model, limits),
        )
        self.aside = Aside(f"{name}-{version}-aside", model.bundle)
        self.explainers = self._explainers(limits, guard)
        self._kept: dict[type, Any] = {}

    def leading(self, trial: Trial) -> Self:
        """The same version, as it answers requests while others compete with it."""
        leader = copy.copy(self)
        leader.trial = trial
        return leader

    def kept(self, kind: type[T], make: Callable[["Served"], T | None]) -> T | None:
        """What a codec made for this version, made at the first call."""
        if kind not in self._kept:
            self._kept[kind] = make(self)
        found: T | None = self._kept[kind]
        return found

    def _explainers(self, limits: Limits, guard: Guard) -> dict[str, Explainer]:
        """By method; none of a bundle that says nothing of explanations."""
        if self.model.manifest.explanation is None:
            return {}
        root = self.model.bundle.root
        return {
            method: Explainer(
                self.model,
                graph,
                self.aside,
                guard,
                self.statistics.explanations,
                queue_seconds=limits.queue_seconds,
                run_seconds=limits.run_seconds,
                cache_bytes=limits.explanation_bytes,
            )
            for method, graph in _GRAPHS.items()
            if (root / graph).is_file()
        }

    def warm(self) -> None:
        """Verify the model, and run small batches: buffers are made, and times are known.

        Raises:
            InvalidData: as `Model.verify` says, or it takes longer than a run may.
        """
        self._watch.begin(self._longest)
        try:
            self._warm()
        finally:
            self._watch.end()

    def _warm(self) -> None:
        self.model.verify()
        for _ in self.model.prepare(self._batch_rows):
            self._watch.begin(self._longest)  # each size may take as long as a run
        feed = self.layout.pack(self.model.examples())
        for rows in _WARMING:
            few = feed.cut(0, min(rows, feed.rows))
            started = time.perf_counter()
            _run(self.model, self.layout, few)
            self.batcher.cost.learn(few.rows, time.perf_counter() - started)


def _on_loop(model: Model, limits: Limits) -> float:
    if model.device != "cpu":
        return 0.0  # while a GPU computes, the loop reads what comes next
    return ON_LOOP if limits.threads != 1 else ON_LOOP_ALONE


def _run(model: Model, layout: Layout, feed: Feed) -> list[Values]:
    return list(model.run(layout.unpack(feed)).values())
