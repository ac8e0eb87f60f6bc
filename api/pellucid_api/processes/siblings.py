"""What serving processes know of each other, and do together."""

import os
import threading
from collections.abc import Callable
from typing import get_args

import msgspec

from pellucid.errors import ModelNotReady, Unavailable
from pellucid.monitoring.feedback.receipts import Answer, FeedbackReceipt
from pellucid_api.engine.pool import ModelPool
from pellucid_api.processes.counts import Census, Done, Report, State, packed, total
from pellucid_api.processes.mail import Listener, Reply, Request, ask
from pellucid_api.processes.slot import Slot
from pellucid_api.recorder import LogRecorder

_REPORT_SECONDS, _FLUSH_SECONDS, _MODEL_SECONDS = 1.0, 3.0, 60.0  # to wait for the others


class Labels:
    """Counts labels by what became of them, on any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts = dict.fromkeys(get_args(Answer), 0)

    def add(self, receipt: FeedbackReceipt) -> None:
        """Count those of a request."""
        with self._lock:
            for answer in self._counts:
                self._counts[answer] += getattr(receipt, answer)

    def counts(self) -> dict[str, int]:
        """All until now."""
        with self._lock:
            return self._counts.copy()


class Siblings:
    """This process among its equals. Alone, it answers for itself.

    Args:
        slot: of this process.
        pool: its models.
        recorder: its end of the prediction log; None keeps none.

    Attributes:
        lost_lines: how many lines of the access log were lost.
        labels: what became of labels that this process was told.
    """

    def __init__(self, slot: Slot, pool: ModelPool, recorder: LogRecorder | None) -> None:
        self.slot = slot
        self.lost_lines: Callable[[], int] = lambda: 0
        self.labels = Labels()
        self._pool, self._recorder = pool, recorder
        self._before = Done()  # by those that died in this slot
        self._reporting = threading.Lock()
        self._listener: Listener | None = None

    def start(self) -> None:
        """Take the slot: count on from what was kept in it, and do as the others do.

        Nothing is missed: who is told something after the others were asked is asked to do it too,
        since the socket is there by then.
        """
        if self.slot.alone:
            return
        self._before = _done(self.slot.kept(self.slot.number))
        self._listener = Listener(self.slot, self._handle, self.report)
        self._listener.start()
        for reply in ask(self.slot, Request("report"), _REPORT_SECONDS).values():
            if reply and reply.report:
                self._pool.unloaded |= frozenset(reply.report.state.unloaded)

    def close(self) -> None:
        """Answer nobody any more; what was counted is kept."""
        if self._listener is not None:
            self._listener.stop()
            self.report()

    def report(self) -> Report:
        """Of this process, and of those that died in its slot.

        What was reported is kept first, so that no sum is ever smaller than the one before.
        """
        with self._reporting:
            now = Done.of(self._pool)
            now.lost_lines, now.labels = self.lost_lines(), self.labels.counts()
            if self._recorder is not None:
                now.logged = {"recorded": self._recorder.recorded, "lost": self._recorder.lost}
                oddities = self._recorder.oddities
                now.values, now.odd_values = dict(oddities.values), dict(oddities.odd)
                now.expected_values = dict(oddities.expected)
            if self._pool.settled.is_set():  # contests that have ended are no longer asked for
                contests = self._before.contests
                self._before.contests = {k: contests[k] for k in contests if k in now.contests}
            done = self._before + now
            if not self.slot.alone:
                self.slot.keep(packed(done))
        error = self._recorder.error if self._recorder else ""
        return Report(done, State.of(os.getpid(), self._pool, error))

    def census(self) -> Census:
        """All processes together, a second at most after they were asked."""
        own = self.report()
        if self.slot.alone:
            return Census(own.done, {0: own.state})
        replies = ask(self.slot, Request("report"), _REPORT_SECONDS)
        found = {n: each.report for n, each in replies.items() if each and each.report}
        missing = [number for number in self.slot.others if number not in found]
        parts = [own.done, *(each.done for each in found.values())]
        parts += [_done(self.slot.kept(number)) for number in missing]
        states = {self.slot.number: own.state} | {n: each.state for n, each in found.items()}
        return Census(total(parts), states, missing)

    def load(self, name: str) -> None:
        """Load a model's champion in every process.

        Raises:
            NotFound: no such model is registered.
            ModelNotReady: its champion cannot be loaded, here or in another process.
            Unavailable: a process has not followed yet; sending the same again does no harm.
        """
        with self.slot.first(_MODEL_SECONDS):
            self._pool.load(name)
            self._follow(Request("load", name))

    def unload(self, name: str) -> None:
        """Serve a model in no process until `load`. Raises as that does."""
        with self.slot.first(_MODEL_SECONDS):
            self._pool.unload(name)
            self._follow(Request("unload", name))

    def flush(self) -> None:
        """Have what was answered until now written to the prediction log, by all."""
        if self._recorder is not None:
            self._recorder.flush()
        if not self.slot.alone:
            ask(self.slot, Request("flush"), _FLUSH_SECONDS)

    def _follow(self, request: Request) -> None:
        if self.slot.alone:
            return
        for number, reply in ask(self.slot, request, _MODEL_SECONDS).items():
            where = {"model": request.model, "process": number}
            if reply is None:
                raise Unavailable(
                    f"A serving process has not followed within {_MODEL_SECONDS:g} s.",
                    where=where,
                    remedy="It may still; send the same again.",
                )
            if reply.error:
                raise ModelNotReady(reply.error, where=where)

    def _handle(self, request: Request) -> Reply:
        if request.what == "report":
            return Reply(report=self.report())
        if request.what == "flush":
            if self._recorder is not None:
                self._recorder.flush()
            return Reply()
        self._pool.settled.wait(_MODEL_SECONDS)  # before, it does not know what there is
        (self._pool.load if request.what == "load" else self._pool.unload)(request.model)
        return Reply()


def _done(kept: bytes | None) -> Done:
    try:
        return Done() if kept is None else msgspec.msgpack.decode(kept, type=Done)
    except msgspec.DecodeError:  # of another release
        return Done()
