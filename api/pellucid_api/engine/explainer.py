"""A version's explanations: batched like predictions, by a thread of their own that yields to them.

Rows that were explained before are not explained again. Rows whose values do not add up to the
prediction within the tolerance are run again with more steps, where the method has any.
"""

import asyncio
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from pellucid.bundle import AMORTIZED, EXPLAINER, Explanation
from pellucid.errors import Conflict, ModelNotReady
from pellucid_api.engine.aside import Aside
from pellucid_api.engine.attribution import Attributed
from pellucid_api.engine.batcher import Batcher
from pellucid_api.engine.feeds import Feed
from pellucid_api.engine.guard import Guard
from pellucid_api.engine.memo import Memo, digests, merged
from pellucid_api.engine.model import Model
from pellucid_api.engine.opened import Opened, Opening
from pellucid_api.engine.statistics import Explanations
from pellucid_api.engine.values import Values

DEFAULT, LEARNT = "", "amortized"  # methods: the bundle's own, and the network that learnt it
_NEVER = float("inf")


@dataclass(slots=True)
class Turn:
    """One request's, in the queue. Times are of `time.perf_counter`."""

    received: float = field(default_factory=time.perf_counter)
    deadline: float = _NEVER
    queued: float | None = None  # seconds until its first run; None: it had none


