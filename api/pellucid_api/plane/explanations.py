"""From a request's bytes to explained rows, a few rows at a time.

The rows are decoded as those of `/predict`. Each part of them waits for its turn, so that a large
request holds up no small one, and nothing takes the event loop for long.
"""

import time
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import numpy as np

from pellucid.errors import InvalidRows, PellucidError
from pellucid.schema import Kind
from pellucid_api.engine.explainer import Explainer, Turn, explainer_of
from pellucid_api.engine.feeds import Feed
from pellucid_api.engine.served import Served
from pellucid_api.engine.subjects import Subject
from pellucid_api.plane import inside
from pellucid_api.plane.asked import Asked
from pellucid_api.plane.dataplane import Answered, DataPlane, read_at_once
from pellucid_api.plane.exchange import Question, Reply, RequestHeaders
from pellucid_api.plane.explained import Style, Writer
from pellucid_api.plane.formats import TABLES, media_type
from pellucid_api.plane.rows import RowsCodec

_NEVER = float("inf")
_JSON = {b"content-type": b"application/json"}


@dataclass(frozen=True)
class Options:
    """What the query asks for.

    Args:
        output: the class, or the output of a regression, that is explained; None: of two classes
            the positive one, of more the predicted one, of a regression the first output.
        contrast: a class, or an output, that is subtracted.
        top: how many columns are told one by one; None: all.
        method: as `explainer_of` takes it.
        places: whether pixels, steps and tokens are told.
        superpixels: about how many parts of an image are told, too; 0: none.
    """

    output: str | None = None
    contrast: str | None = None
    top: int | None = None
    method: str = ""
    places: bool = True
    superpixels: int = 0


class _Read(NamedTuple):
    question: Question
    reference: Feed | None
    texts: list[str | None]


@dataclass(frozen=True)
class Explanations:
    """Answers requests for explanations.

    Args:
        plane: of the predictions: its threads, ids, log and traces.
        codec: reads rows.
    """

    plane: DataPlane
    codec: RowsCodec

    async def answer(
        self,
        served: Served,
        headers: RequestHeaders,
        body: bytes,
        options: Options,
        *,
        predicting: bool = False,
    ) -> Reply:
        """Explain rows.

        Args:
            served: the version.
            headers: of the request, names in lower case.
            body: whole.
            options: of the request.
            predicting: they are predictions, too: they get ids, and go to the prediction log.

        Raises:
            PellucidError: the rows do not fit, the version has no such explanations, or as the
                queue says.
        """
        traces = self.plane.traces
        trace = None if traces is None else traces.begin(served, headers)
        try:
            reply = await self._answer(served, headers, body, options, predicting)
        except BaseException as error:
            if trace is not None:
                told = error if isinstance(error, Exception) else ConnectionAbortedError()
                trace.end(None, error=told)
            raise
        return reply if trace is None else trace.end(None, reply)

    async def _answer(
        self,
        served: Served,
        headers: RequestHeaders,
        body: bytes,
        options: Options,
        predicting: bool,
    ) -> Reply:
        started, received = time.perf_counter(), time.time_ns()
        explainer = explainer_of(served.explainers, options.method, served.name, served.version)
        await explainer.opened()
        explainer.admit()
        try:
            subject = Subject.of(served.model.manifest, options.output, options.contrast)
            read = await self._read(served, headers, body, options)
        except PellucidError:
            explainer.statistics.invalid += 1
            raise
        question = read.question
        feed = question.feed
        first = self.plane.ids.reserve(feed.rows) if predicting else None
        timeout = _NEVER if question.timeout is None else question.timeout
        asked = Asked(
            served, explainer, subject, feed, Turn(started, started + timeout),
            read.reference, read.texts, options.places, options.superpixels,
        )  # fmt: skip
        style = Style(explainer.told.unit, explainer.method, options.contrast, options.top, first)
        writer = Writer(served, question.context, style, _told(explainer))
        predictions = []
        async with aclosing(asked.parts()) as parts:
            async for part in parts:
                writer.add(part)
                predictions.append(part.predictions)
        reply = writer.reply()
        seconds = time.perf_counter() - started
        explainer.statistics.answered(feed.rows, asked.turn.queued, seconds)
        if first is not None and self.plane.recorder is not None:
            outputs = [np.concatenate(each) for each in zip(*predictions, strict=True)]
            self.plane.recorder.record(
                Answered(served, feed, outputs, first, received, seconds, question.sensitive)
            )
        return reply

    async def _read(
        self, served: Served, headers: RequestHeaders, body: bytes, options: Options
    ) -> _Read:
        texts = options.places and inside.place_kind(served) is Kind.TEXT

        def read() -> _Read:
            rows, row = _split(headers, body)
            return _Read(
                self.codec.decode(served, headers, rows),
                None if row is None else self._reference(served, row),
                inside.texts_of(served, headers, rows) if texts else [],
            )

        if read_at_once(served, headers, body):
            return read()
        return await self.plane.in_thread(read)

    def _reference(self, served: Served, row: bytes) -> Feed:
        try:
            return self.codec.decode(served, _JSON, row).feed
        except InvalidRows as error:
            raise InvalidRows(
                f"The reference does not fit. {error.message}",
                where=error.where | {"row": "reference"},
                remedy=error.remedy,
            ) from error


def _split(headers: RequestHeaders, body: bytes) -> tuple[bytes, bytes | None]:
    """The rows of a body, and a list of its `reference`, if it names one."""
    if b'"reference"' not in body or media_type(headers.get(b"content-type", b""))[0] in TABLES:
        return body, None
    try:
        fields = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except msgspec.DecodeError:  # a list of rows, or what the codec will say is wrong with it
        return body, None
    reference = fields.pop("reference", None)
    if reference is None:
        return body, None
    return msgspec.json.encode(fields), b"[%s]" % bytes(reference)


def _told(explainer: Explainer) -> dict[str, Any]:
    """What is told once of all rows."""
    told = explainer.told
    learnt = told.amortized if explainer.method == "amortized" else None
    return {
        "method": explainer.method,
        "unit": told.unit,
        "background": told.background,
        "tolerance": told.tolerance,
        "quality": {**told.quality, **(learnt or {})},
    }
