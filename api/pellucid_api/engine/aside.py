"""What a version does beside predicting, in a thread that lets the others go first."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from pellucid.bundle import Bundle
from pellucid_api.engine.lane import Lane
from pellucid_api.engine.model import Model

T = TypeVar("T")
_NICE = 10  # of 19; lower, and it could hold the interpreter's lock for long on a busy machine


class Aside:
    """The thread for a version's explanations, and for all that may wait.

    What is called here waits for what was called before: let each call be short, and call again.

    Args:
        name: of the thread.
        bundle: of the version.
    """

    def __init__(self, name: str, bundle: Bundle) -> None:
        self.lane = Lane(name, _NICE)
        self._bundle = bundle
        self._model: Model | None = None

    async def run(self, function: Callable[[], T]) -> T:
        """Call a function in the thread. Raises what the function raises."""
        return await asyncio.wrap_future(self.lane.submit(function))

    async def call(self, function: Callable[[Model], T]) -> T:
        """As `run`, with the version's model, on one thread of the CPU.

        The model is another session than the one that predicts, opened at the first call: running
        it takes nothing from predictions but what they leave.
        """
        return await asyncio.wrap_future(self.submit(function))

    def submit(self, function: Callable[[Model], T]) -> Future[T]:
        """As `call`, for another thread, which can wait."""
        return self.lane.submit(lambda: function(self._opened()))

    def _opened(self) -> Model:
        if self._model is None:
            self._model = Model(self._bundle, "cpu", threads=1)
        return self._model