class Explainer:
    """Explains rows of one version by one of its graphs, which is opened when it is asked for.

    All but opening and running happens on the event loop.

    Args:
        model: the version's.
        graph: file of the bundle.
        aside: the version's thread for what may wait.
        guard: stops runs that take too long.
        statistics: kept up to date.
        queue_seconds: a request that would wait longer is refused.
        run_seconds: a run that takes longer is stopped.
        cache_bytes: of rows that were explained before.
    """

    def __init__(
        self,
        model: Model,
        graph: str,
        aside: Aside,
        guard: Guard,
        statistics: Explanations,
        *,
        queue_seconds: float,
        run_seconds: float,
        cache_bytes: int,
    ) -> None:
        told = model.manifest.explanation
        assert told is not None, "without it, nothing says what the graph gives"
        self.told: Explanation = told
        self.method = LEARNT if graph == AMORTIZED else told.method
        self.memo = Memo(cache_bytes)
        self.statistics = statistics
        self._lane = aside.lane
        path = model.bundle.root / graph
        self._how = Opening(
            model, path, told, self._lane, guard, statistics, queue_seconds, run_seconds
        )
        self._lock = threading.Lock()  # of the next
        self._opening: Future[Opened] | None = None
        self._scale = np.maximum(np.asarray(told.scale or (1.0,)), np.finfo(np.float32).tiny)

    def open(self) -> "Future[Opened]":
        """Open the graph in the version's thread, unless it is; any thread may call this.

        What could not be opened is tried again at the next call.
        """
        with self._lock:
            found = self._opening
            if found is None or (found.done() and found.exception() is not None):
                found = self._opening = self._lane.submit(self._how.open)
            return found

    async def opened(self) -> None:
        """Wait until it is open. Raises `ModelNotReady` if it cannot be."""
        opening = self.open()
        if not opening.done():
            waiting = asyncio.wrap_future(opening)
            waiting.add_done_callback(lambda done: done.exception())  # which is told below
            await asyncio.wait([waiting])
        if error := opening.exception():
            raise ModelNotReady(str(error)) from error

    @property
    def rows(self) -> int:
        """How many rows are run at once; it must be open."""
        return self._graph.rows

    @property
    def chooses(self) -> bool:
        """Whether it explains one output of each row, and not all of them; it must be open."""
        return self._graph.attributor.chooses

    def admit(self) -> None:
        """Let a request in before it is decoded, or refuse it: raises `Overloaded`."""
        self._graph.batchers[0].admit()

    @property
    def waiting(self) -> int:
        """Rows in its queues."""
        opening = self._opening
        if opening is None or not opening.done() or opening.exception() is not None:
            return 0
        return sum(each.waiting for each in opening.result().batchers)

    def scale(self, outputs: Sequence[int] | Values) -> Values:
        """What gaps of these outputs are relative to."""
        found: Values = self._scale[np.minimum(outputs, len(self._scale) - 1)]
        return found

    async def explain(
        self, feed: Feed, chosen: Values | None = None, turn: Turn | None = None
    ) -> Attributed:
        """Explain rows.

        Args:
            feed: as the version's layout packs it.
            chosen: (rows,) int64: the output to explain, -1 the predicted one. Tables take none:
                all of their outputs are explained.
            turn: of the request; None: it came just now, and may take any time.

        Raises:
            PellucidError: as the queue says.
        """
        turn = turn or Turn()
        graph = self._graph
        if graph.attributor.chooses:
            if chosen is None:
                chosen = np.full(feed.rows, -1)
            feed = Feed(feed.rows, feed.numbers, feed.strings, (*feed.tensors, chosen))
        keys = digests(feed)
        known = [self.memo.get(key) for key in keys]
        new = [row for row, found in enumerate(known) if found is None]
        self.statistics.hits += len(known) - len(new)
        self.statistics.misses += len(new)
        outputs: Sequence[Values] = ()
        if new:
            asked = feed if len(new) == feed.rows else feed.take(new)
            outputs = await self._exact(graph, asked, turn)
            for i, row in enumerate(new):
                self.memo.put(keys[row], outputs, i)
        if len(new) < feed.rows:
            outputs = merged(known, new, outputs)
        return graph.attributor.read(outputs)

    async def _exact(self, graph: Opened, feed: Feed, turn: Turn) -> Sequence[Values]:
        """Every output; with more and more steps for rows that need them."""
        outputs = list(await self._ran(graph.batchers[0], feed, turn))
        inexact = self._inexact(graph, outputs)
        for batcher in graph.batchers[1:]:
            if not len(inexact):
                break
            self.statistics.refined += len(inexact)
            finer = await self._ran(batcher, feed.take(inexact), turn)
            for output, better in zip(outputs, finer, strict=True):
                output[inexact] = better
            inexact = inexact[self._inexact(graph, finer)]
        self.statistics.inexact += len(inexact)
        return outputs

    def _inexact(self, graph: Opened, outputs: Sequence[Values]) -> Values:
        """The numbers of the rows whose gap is above the tolerance."""
        gap = graph.attributor.read(outputs).gap
        scale = self._scale if gap.shape[1] == len(self._scale) else self._scale.max()
        within = gap <= self.told.tolerance * scale  # false of NaN
        return np.flatnonzero(~within.all(axis=1))

    async def _ran(self, batcher: Batcher, feed: Feed, turn: Turn) -> list[Values]:
        work = await batcher.finished(feed, turn.deadline)
        if turn.queued is None:
            turn.queued = work.started - turn.received
        return list(work.outputs)

    @property
    def _graph(self) -> Opened:
        assert self._opening is not None, "await opened() first"
        return self._opening.result(timeout=0)


def explainer_of(
    explainers: Mapping[str, Explainer], method: str, model: str, version: int
) -> Explainer:
    """The explainer of a method.

    Raises:
        Conflict: the version has none.
    """
    default = explainers.get(DEFAULT)
    where = {"model": model, "version": version}
    if default is None:
        raise Conflict(
            f"Version {version} of {model!r} cannot explain its predictions: its bundle has no "
            f"{EXPLAINER}.",
            where=where,
            remedy=f"Train it again, or explain a data set as a job: POST /v1/models/{model}"
            "/explanations.",
        )
    if method in (DEFAULT, default.method):
        return default
    if found := explainers.get(method):
        return found
    offered = ", ".join(each.method for each in explainers.values())
    raise Conflict(
        f"Version {version} of {model!r} has no explanations by the method {method!r}.",
        where=where,
        remedy=f"It has these: {offered}."
        + (" Train with explanation.amortized for that one." if method == LEARNT else ""),
    )
