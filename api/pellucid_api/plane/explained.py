"""Explained rows as JSON, CSV or Arrow, written part by part."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa

from pellucid.bundle import Input
from pellucid.schema import Kind
from pellucid_api.engine.answers import answers, prediction_ids
from pellucid_api.engine.feeds import Feed
from pellucid_api.engine.frames import IDS, frame, written
from pellucid_api.engine.served import Served
from pellucid_api.engine.streams import write_stream
from pellucid_api.engine.subjects import Amounts
from pellucid_api.engine.values import Values
from pellucid_api.plane.exchange import Reply
from pellucid_api.plane.formats import CSV, JSON, answered_by

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_JSON_HEADERS = [(b"content-type", b"application/json")]
_HINT = (
    "Rows above the tolerance: {}. Their values do not quite add up to the prediction; "
    "POST /v1/models/{}/explanations explains rows by permutations, as a job."
)


class Part(NamedTuple):
    """Some rows of a request, explained.

    Args:
        feed: the rows.
        predictions: the model's own outputs.
        outputs: of each row, the name of what is explained.
        amounts: of the explained values.
        within: (n,): whether the gap is within the tolerance.
        inside: of each row what is told of pixels, steps or tokens.
        texts: of each row, where the model takes a text.
    """

    feed: Feed
    predictions: Sequence[Values]
    outputs: Sequence[str]
    amounts: Amounts
    within: Values
    inside: Sequence[Mapping[str, Any]] = ()
    texts: Sequence[str | None] = ()


class _Contribution(msgspec.Struct):
    column: str
    value: Any
    shap: float


@dataclass(frozen=True)
class Style:
    """How explanations are told.

    Args:
        unit: of values.
        contrast: name of the output that was subtracted.
        top: how many columns are told one by one; None: all.
        method: how they were made.
        first: number of the first row's prediction id; None: they are no predictions.
    """

    unit: str
    method: str
    contrast: str | None = None
    top: int | None = None
    first: int | None = None


class Writer:
    """Writes the answer to a request.

    Args:
        served: the version.
        kind: of the answer: JSON, CSV or ARROW.
        style: of the explanations.
        told: of the explanations, in front of the rows.
    """

    def __init__(self, served: Served, kind: str, style: Style, told: Mapping[str, Any]) -> None:
        self._served, self._kind, self._style, self._told = served, kind, style, told
        self._parts: list[Any] = []
        self._rows = self._inexact = 0

    def add(self, part: Part) -> None:
        """Write the next rows."""
        write = _json if self._kind == JSON else _table
        self._parts.append(write(self._served, part, self._style, self._rows))
        self._rows += part.feed.rows
        self._inexact += int((~part.within).sum())

    def reply(self) -> Reply:
        """The whole answer."""
        if self._kind != JSON:
            return self._tabled()
        served = self._served
        head = {"model": served.name, "version": served.version, **self._told}
        if self._inexact:
            head["hint"] = _HINT.format(self._inexact, served.name)
        body = b'%s,"predictions":[%s]}' % (msgspec.json.encode(head)[:-1], b",".join(self._parts))
        return Reply(200, _JSON_HEADERS, body)

    def _tabled(self) -> Reply:
        told = {"model": self._served.name, "version": str(self._served.version)}
        table = pa.concat_tables(self._parts).replace_schema_metadata(told)
        body = written(table) if self._kind == CSV else write_stream(table)
        return Reply(200, answered_by(self._served, self._kind), body)


def _json(served: Served, part: Part, style: Style, start: int) -> bytes:
    return msgspec.json.encode(_rows(served, part, style, start))[1:-1]


def _rows(served: Served, part: Part, style: Style, start: int) -> list[dict[str, Any]]:
    """One `resources.ExplainedPrediction` per row, as plain data; so many rows were before."""
    manifest, rows = served.model.manifest, part.feed.rows
    named = dict(zip([output.name for output in manifest.outputs], part.predictions, strict=True))
    ids = [""] * rows if style.first is None else prediction_ids(style.first + start, rows)
    found = answers(manifest, named, ids)
    value, base, shap, _ = part.amounts
    told = zip(
        found,
        part.outputs,
        value.tolist(),
        base.tolist(),
        _contributions(served, part, style.top),
        part.amounts.gap.tolist(),
        part.within.tolist(),
        strict=True,
    )
    others = shap.shape[1] - (style.top or shap.shape[1])
    for i, (row, output, amount, begun, contributions, gap, within) in enumerate(told):
        if style.first is None:
            del row["id"]  # nobody could look it up
        row["explained"] = {"output": output, "value": amount, "unit": style.unit}
        if style.contrast is not None:
            row["explained"]["contrast"] = style.contrast
        row["base"], row["contributions"] = begun, contributions
        if others > 0:
            rest = float(shap[i].sum()) - sum([each.shap for each in contributions])
            row["others"] = {"columns": others, "shap": rest}
        row["gap"], row["within_tolerance"], row["method"] = gap, within, style.method
        if part.inside:
            row |= part.inside[i]
    return found


def _table(served: Served, part: Part, style: Style, start: int) -> Any:
    """A prediction's columns, and `shap_COLUMN` of each raw column."""
    manifest = served.model.manifest
    named = dict(zip([output.name for output in manifest.outputs], part.predictions, strict=True))
    columns: dict[str, Any] = {}
    if style.first is not None:
        columns[IDS] = prediction_ids(style.first + start, part.feed.rows)
    columns |= frame(manifest, named)
    columns |= {
        "explained_output": list(part.outputs),
        "explained_value": part.amounts.value,
        "base": part.amounts.base,
        "gap": part.amounts.gap,
        "within_tolerance": part.within,
    }
    told = manifest.explanation
    assert told is not None
    names = [f"shap_{column}" for column in told.columns]
    columns |= zip(names, part.amounts.shap.T, strict=True)
    return pa.table({name: pa.array(values) for name, values in columns.items()})


