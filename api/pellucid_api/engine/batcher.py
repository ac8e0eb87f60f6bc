"""Batching by rows: what waits for one model is run together.

All but the run itself happens on the event loop, so nothing is locked. While nothing runs, a
request is run in the same turn of the loop in which it came, with whatever else came in that turn:
an idle service adds no wait. While a run is under way, requests gather for the next one. A run that
is expected to be short is made on the loop itself, since handing it to a thread and back would take
longer; any other is made in a thread.

What would wait too long is refused, before it is decoded: see `admission`.
"""

import asyncio
import heapq
import itertools
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pellucid.errors import DeadlineExceeded, InvalidRows, Overloaded, PellucidError
from pellucid_api.engine.admission import Admission
from pellucid_api.engine.cost import Cost
from pellucid_api.engine.feeds import Feed, join
from pellucid_api.engine.guard import Watch
from pellucid_api.engine.values import Values

if TYPE_CHECKING:
    from pellucid_api.engine.statistics import Counts

ON_LOOP = 1e-3  # seconds; a longer run is made in a thread
ON_LOOP_ALONE = 5e-3  # where the process has one core, which the thread would take from the loop
_LONGEST_ON_LOOP = 0.1  # seconds; then it is stopped there, and made in a thread after all
_NEVER = float("inf")
_HANGS = 5  # times its estimate, and `max_wait`: then a run hangs
_LATE = 0.05  # seconds; a loop that is later cannot tell what hangs

logger = logging.getLogger(__name__)

Run = Callable[[Feed], list[Values]]
Outcome = list[Values] | PellucidError  # one array (rows, ...) per output


@dataclass(eq=False, slots=True)
class Work:
    """The rows of one request, until they are answered.

    `done` is called on the event loop, once. Times are of `time.perf_counter`.
    """

    feed: Feed
    done: Callable[["Work"], None]
    deadline: float = _NEVER
    priority: int = 0  # lower runs first
    received: float = field(default_factory=time.perf_counter)
    started: float = 0.0
    finished: float = 0.0
    cancelled: bool = False  # nobody waits any more: rows that have not run never will
    outputs: Sequence[Values] = ()
    error: PellucidError | None = None
    parts: tuple[Sequence[Values], ...] = ()  # of a request that is run in pieces
    taken: int = 0  # rows that have been put into a batch
    timer: asyncio.TimerHandle | None = None  # answers at the deadline, whatever hangs


Slice = tuple[Work, Feed]


