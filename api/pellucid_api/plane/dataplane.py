"""From a request's bytes to its answer."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Protocol

from pellucid.errors import PellucidError
from pellucid_api.engine.answers import PredictionIds
from pellucid_api.engine.batcher import Work
from pellucid_api.engine.feeds import Feed
from pellucid_api.engine.served import Served
from pellucid_api.engine.values import Values
from pellucid_api.plane.exchange import Codec, Question, RawHeaders

_SMALL = 2**16  # bytes; more than that is decoded or encoded in a thread

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answered:
    """An answered request, as the prediction log takes it."""

    served: Served
    feed: Feed
    outputs: Sequence[Values]
    first: int  # number of the first row's prediction id; those of the other rows follow
    received_ns: int  # since 1970-01-01 UTC
    seconds: float  # from received to answered


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
    """

    executor: Executor
    ids: PredictionIds
    recorder: Recorder | None = None

    def answer(
        self,
        codec: Codec[Any],
        served: Served,
        headers: RawHeaders,
        body: bytes,
        reply: Callable[[Any], None],
    ) -> "Pending":
        """Answer a request; called on the event loop.

        Args:
            codec: of the request's format.
            served: the version that answers.
            headers: names in lower case.
            body: whole.
            reply: called once, on the event loop and perhaps before this returns, with what the
                codec wrote or with the exception.

        Returns:
            The request under way, to be cancelled if its client goes away.
        """
        pending = Pending(self, codec, served, reply)
        if len(body) <= _SMALL:
            pending.ask(lambda: codec.decode(served, headers, body))
        else:
            decoding = self._in_thread(codec.decode, served, headers, body)
            decoding.add_done_callback(lambda done: pending.ask(done.result))
        return pending

    def _in_thread(self, call: Callable[..., Any], *arguments: Any) -> asyncio.Future[Any]:
        return asyncio.get_running_loop().run_in_executor(self.executor, call, *arguments)

    def encode(
        self, size: int, write: Callable[[], Any], then: Callable[[Callable[[], Any]], None]
    ) -> None:
        """Call `then` with what calls `write`, or with its result if that takes a thread."""
        if size <= _SMALL:
            then(write)
        else:
            self._in_thread(write).add_done_callback(lambda done: then(done.result))


class Pending:
    """One request on its way through the data plane."""

    __slots__ = ("_cancelled", "_codec", "_plane", "_question", "_received", "_reply", "_served",
                 "_started", "_work")  # fmt: skip
    _question: Question
    _work: Work | None

    def __init__(
        self,
        plane: DataPlane,
        codec: Codec[Any],
        served: Served,
        reply: Callable[[Any], None],
    ) -> None:
        self._plane, self._codec, self._served, self._reply = plane, codec, served, reply
        self._started = time.perf_counter()
        self._received = time.time_ns()
        self._work = None
        self._cancelled = False

    def cancel(self) -> None:
        """Nobody waits for the answer any more: what has not run is dropped."""
        self._cancelled = True
        if self._work is not None:
            self._work.cancelled = True

    def ask(self, decode: Callable[[], Question]) -> None:
        """Put the decoded rows into the queue."""
        if self._cancelled:
            return
        try:
            self._question = question = decode()
            limit = float("inf") if question.timeout is None else self._started + question.timeout
            self._work = Work(question.feed, self._ran, limit, question.priority, self._started)
            self._served.batcher.submit(self._work)
        except Exception as error:
            self._fail(error)

    def _ran(self, work: Work) -> None:
        if work.cancelled:
            return
        if work.error is not None:
            self._fail(work.error)
            return
        first = self._plane.ids.reserve(work.feed.rows)
        codec, served, question = self._codec, self._served, self._question
        self._plane.encode(
            sum(output.nbytes for output in work.outputs),
            lambda: codec.encode(served, question, work.outputs, first),
            lambda encoded: self._answer(work, first, encoded),
        )

    def _answer(self, work: Work, first: int, encoded: Callable[[], Any]) -> None:
        try:
            answer = encoded()
        except Exception as error:
            self._fail(error)
            return
        seconds = time.perf_counter() - self._started
        statistics = self._served.statistics
        statistics.answered(work.feed.rows, work.started - work.received, seconds)
        if self._plane.recorder is not None:
            self._plane.recorder.record(
                Answered(self._served, work.feed, work.outputs, first, self._received, seconds)
            )
        self._reply(answer)

    def _fail(self, error: Exception) -> None:
        if not isinstance(error, PellucidError):
            logger.error("a request to %s failed", self._served.name, exc_info=error)
        if not self._cancelled:
            self._reply(error)
