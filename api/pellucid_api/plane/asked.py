"""A request for explanations: its rows, what of them is explained, and against what."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pellucid.schema import Kind
from pellucid_api.engine.attribution import Attributed
from pellucid_api.engine.explainer import Explainer, Turn
from pellucid_api.engine.feeds import Feed
from pellucid_api.engine.served import Served
from pellucid_api.engine.subjects import Subject, amounts, less
from pellucid_api.engine.values import Values
from pellucid_api.plane import inside
from pellucid_api.plane.explained import Part

_FEW = 8  # rows: telling more would take the event loop for more than half a millisecond
_SMALL = 2**14  # bytes of places that are told on the event loop


@dataclass(frozen=True)
class Asked:
    """A request, decoded.

    Args:
        served: the version.
        explainer: of it, open.
        subject: what is explained.
        feed: the rows.
        turn: when it came and how long it may take.
        reference: a row that the others are compared to; None: to the background.
        texts: of each row, where the model takes a text and its tokens are told.
        places: whether pixels, steps and tokens are told.
        superpixels: about how many parts of an image; 0: none.
    """

    served: Served
    explainer: Explainer
    subject: Subject
    feed: Feed
    turn: Turn
    reference: Feed | None = None
    texts: Sequence[str | None] = ()
    places: bool = True
    superpixels: int = 0

    async def parts(self) -> AsyncGenerator[Part, None]:
        """Explain the rows, a few at a time; while some are told, the next are explained.

        Raises:
            PellucidError: as the queue says.
        """
        few = min(_FEW, self.explainer.rows)
        coming = asyncio.ensure_future(self._part(0, few))
        try:
            for start in range(few, self.feed.rows + few, few):
                part = await coming
                if start < self.feed.rows:
                    coming = asyncio.ensure_future(self._part(start, start + few))
                await asyncio.sleep(0)  # others come first, and what comes is asked for
                yield part
        finally:
            coming.cancel()

    async def _part(self, start: int, stop: int) -> Part:
        stop = min(stop, self.feed.rows)
        subject, feed = self.subject, self.feed.cut(start, stop)
        chosen = np.full(feed.rows, subject.chosen(subject.output))
        found = await self._attributed(feed, chosen)
        explained = subject.explained(self.served.model.manifest, found.predictions)
        weights = subject.weights(explained, found.explained.shape[1])
        told = amounts(found, weights)
        if self.reference is not None:
            other = await self._of_reference(self.reference, explained)
            told = told.less(amounts(other, weights))
        scales = [self.explainer.scale(each) for each in subject.scaled(explained)]
        within = told.gap <= self.explainer.told.tolerance * np.maximum(*scales)
        names = [subject.names[number] for number in explained.tolist()]
        part = Part(feed, found.predictions, names, told, within, texts=self.texts[start:stop])
        if told.places is None or not self.places:
            return part
        describe = self._describing(feed, told.places, part.texts)
        small = not self.superpixels and told.places.nbytes <= _SMALL
        return part._replace(inside=describe() if small else await self.served.aside.run(describe))

    async def _attributed(self, feed: Feed, chosen: Values) -> Attributed:
        explainer, subject = self.explainer, self.subject
        found = await explainer.explain(feed, chosen, self.turn)
        if explainer.chooses and subject.pairs:
            against = np.full(feed.rows, subject.chosen(subject.contrast))
            found = less(found, await explainer.explain(feed, against, self.turn))
        return found

    async def _of_reference(self, reference: Feed, explained: Values) -> Attributed:
        """Of the reference, what is explained of each of the rows; one row if that is the same."""
        if not self.explainer.chooses:
            return await self._attributed(reference, np.zeros(1, np.int64))
        numbers, rows = np.unique(explained, return_inverse=True)
        chosen = np.array([self.subject.chosen(number) for number in numbers.tolist()])
        found = await self._attributed(reference.take([0] * len(chosen)), chosen)
        return found.take(rows)

    def _describing(
        self, feed: Feed, places: Values, texts: Sequence[str | None]
    ) -> Callable[[], list[dict[str, Any]]]:
        """Tells of what is inside the columns; quick for a few numbers only."""
        kind = inside.place_kind(self.served)
        if kind is Kind.IMAGE:
            return lambda: inside.pixels(feed, places, self.superpixels)
        if kind is Kind.TEXT:
            return lambda: inside.tokens(self.served, places, texts)
        return lambda: inside.steps(self.served, places)
