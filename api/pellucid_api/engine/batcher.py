"""Batching by rows: what waits for one model is run together.

All but the run itself happens on the event loop, so nothing is locked. While nothing runs, a
request is run in the same turn of the loop in which it came, with whatever else came in that turn:
an idle service adds no wait. While a run is under way, requests gather for the next one. A run that
is expected to be short is made on the loop itself, since handing it to a thread and back would take
longer; any other is made in a thread.
"""

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pellucid.errors import DeadlineExceeded, InvalidRows, Overloaded, PellucidError
from pellucid_api.engine.cost import Cost
from pellucid_api.engine.feeds import Feed, join
from pellucid_api.engine.values import Values

if TYPE_CHECKING:
    from pellucid_api.engine.statistics import Statistics

_ON_LOOP = 1e-3  # seconds; a longer run is made in a thread

Run = Callable[[Feed], list[Values]]
Outcome = list[Values] | PellucidError  # one array (rows, ...) per output


@dataclass(eq=False, slots=True)
class Work:
    """The rows of one request, until they are answered.

    `done` is called on the event loop, once. Times are of `time.perf_counter`.
    """

    feed: Feed
    done: Callable[["Work"], None]
    deadline: float = float("inf")
    priority: int = 0  # lower runs first
    received: float = field(default_factory=time.perf_counter)
    started: float = 0.0
    finished: float = 0.0
    cancelled: bool = False  # nobody waits any more: rows that have not run never will
    outputs: list[Values] = field(default_factory=list)
    error: PellucidError | None = None
    parts: list[list[Values]] = field(default_factory=list)
    taken: int = 0  # rows that have been put into a batch


Slice = tuple[Work, Feed]


class Batcher:
    """The queue before one model, and its runs.

    Args:
        run: a feed to the outputs; called on the loop or in a thread.
        executor: makes the long runs, one at a time for each model.
        statistics: of the model, kept up to date.
        max_rows: of one run. A request of more is run in pieces, in turn with the others.
        max_wait: seconds; a request is refused if those before it will take longer.
    """

    def __init__(
        self,
        run: Run,
        executor: Executor,
        statistics: "Statistics",
        *,
        max_rows: int,
        max_wait: float,
    ) -> None:
        self._run = run
        self._executor = executor
        self._statistics = statistics
        self._max_rows = max_rows
        self._max_wait = max_wait
        self.cost = Cost()
        self.waiting = 0  # rows
        self._queue: list[tuple[int, int, Work]] = []
        self._count = itertools.count()
        self._busy = False  # a run is under way, or the next turn of the loop will make one

    def submit(self, work: Work) -> None:
        """Run it in its turn.

        Raises:
            Overloaded: the rows that wait already would make it wait too long.
        """
        if self.waiting and self.cost.of_queue(self.waiting) > self._max_wait:
            self._statistics.refused += 1
            raise Overloaded(
                f"{self.waiting:,} rows are waiting, more than can be answered within "
                f"{self._max_wait:g} s.",
                remedy="Send again later, or raise PELLUCID_MAX_QUEUE_SECONDS.",
            )
        self.waiting += work.feed.rows
        heapq.heappush(self._queue, (work.priority, next(self._count), work))
        if not self._busy:
            self._busy = True
            asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        batch = self._take()
        if not batch:
            self._busy = False
            return
        loop = asyncio.get_running_loop()
        rows = sum(feed.rows for _, feed in batch)
        if self.cost.of_run(rows) <= _ON_LOOP:
            self._finish(batch, self._execute(batch))
            loop.call_soon(self._next)
            return
        running = loop.run_in_executor(self._executor, self._execute, batch)
        running.add_done_callback(lambda done: self._ran(batch, done.result()))

    def _ran(self, batch: Sequence[Slice], outcomes: Sequence[Outcome]) -> None:
        self._finish(batch, outcomes)
        self._next()

    def _take(self) -> list[Slice]:
        """The next batch: feeds of one key, together no more than `max_rows` rows."""
        batch: list[Slice] = []
        room = self._max_rows
        now = time.perf_counter()
        while self._queue and room:
            priority, _, work = self._queue[0]
            if work.error or not self._wanted(work, now):
                heapq.heappop(self._queue)
                continue
            if batch and work.feed.key != batch[0][1].key:
                break
            heapq.heappop(self._queue)
            rows = min(room, work.feed.rows - work.taken)
            whole = rows == work.feed.rows
            feed = work.feed if whole else work.feed.cut(work.taken, work.taken + rows)
            work.started = work.started or now
            work.taken += rows
            room -= rows
            self.waiting -= rows
            batch.append((work, feed))
            if work.taken < work.feed.rows:  # the rest goes behind what waits now
                heapq.heappush(self._queue, (priority, next(self._count), work))
                break
        return batch

    def _wanted(self, work: Work, now: float) -> bool:
        if not work.cancelled and now <= work.deadline:
            return True
        self.waiting -= work.feed.rows - work.taken
        late = now - work.deadline
        if not work.cancelled:
            work.error = DeadlineExceeded(
                f"The request's time was over {1000 * late:.0f} ms before its turn came.",
                remedy="Allow it more time, or send less at once.",
            )
        self._statistics.dropped += 1
        self._close(work)
        return False

    def _execute(self, batch: Sequence[Slice]) -> list[Outcome]:
        """Run a batch; if that fails, its halves, so that a bad request fails alone."""
        started = time.perf_counter()
        try:
            outputs = self._run(join([feed for _, feed in batch]))
        except Exception as error:  # whatever ONNX Runtime raises: its errors share no base class
            if len(batch) == 1:
                return [_raised(error)]
            middle = len(batch) // 2
            return [*self._execute(batch[:middle]), *self._execute(batch[middle:])]
        rows = sum(feed.rows for _, feed in batch)
        seconds = time.perf_counter() - started
        self.cost.learn(rows, seconds)
        self._statistics.ran(rows, seconds)
        if len(batch) == 1:
            return [outputs]
        found: list[Outcome] = []
        end = 0
        for _, feed in batch:
            start, end = end, end + feed.rows
            found.append([output[start:end] for output in outputs])
        return found

    def _finish(self, batch: Sequence[Slice], outcomes: Sequence[Outcome]) -> None:
        for (work, _), outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, PellucidError):
                self.waiting -= work.feed.rows - work.taken
                work.error = outcome
                self._statistics.failed += 1
                self._close(work)
                continue
            work.parts.append(outcome)
            if work.taken == work.feed.rows:
                self._close(work)

    def _close(self, work: Work) -> None:
        work.finished = time.perf_counter()
        if work.error is None and not work.cancelled:
            one = len(work.parts) == 1
            joined = zip(*work.parts, strict=True)
            work.outputs = work.parts[0] if one else [np.concatenate(each) for each in joined]
        work.done(work)


def _raised(error: Exception) -> InvalidRows:
    return InvalidRows(
        f"The model cannot run these rows: {error}",
        remedy="Send other values, or ask for another version.",
    )
