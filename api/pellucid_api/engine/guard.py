"""Stops runs that take too long, so that a model that runs for ever hurts nobody else.

A thread of its own looks at the runs under way ten times a second. To a run it costs two locks that
nobody holds.
"""

import threading
import time
import weakref
from collections.abc import Callable

_EVERY = 0.1  # seconds
_PATIENCE = 1.0  # seconds; how long an operator may take to notice
_NEVER = float("inf")


class Watch:
    """The limit of one model's runs, which come one after the other.

    Args:
        stop: makes the run under way end with an error; it may be called more than once.
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        self.stopped = False  # the last run was
        self._stop = stop
        self._until = _NEVER
        self._lock = threading.Lock()  # else the next run might be stopped for the last

    def begin(self, seconds: float) -> None:
        """A run begins, and may take this long."""
        with self._lock:
            self.stopped = False
            self._until = time.perf_counter() + seconds

    def end(self) -> None:
        """The run has ended."""
        with self._lock:
            self._until = _NEVER

    @property
    def running(self) -> bool:
        """Whether a run is under way."""
        return self._until < _NEVER

    def expire(self) -> None:
        """Allow the run under way no more time."""
        with self._lock:
            if self.running:
                self._until = 0.0
        self.check()

    def check(self) -> None:
        """Stop the run if its time is over."""
        with self._lock:
            if time.perf_counter() > self._until:
                self.stopped = True
                self._stop()


class Guard:
    """Watches the runs of all models in memory; its thread starts with the first."""

    def __init__(self) -> None:
        self._watches: weakref.WeakSet[Watch] = weakref.WeakSet()
        self._lock = threading.Lock()  # of _watches
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, name="run-guard", daemon=True)

    def watch(self, stop: Callable[[], None]) -> Watch:
        """Watch another model for as long as the result is kept."""
        watch = Watch(stop)
        with self._lock:
            self._watches.add(watch)
            if not self._thread.is_alive() and not self._done.is_set():
                self._thread.start()
        return watch

    def stop(self) -> None:
        """Stop every run, and end the thread; a thread in a run would break the process's exit."""
        self._done.set()
        with self._lock:
            watches = list(self._watches)
        end = time.monotonic() + _PATIENCE
        while any(watch.running for watch in watches) and time.monotonic() < end:
            for watch in watches:
                watch.expire()
            time.sleep(_PATIENCE / 100)

    def _look(self) -> None:
        while not self._done.wait(_EVERY):
            with self._lock:
                watches = list(self._watches)
            for watch in watches:
                watch.check()
            del watches
