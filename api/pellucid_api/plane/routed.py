"""Requests to a champion that others compete with: who answers, and who sees a copy."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pellucid.errors import DeadlineExceeded
from pellucid_api.engine.batcher import Work
from pellucid_api.engine.served import Served
from pellucid_api.engine.trial import Comparison
from pellucid_api.engine.values import Values
from pellucid_api.plane.exchange import Codec, Question, RequestHeaders

if TYPE_CHECKING:
    from pellucid_api.plane.dataplane import Answered, DataPlane, Pending

ROUTING_KEY = b"x-routing-key"
_LAST = 2**31 - 1  # the priority of copies: every real request is before them
_SMALL = 2**14  # bytes; larger bodies are decoded in a thread
_MOST, _MOST_BYTES = 256, 16 * 2**20  # copies that wait
_AT_ONCE = 8  # copies decoded in one turn of the loop
_PAUSE = 2e-3  # seconds between two looks for an idle moment
_PATIENCE = 1.0  # seconds; then a copy is given up


def answering(champion: Served, headers: RequestHeaders) -> Served:
    """The version that answers a request to a champion: itself, or its challenger."""
    trial = champion.trial
    if trial is None or not trial.challenger:
        return champion
    found = trial.picked(headers.get(ROUTING_KEY, b""))
    return champion if found is None else found.contender


class Routed:
    """One request on its way; another version may answer it if the first that was asked fails."""

    __slots__ = (
        "_body",
        "_champion",
        "_codec",
        "_comparison",
        "_done",
        "_given_up",
        "_headers",
        "_pending",
        "_plane",
        "_reply",
    )

    def __init__(
        self,
        plane: "DataPlane",
        codec: Codec[Any],
        champion: Served,
        headers: RequestHeaders,
        body: bytes,
        reply: Callable[[Any], None],
    ) -> None:
        self._plane, self._codec, self._champion = plane, codec, champion
        self._headers, self._body, self._reply = headers, body, reply
        self._pending: list[Pending] = []
        self._done = False  # the answer is given
        self._comparison: Comparison | None = None  # with the challenger that answers
        self._given_up: Comparison | None = None  # with the challenger that failed to
        trial = champion.trial
        if trial and trial.challenger:
            self._comparison = trial.picked(headers.get(ROUTING_KEY, b""))
        self._ask(self._comparison.contender if self._comparison else champion)

    def cancel(self) -> None:
        """Nobody waits for the answer any more."""
        for pending in self._pending:
            pending.cancel()

    def _ask(self, served: Served) -> None:
        pending = self._plane.start(
            self._codec, served, self._headers, self._body, self._replied, self._answered
        )
        if not self._done:  # it may be by now
            self._pending.append(pending)

    def _replied(self, found: Any) -> None:
        """Hand the answer on; what the challenger cannot answer, the champion may."""
        failed = isinstance(found, Exception)
        if self._comparison and failed and not isinstance(found, DeadlineExceeded):
            self._given_up, self._comparison = self._comparison, None
            self._ask(self._champion)
            return
        if self._given_up and not failed:
            self._given_up.fallbacks += 1
        self._done = True
        self._pending.clear()  # else each would keep the other, and the body, in memory
        self._reply(found)

    def _answered(self, answered: "Answered") -> None:
        """After the answer: let the one that did not give it see the same rows."""
        trial = self._champion.trial
        comparison = self._comparison or (trial.watched() if trial else None)
        if comparison is not None:
            copy = Copy(comparison, self._codec, self._headers, self._body, answered.outputs)
            copy.to_champion = self._comparison is not None
            self._plane.aside(comparison).add(copy)


@dataclass(slots=True)
class Copy:
    """An answered request, to be run by the other version of a comparison too."""

    comparison: Comparison
    codec: Codec[Any]
    headers: RequestHeaders
    body: bytes
    outputs: Sequence[Values]  # of the version that answered
    to_champion: bool = False  # the challenger answered
    until: float = 0.0  # `time.perf_counter`; then it is given up

    @property
    def served(self) -> Served:
        """The version that runs it."""
        return self.comparison.champion if self.to_champion else self.comparison.contender


class Aside:
    """Copies of one comparison's requests, run while no real request waits for either version.

    They are the first to be given up.

    All but the decoding of large bodies and the long runs happens on the event loop, so nothing is
    locked.

    Args:
        executor: decodes large bodies.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._waiting: deque[Copy] = deque()
        self._bytes = 0
        self._scheduled = False

    def add(self, copy: Copy) -> None:
        """Run it when there is time, or count it as dropped."""
        if len(self._waiting) >= _MOST or self._bytes + len(copy.body) > _MOST_BYTES:
            copy.comparison.dropped += 1
            return
        copy.until = time.perf_counter() + _PATIENCE
        self._waiting.append(copy)
        self._bytes += len(copy.body)
        if not self._scheduled:
            self._later()

    def _later(self) -> None:
        self._scheduled = True
        asyncio.get_running_loop().call_later(_PAUSE, self._turn)

    def _turn(self) -> None:
        """Take the copies that are too old out, and start some others if the moment is idle."""
        now = time.perf_counter()
        while self._waiting and self._waiting[0].until < now:
            self._pop().comparison.dropped += 1
        if self._waiting and not _busy(self._waiting[0].comparison):
            for _ in range(min(_AT_ONCE, len(self._waiting))):
                self._start(self._pop())
        self._scheduled = False
        if self._waiting:
            self._later()

    def _pop(self) -> Copy:
        copy = self._waiting.popleft()
        self._bytes -= len(copy.body)
        return copy

    def _start(self, copy: Copy) -> None:
        started = time.perf_counter()
        arguments = copy.served, copy.headers, copy.body
        if len(copy.body) <= _SMALL and copy.served.quick:
            self._run(copy, started, lambda: copy.codec.decode(*arguments))
            return
        loop = asyncio.get_running_loop()
        decoding = loop.run_in_executor(self._executor, copy.codec.decode, *arguments)
        decoding.add_done_callback(lambda done: self._run(copy, started, done.result))

    def _run(self, copy: Copy, started: float, decode: Callable[[], Question]) -> None:
        """Other versions may take other columns: each decodes the body for itself."""

        def done(work: Work) -> None:
            if work.error is not None:
                copy.comparison.failed += 1
                return
            copy.comparison.copied += 1
            copy.comparison.latency.observe(work.finished - started)
            pair = copy.outputs, work.outputs
            copy.comparison.compare(*(reversed(pair) if copy.to_champion else pair))

        try:
            copy.served.batcher.admit()
            feed = decode().feed
            copy.served.batcher.submit(Work(feed, done, priority=_LAST, received=started))
        except Exception:  # a version that does not take these rows, or is busy: that is counted
            copy.comparison.failed += 1


def _busy(comparison: Comparison) -> bool:
    """Whether requests wait for either version."""
    champion, contender = comparison.champion.batcher, comparison.contender.batcher
    return bool(champion.waiting or contender.waiting)
