"""A model on several GPUs, or twice on one: a batch is spread over its sessions.

A GPU that is named twice copies one part of a batch while it computes the other.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import wait

import numpy as np
import onnxruntime

from pellucid_api.engine.binding import Bound, most_rows, padded
from pellucid_api.engine.values import Values

_SHARE = 64  # rows; fewer are not worth a session more


class Spread:
    """Sessions of one model.

    Args:
        sessions: at least one.
    """

    def __init__(self, sessions: Sequence[Bound]) -> None:
        self._sessions = sessions

    @property
    def session(self) -> onnxruntime.InferenceSession:
        """One of them, to be asked what the model is like."""
        return self._sessions[0].session

    def run(
        self, feed: Mapping[str, Values], _options: onnxruntime.RunOptions | None = None
    ) -> list[Values]:
        """Arrays (rows, *shape) by input -> one (rows, ...) per output, in the same order."""
        rows = len(next(iter(feed.values())))
        count = max(1, min(len(self._sessions), rows // _SHARE))
        if count == 1:
            return self._sessions[0].submit(feed).result()
        edges = [rows * i // count for i in range(count + 1)]
        running = [
            session.submit({name: array[start:stop] for name, array in feed.items()})
            for session, start, stop in zip(
                self._sessions[:count], edges[:-1], edges[1:], strict=True
            )
        ]
        wait(running)  # also after a failure: nothing is under way when this returns
        found = [each.result() for each in running]
        return [np.concatenate(each) for each in zip(*found, strict=True)]

    def stop(self) -> None:
        """Let the runs under way end with an error."""
        for session in self._sessions:
            session.stop()

    def prepare(self, examples: Mapping[str, Values], rows: int) -> Iterator[int]:
        """Run every size of batch up to so many rows in every session; gives each when it is done.

        Algorithms are looked for, memory is made and graphs are captured now, and not in requests.
        """
        for size in _sizes(min(padded(rows), most_rows(examples))):
            feed = {name: _many(array, size) for name, array in examples.items()}
            wait(running := [session.submit(feed) for session in self._sessions])
            for each in running:
                each.result()
            yield size


def _sizes(largest: int) -> Iterator[int]:
    """All, the largest and the smallest first: TensorRT builds an engine for a wider range."""
    yield largest
    size = 1
    while size < largest:
        yield size
        size *= 2


def _many(array: Values, rows: int) -> Values:
    """So many rows, over and over the same."""
    return np.take(array, np.arange(rows) % len(array), axis=0)