class Batcher:
    """The queue before one model, and its runs.

    Args:
        run: a feed to the outputs; called on the loop or in a thread.
        executor: makes the long runs, one at a time for each model.
        statistics: of the model, kept up to date.
        max_rows: of one run. A request of more is run in pieces, in turn with the others.
        max_wait: seconds; never may more be waiting than this takes.
        max_run: seconds; a run that takes longer is stopped.
        watch: stops runs; None lets them take as long as they may.
        on_loop: seconds; runs that are expected to take longer are made in a thread.
    """

    def __init__(
        self,
        run: Run,
        executor: Executor,
        statistics: "Counts",
        *,
        max_rows: int,
        max_wait: float,
        max_run: float = _NEVER,
        watch: Watch | None = None,
        on_loop: float = ON_LOOP,
    ) -> None:
        self._run = run
        self._executor = executor
        self._statistics = statistics
        self._max_rows = max_rows
        self._max_wait = max_wait
        self._max_run = max_run
        self._watch = watch
        self._on_loop = on_loop
        self.cost = Cost()  # of runs
        self.waiting = 0  # rows
        self.coming = 0  # requests that were let in, and are being decoded
        self._queue: list[tuple[int, int, Work]] = []
        self._count = itertools.count()
        self._busy = False  # a run is under way, or the next turn of the loop will make one
        self._hangs = False  # the run in the thread
        self._hang_timer: asyncio.TimerHandle | None = None
        self._ahead = 0  # rows that wait, and run before what comes now
        self._admission = Admission(self.cost, max_wait)

    def admit(self) -> None:
        """Let a request in, before it is decoded, or refuse it.

        Raises:
            Overloaded: what waits already would make it wait too long.
        """
        if self._hangs:
            self._statistics.refused += 1
            raise Overloaded(
                "The model's run under way takes far longer than its runs do.",
                remedy="Send again later, or lower PELLUCID_MAX_RUN_SECONDS.",
            )
        if self._admission.admits(len(self._queue), self._ahead, self.coming):
            return
        self._statistics.refused += 1
        raise Overloaded(
            "More is waiting than can be answered in time.",
            remedy="Send again later, or fewer requests at once.",
        )

    def submit(self, work: Work) -> None:
        """Run it in its turn, whatever waits; see `admit`."""
        self._enter(work)
        self.waiting += work.feed.rows
        if work.deadline < _NEVER:
            left = work.deadline - time.perf_counter()
            work.timer = asyncio.get_running_loop().call_later(left, self._expire, work)
        if not self._busy:
            self._busy = True
            self._admission.woke()
            asyncio.get_running_loop().call_soon(self._next)

    async def finished(self, feed: Feed, deadline: float = _NEVER) -> Work:
        """Submit rows and wait for them; nobody who stops waiting is waited for.

        Raises:
            PellucidError: they were not run, or their run failed.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        work = Work(feed, lambda _: None if done.done() else done.set_result(None), deadline)
        self.submit(work)
        try:
            await done
        finally:
            work.cancelled = True  # if it has not run
        if work.error is not None:
            raise work.error
        return work

    def _next(self) -> None:
        batch = self._take()
        rows = sum(feed.rows for _, feed in batch)
        self._admission.began(len(batch), rows)
        if not batch:
            self._busy = False
            return
        loop = asyncio.get_running_loop()
        seconds = self.cost.of_run(rows)
        if seconds <= self._on_loop:
            try:
                outcomes = self._execute(batch, _LONGEST_ON_LOOP)
            except _TookLong:
                pass  # which the cost has learnt; the same run is made in the thread
            else:
                self._finish(batch, outcomes)
                loop.call_soon(self._next)
                return
        if seconds < _NEVER:
            self._look_later(max(_HANGS * seconds, self._max_wait))
        running = loop.run_in_executor(self._executor, self._execute, batch, self._max_run)
        running.add_done_callback(lambda done: self._ran(batch, done.result()))

    def _look_later(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._hang_timer = loop.call_later(seconds, self._look, loop.time() + seconds)

    def _look(self, due: float) -> None:
        """The run has not ended: it hangs, unless the loop could not have heard of its end."""
        if asyncio.get_running_loop().time() - due > _LATE:
            self._look_later(_LATE)
        else:
            self._hangs = True

    def _ran(self, batch: Sequence[Slice], outcomes: Sequence[Outcome]) -> None:
        self._hangs = False
        if self._hang_timer is not None:
            self._hang_timer.cancel()
        self._finish(batch, outcomes)
        self._next()

    def _enter(self, work: Work) -> None:
        heapq.heappush(self._queue, (work.priority, next(self._count), work))
        self._ahead += self._turn(work)

    def _turn(self, work: Work) -> int:
        """Rows that it runs before its rest goes behind the others."""
        left, most = work.feed.rows - work.taken, self._max_rows
        return left if left < most else most  # three times as fast as `min`

    def _leave(self, work: Work) -> None:
        """The rest of it will not run."""
        self.waiting -= work.feed.rows - work.taken
        self._ahead -= self._turn(work)

    def _take(self) -> list[Slice]:
        """The next batch: feeds of one key, together no more than `max_rows` rows."""
        batch: list[Slice] = []
        room = self._max_rows
        now = time.perf_counter()
        key = None
        while self._queue and room:
            work = self._queue[0][2]
            if work.error or not self._wanted(work, now):
                heapq.heappop(self._queue)
                continue
            feed, given = work.feed, work.feed.key
            if batch and given != key:
                break
            key = given
            heapq.heappop(self._queue)
            left = feed.rows - work.taken
            rows = left if left < room else room
            if rows < feed.rows:
                feed = feed.cut(work.taken, work.taken + rows)
            work.started = work.started or now
            self._ahead -= self._turn(work)
            work.taken += rows
            room -= rows
            self.waiting -= rows
            batch.append((work, feed))
            if work.taken < work.feed.rows:  # the rest goes behind what waits now
                self._enter(work)
                break
        return batch

    def _wanted(self, work: Work, now: float) -> bool:
        if work.cancelled:
            self._leave(work)
            self._statistics.dropped += 1
            self._close(work)
        elif now > work.deadline:
            self._expire(work)
        else:
            return True
        return False

    def _expire(self, work: Work) -> None:
        """Answer a request whose time is over; its rows that have not run never will."""
        self._leave(work)
        self._statistics.expired += 1
        late = max(0.0, time.perf_counter() - work.deadline)
        where = "its run ended" if work.taken else "its turn came"
        work.error = DeadlineExceeded(
            f"The request's time was over {1000 * late:.0f} ms before {where}.",
            remedy="Allow it more time, or send less at once.",
        )
        self._close(work)

    def _execute(self, batch: Sequence[Slice], limit: float) -> list[Outcome]:
        """Run a batch; if that fails, its halves, so that a bad request fails alone.

        Raises:
            _TookLong: it was stopped, and the limit is that of the loop.
        """
        rows = sum(feed.rows for _, feed in batch)
        started = time.perf_counter()
        try:
            outputs = self._timed(join([feed for _, feed in batch]), limit)
        except _TookLong:
            seconds = time.perf_counter() - started
            self._admission.ran(seconds)
            self.cost.learn(rows, seconds)
            if limit < self._max_run:
                raise
            return [_stopped(limit)] * len(batch)
        except Exception as error:  # whatever ONNX Runtime raises: its errors share no base class
            if len(batch) == 1:
                return [_raised(error)]
            middle = len(batch) // 2
            return [*self._execute(batch[:middle], limit), *self._execute(batch[middle:], limit)]
        seconds = time.perf_counter() - started
        self._admission.ran(seconds)
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

    def _timed(self, feed: Feed, limit: float) -> list[Values]:
        watch = self._watch
        if watch is None:
            return self._run(feed)
        watch.begin(limit)
        try:
            return self._run(feed)
        except Exception as error:
            if watch.stopped:
                raise _TookLong from error
            raise
        finally:
            watch.end()

    def _finish(self, batch: Sequence[Slice], outcomes: Sequence[Outcome]) -> None:
        for (work, _), outcome in zip(batch, outcomes, strict=True):
            if work.finished:  # at its deadline, while this ran
                continue
            if isinstance(outcome, PellucidError):
                self._leave(work)
                work.error = outcome
                self._statistics.failed += 1
                self._close(work)
                continue
            if work.parts or work.taken < work.feed.rows:
                work.parts += (outcome,)
            else:
                work.outputs = outcome
            if work.taken == work.feed.rows:
                self._close(work)

    def _close(self, work: Work) -> None:
        work.finished = time.perf_counter()
        if work.timer is not None:
            work.timer.cancel()
        if work.parts and work.error is None and not work.cancelled:
            work.outputs = [np.concatenate(each) for each in zip(*work.parts, strict=True)]
        try:
            work.done(work)
        except Exception:  # it must not hold up the others of its batch, nor the next one
            logger.exception("an answer could not be handed on")


class _TookLong(Exception):
    """A run was stopped."""


def _stopped(limit: float) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"The model ran for {limit:g} s and was stopped.",
        remedy="Send less at once, or raise PELLUCID_MAX_RUN_SECONDS.",
    )


def _raised(error: Exception) -> InvalidRows:
    return InvalidRows(
        f"The model cannot run these rows: {error}",
        remedy="Send other values, or ask for another version.",
    )