def _contributions(served: Served, part: Part, top: int | None) -> list[list[_Contribution]]:
    """Of each row those of the columns, the largest first."""
    manifest = served.model.manifest
    told = manifest.explanation
    assert told is not None
    shap = part.amounts.shap
    order = np.argsort(-abs(shap), axis=1, kind="stable")[:, :top]
    amounts = np.take_along_axis(shap, order, axis=1).tolist()
    values = _values(served, part)
    columns = [(name, values[name]) for name in told.columns]
    return [
        [
            _Contribution(columns[i][0], columns[i][1][row], amount)
            for i, amount in zip(chosen, found, strict=True)
        ]
        for row, (chosen, found) in enumerate(zip(order.tolist(), amounts, strict=True))
    ]


def _values(served: Served, part: Part) -> dict[str, Sequence[Any]]:
    """Each raw column's values, as they were sent; None for images, which the sender has."""
    layout, feed = served.layout, part.feed
    inputs = {each.name: each for each in served.model.manifest.inputs}
    found: dict[str, Sequence[Any]] = {}
    for name, numbers in zip(layout.numbers, feed.numbers.tolist(), strict=True):
        found[name] = _scalars(inputs[name], numbers)
    for name, texts in zip(layout.strings, feed.strings.tolist(), strict=True):
        found[name] = [text or None for text in texts]
    for name, tensor in zip(layout.tensors, feed.tensors, strict=True):
        kind = inputs[name].kind
        if kind is Kind.TEXT and part.texts:
            found[name] = part.texts
        else:
            found[name] = tensor.tolist() if kind is Kind.SEQUENCE else [None] * feed.rows
    return found


def _scalars(each: Input, numbers: list[float]) -> list[Any]:
    """A missing value is NaN, which JSON tells as null."""
    if each.kind is Kind.BOOLEAN:
        return [None if number != number else bool(number) for number in numbers]
    if each.kind is Kind.DATETIME:
        return [None if number != number else _time(number) for number in numbers]
    return numbers


def _time(seconds: float) -> str | float:
    """In ISO 8601; Arrow has times beyond those that Python has, which stay seconds."""
    try:
        return (_EPOCH + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")
    except OverflowError:
        return seconds
