"""Counterfactual explanations of served rows: searched for aside, verified where predictions run.

The search itself has a thread of its own for each version. It runs the model in the version's
thread for what may wait, a few milliseconds at a time, so that explanations and other searches
come in between. What it finds is then asked of the session that predicts.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np

from pellucid.analysis.counterfactuals import Counterfactual, Found, Goal, search
from pellucid.bundle import ColumnReference
from pellucid.errors import Overloaded
from pellucid_api.engine.aside import Aside
from pellucid_api.engine.feeds import Feed
from pellucid_api.engine.lane import Lane
from pellucid_api.engine.served import Served
from pellucid_api.engine.values import Values

Arrays = dict[str, Values]

_NICE = 10
_RUN_SECONDS = 0.01  # of the model, before others have their turn
_FIRST_ROWS, _MOST_ROWS = 64, 256  # of such a run: its strings are read with the interpreter's lock
_MOST_WAITING = 64  # rows of requests that wait for their search
_GRACE = 5.0  # seconds beyond its time in which a search must end


@dataclass(frozen=True)
class Wish:
    """What is asked for one row.

    Args:
        goal: the decision.
        columns: those that may change, and how.
        count: most counterfactuals.
        most_columns: that one of them changes.
        budget: most rows that the model runs.
    """

    goal: Goal
    columns: Mapping[str, ColumnReference]
    count: int
    most_columns: int
    budget: int


@dataclass(frozen=True)
class Answer:
    """What a search came to, and what the served model says of each changed row.

    Attributes:
        found: the search.
        verified: the counterfactuals of `found` that the served model decides as wished.
        outputs: of `verified`: one array (rows, ...) for each output.
    """

    found: Found
    verified: Sequence[Counterfactual]
    outputs: Arrays


class Searches:
    """The searches of one version, one at a time."""

    def __init__(self, served: Served) -> None:
        self._lane = Lane(f"{served.name}-{served.version}-search", _NICE)
        self._names = [output.name for output in served.model.manifest.outputs]
        self._waiting = 0  # rows

    async def predicted(self, served: Served, feed: Feed) -> Arrays:
        """The served model's outputs, by name, without a trace in the prediction log."""
        served.batcher.admit()
        work = await served.batcher.finished(feed)
        return dict(zip(self._names, work.outputs, strict=True))

    async def answers(
        self, served: Served, feed: Feed, wishes: Sequence[Wish], seconds: float
    ) -> list[Answer]:
        """The answer for each row of a feed; once the time is over, what was found by then.

        Raises:
            Overloaded: too much waits already.
        """
        if self._waiting + feed.rows > _MOST_WAITING and self._waiting:
            raise Overloaded(
                "More counterfactuals are waiting than can be found in time.",
                remedy="Send again later, or fewer rows at once.",
            )
        self._waiting += feed.rows
        try:
            end = time.monotonic() + seconds
            return [
                await self._answer(served, feed.cut(row, row + 1), wish, end)
                for row, wish in enumerate(wishes)
            ]
        finally:
            self._waiting -= feed.rows

    async def _answer(self, served: Served, feed: Feed, wish: Wish, end: float) -> Answer:
        row = served.layout.unpack(feed)
        left = threading.Event()  # nobody waits any more

        def look() -> Found:
            return search(
                _Paced(served.aside),
                row,
                wish.columns,
                wish.goal,
                count=wish.count,
                most_columns=wish.most_columns,
                budget=wish.budget,
                expired=lambda: time.monotonic() > end or left.is_set(),
            )

        looking: Future[Found] = self._lane.submit(look)
        try:
            limit = max(0.0, end - time.monotonic()) + _GRACE
            found = await asyncio.wait_for(asyncio.wrap_future(looking), limit)
        except TimeoutError:
            found = Found(exhausted=True)
        finally:
            left.set()
        return await self._verified(served, row, wish, found)

    async def _verified(self, served: Served, row: Arrays, wish: Wish, found: Found) -> Answer:
        if not found.counterfactuals:
            return Answer(found, (), {})
        changed = {
            name: np.concatenate([_changed(value, each, name) for each in found.counterfactuals])
            for name, value in row.items()
        }
        outputs = await self.predicted(served, served.layout.pack(changed))
        kept = np.flatnonzero(wish.goal.met(outputs))
        verified = [found.counterfactuals[i] for i in kept]
        return Answer(found, verified, {name: array[kept] for name, array in outputs.items()})


class _Paced:
    """Runs the model from the search's thread, a few milliseconds at a time."""

    def __init__(self, aside: Aside) -> None:
        self._aside = aside
        self._rows = _FIRST_ROWS

    def __call__(self, columns: Arrays) -> Arrays:
        rows = len(next(iter(columns.values())))
        pieces = []
        start = 0
        while start < rows:
            stop = start + self._rows
            pieces.append(self._run({name: v[start:stop] for name, v in columns.items()}))
            start = stop
        if len(pieces) == 1:
            return pieces[0]
        return {name: np.concatenate([each[name] for each in pieces]) for name in pieces[0]}

    def _run(self, columns: Arrays) -> Arrays:
        running = self._aside.submit(lambda model: _timed(lambda: model.run(columns)))
        seconds, outputs = running.result()
        if seconds < _RUN_SECONDS / 2:
            self._rows = min(2 * self._rows, _MOST_ROWS)
        elif seconds > _RUN_SECONDS:
            self._rows = max(self._rows // 2, 1)
        return outputs


def _timed(call: Callable[[], Arrays]) -> tuple[float, Arrays]:
    started = time.perf_counter()
    found = call()
    return time.perf_counter() - started, found


def _changed(value: Values, counterfactual: Counterfactual, name: str) -> Values:
    if name not in counterfactual.changes:
        return value
    changed: Values = np.empty_like(value)
    changed[:] = counterfactual.changes[name]
    return changed


def searches_of(served: Served) -> Searches:
    """The version's searches."""
    found = served.kept(Searches, Searches)
    assert found is not None
    return found
