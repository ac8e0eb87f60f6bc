"""One thread of its own for each served version.

A model that runs for ever keeps its own thread and nobody else's; and it keeps no process from
ending, since the thread is a daemon.
"""

import os
import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
_Job = tuple[Future[Any], Callable[[], Any]]


class Lane(Executor):
    """Calls, one after the other, in a thread that starts at the first and ends with the lane.

    Args:
        name: of the thread.
        nice: 0 to 19: how far other threads go first, where threads have priorities of their own.
    """

    def __init__(self, name: str, nice: int = 0) -> None:
        self._name, self._nice = name, nice
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._started = False
        weakref.finalize(self, self._jobs.put, None)

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call it in its turn."""
        future: Future[T] = Future()
        self._jobs.put((future, lambda: fn(*args, **kwargs)))
        if not self._started:
            self._started = True
            thread = threading.Thread(target=_work, args=(self._jobs, self._nice), name=self._name)
            thread.daemon = True
            thread.start()
        return future


def _work(jobs: "SimpleQueue[_Job | None]", nice: int) -> None:
    if nice and sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)
    while (job := jobs.get()) is not None:
        future, call = job
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(call())
            except BaseException as error:
                future.set_exception(error)
        del job, future, call  # held while waiting, they would keep a model in memory
