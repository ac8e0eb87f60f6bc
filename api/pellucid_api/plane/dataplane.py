"""From a request's bytes to its answer."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, Protocol, TypeVar
from weakref import WeakKeyDictionary

from pellucid.errors import Overloaded, PellucidError
from pellucid_api.engine.answers import PredictionIds
from pellucid_api.engine.batcher import Work
from pellucid_api.engine.feeds import Feed
from pellucid_api.engine.served import Served
from pellucid_api.engine.trial import Comparison
from pellucid_api.engine.values import Values
from pellucid_api.plane.exchange import Codec, Encoded, Question, RequestHeaders
from pellucid_api.plane.formats import ARROW, CSV
from pellucid_api.plane.routed import Aside, Routed
from pellucid_api.plane.traces import Trace, Traces

_SMALL = 2**16  # bytes; more is decoded or encoded in a thread, and so are images and texts

_TINY = 2**12  # bytes; more of a table is read in a thread
_TABLES = (CSV.encode(), ARROW.encode())

T = TypeVar("T")
logger = logging.getLogger(__name__)


class Answered(NamedTuple):
    """An answered request, as the prediction log takes it."""

    served: Served
    feed: Feed
    outputs: Sequence[Values]
    first: int  # number of the first row's prediction id; those of the other rows follow
    received_ns: int  # since 1970-01-01 UTC
    seconds: float  # from received to answered
    sensitive: Feed | None = None  # what else came with the rows, to be recorded


class Recorder(Protocol):
    """Takes note of what was answered, at once: it never makes an answer wait."""

    def record(self, answered: Answered) -> None:
        """Take it in, or count it as lost."""
        ...


@dataclass(frozen=True)
class DataPlane:
    """Answers inference requests, whatever front they came through.

    Args:
        executor: reads and writes large bodies.
        ids: of predictions.
        recorder: hears of every answer; None keeps no log.
        traces: of a sample of the requests; None makes none.
    """

    executor: Executor
    ids: PredictionIds
    recorder: Recorder | None = None
    traces: Traces | None = None

    def answer(
        self,
        codec: Codec[Any],
        served: Served,
        headers: RequestHeaders,
        body: bytes,
        reply: Callable[[Any], None],
    ) -> "Pending | Routed":
        """Answer a request; called on the event loop.

        Args:
            codec: of the request's format.
            served: the version that answers; a champion may leave it to its challenger.
            headers: names in lower case.
            body: whole.
            reply: called once, on the event loop and perhaps before this returns, with what the
                codec wrote or with the exception.

        Returns:
            The request under way, to be cancelled if its client goes away.
        """
        if served.trial is not None:
            return Routed(self, codec, served, headers, body, reply)
        return self.start(codec, served, headers, body, reply)

    def start(
        self,
        codec: Codec[Any],
        served: Served,
        headers: RequestHeaders,
        body: bytes,
        reply: Callable[[Any], None],
        then: Callable[[Answered], None] | None = None,
    ) -> "Pending":
        """As `answer`, by this version and no other; `then` is called once the answer is sent."""
        pending = Pending(self, codec, served, reply, then)
        if self.traces is not None:
            pending.trace = self.traces.begin(served, headers)
        if not pending.admitted():
            return pending
        if read_at_once(served, headers, body):
            pending.ask(codec.decode, served, headers, body)
        else:
            served.batcher.coming += 1
            decoding = self.in_thread(codec.decode, served, headers, body)
            decoding.add_done_callback(lambda done: pending.arrived(done.result))
        return pending

    def aside(self, comparison: Comparison) -> Aside:
        """Runs copies of requests by the other version of a comparison."""
        found = self._asides.get(comparison)
        if found is None:
            found = self._asides[comparison] = Aside(self.executor)
        return found

    @cached_property
    def _asides(self) -> WeakKeyDictionary[Comparison, Aside]:
        return WeakKeyDictionary()

    async def ask(
        self, codec: Codec[Encoded], served: Served, headers: RequestHeaders, body: bytes
    ) -> Encoded:
        """What the codec wrote for a request; as `answer`, for a front that can wait.

        Raises:
            PellucidError: as the codec and the queue say.
        """
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def reply(found: Any) -> None:
            if done.done():
                return
            if isinstance(found, Exception):
                done.set_exception(found)
            else:
                done.set_result(found)

        pending = self.answer(codec, served, headers, body, reply)
        try:
            encoded: Encoded = await done
        except asyncio.CancelledError:
            pending.cancel()
            raise
        return encoded

    def in_thread(self, call: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        """Make a call where it holds up nobody."""
        return asyncio.get_running_loop().run_in_executor(self.executor, call, *arguments)


def read_at_once(served: Served, headers: RequestHeaders, body: bytes) -> bool:
    """Whether the request is read on the event loop: that is quick."""
    if len(body) > _SMALL or not served.quick:
        return False
    if len(body) <= _TINY:
        return True
    # A table's header may name thousands of columns.
    return not headers.get(b"content-type", b"").lower().startswith(_TABLES)


class Pending:
    """One request on its way through the data plane."""

    __slots__ = ("_cancelled", "_codec", "_plane", "_question", "_received", "_reply", "_served",
                 "_started", "_then", "_work", "trace")  # fmt: skip
    _question: Question
    _work: Work | None
    trace: Trace | None

    def __init__(
        self,
        plane: DataPlane,
        codec: Codec[Any],
        served: Served,
        reply: Callable[[Any], None],
        then: Callable[[Answered], None] | None = None,
    ) -> None:
        self._plane, self._codec, self._served, self._reply = plane, codec, served, reply
        self._then = then
        self._started = time.perf_counter()
        self._received = time.time_ns()
        self._work = self.trace = None
        self._cancelled = False

    def cancel(self) -> None:
        """Nobody waits for the answer any more: what has not run is dropped."""
        self._cancelled = True
        if self._work is not None:
            self._work.cancelled = True

    def admitted(self) -> bool:
        """Whether the queue has room; if not, that is the answer."""
        try:
            self._served.batcher.admit()
        except Overloaded as error:
            self._fail(error)
            return False
        return True

    def arrived(self, decode: Callable[[], Question]) -> None:
        """As `ask`, of what a thread has decoded."""
        self._served.batcher.coming -= 1
        self.ask(decode)

    def ask(self, decode: Callable[..., Question], *arguments: Any) -> None:
        """Put the decoded rows into the queue."""
        if self._cancelled:
            self._served.statistics.dropped += 1
            self._left()
            return
        try:
            self._question = question = decode(*arguments)
            if self.trace is not None:
                self.trace.decoded = time.perf_counter()
            limit = float("inf") if question.timeout is None else self._started + question.timeout
            self._work = Work(question.feed, self._ran, limit, question.priority, self._started)
            self._served.batcher.submit(self._work)
        except Exception as error:
            self._fail(error)

    def _ran(self, work: Work) -> None:
        self._work = None  # it holds this request: a cycle would leave both to the collector
        if work.cancelled:
            self._left(work)
            return
        if work.error is not None:
            self._fail(work.error, work)
            return
        first = self._plane.ids.reserve(work.feed.rows)
        arguments = self._served, self._question, work.outputs, first
        size = 0
        for output in work.outputs:
            size += output.nbytes
        if size <= _SMALL:
            self._answer(work, first, self._codec.encode, *arguments)
        else:
            encoding = self._plane.in_thread(self._codec.encode, *arguments)
            encoding.add_done_callback(lambda done: self._answer(work, first, done.result))

    def _answer(self, work: Work, first: int, encode: Callable[..., Any], *arguments: Any) -> None:
        try:
            answer = encode(*arguments)
        except Exception as error:
            self._fail(error, work)
            return
        seconds = time.perf_counter() - self._started
        statistics = self._served.statistics
        statistics.answered(work.feed.rows, work.started - work.received, seconds)
        recorder, then = self._plane.recorder, self._then
        answered = None
        if recorder is not None or then is not None:
            answered = Answered(
                self._served,
                work.feed,
                work.outputs,
                first,
                self._received,
                seconds,
                self._question.sensitive,
            )
        if recorder is not None and answered is not None:
            recorder.record(answered)
        self._reply(answer if self.trace is None else self.trace.end(work, answer))
        if then is not None and answered is not None:
            then(answered)

    def _left(self, work: Work | None = None) -> None:
        """The client went away."""
        if self.trace is not None:
            self.trace.end(work, error=ConnectionAbortedError())

    def _fail(self, error: Exception, work: Work | None = None) -> None:
        if not isinstance(error, PellucidError):
            logger.error("a request to %s failed", self._served.name, exc_info=error)
            self._served.statistics.failed += 1
        elif self._work is None and work is None and not isinstance(error, Overloaded):
            self._served.statistics.invalid += 1
        if self.trace is not None:
            self.trace.end(work or self._work, error=error)
        if not self._cancelled:
            self._reply(error)
