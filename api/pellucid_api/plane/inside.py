"""What is told of an explained row beside its columns: pixels, steps or tokens."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pellucid.analysis.superpixels import superpixels
from pellucid.schema import Kind
from pellucid_api.engine.feeds import Feed
from pellucid_api.engine.served import Served
from pellucid_api.engine.values import Values
from pellucid_api.plane.exchange import RequestHeaders
from pellucid_api.plane.formats import read_columns
from pellucid_api.plane.rows import columns_of, parse

_DIGITS = 6  # of a pixel's value: there are many


def place_kind(served: Served) -> Kind | None:
    """What places are within: images, sequences or texts; None of a table."""
    kinds = {each.kind for each in served.model.manifest.inputs}
    return next((kind for kind in (Kind.IMAGE, Kind.SEQUENCE, Kind.TEXT) if kind in kinds), None)


def pixels(feed: Feed, places: Values, parts: int) -> list[dict[str, Any]]:
    """Of images (rows, height, width), with frames in front where there are some.

    Args:
        feed: with the images.
        places: SHAP values.
        parts: about how many superpixels; 0: none.
    """
    rounded = _rounded(places)
    found: list[dict[str, Any]] = [{"pixels": each.tolist()} for each in rounded]
    if parts:
        for row, image, values in zip(found, feed.tensors[0], places, strict=True):
            frames = image if image.ndim == 4 else image[None]
            # One segmentation for all frames, by their mean.
            segments = superpixels(frames.mean(axis=0).astype(np.uint8), parts)
            summed = values.reshape(-1, *segments.shape).sum(axis=0)
            totals = np.bincount(segments.ravel(), weights=summed.ravel())
            row["superpixels"] = {"segments": segments.tolist(), "shap": totals.tolist()}
    return found


def steps(served: Served, places: Values) -> list[dict[str, Any]]:
    """Of sequences (rows, steps, columns): a list of values for each column."""
    names = [each.name for each in served.model.manifest.inputs]
    return [{"steps": dict(zip(names, each.T.tolist(), strict=True))} for each in places]


def tokens(served: Served, places: Values, texts: Sequence[str | None]) -> list[dict[str, Any]]:
    """Of texts (rows, tokens): each token, and where it stands in the text."""
    tokenizer, length = served.model.tokenizer, places.shape[1]
    assert tokenizer is not None, "a text model's bundle holds its tokenizer"
    found = []
    for text, values in zip(texts, places.tolist(), strict=True):
        spans = tokenizer.spans(text or "", length)
        told = [
            {"text": (text or "")[start:end], "start": start, "end": end, "shap": value}
            for (start, end), value in zip(spans, values, strict=False)
        ]
        found.append({"tokens": told})
    return found


def texts_of(served: Served, headers: RequestHeaders, body: bytes) -> list[str | None]:
    """The texts of a request that was decoded: its tokens alone do not tell them."""
    (name,) = [each.name for each in served.model.manifest.inputs if each.kind is Kind.TEXT]
    table = read_columns(served, headers.get(b"content-type", b""), body)
    if table is not None:
        texts: list[str | None] = table[name].to_pylist()
        return texts
    content = parse(body)
    if isinstance(content, Mapping) and "columns" in content:
        return list(columns_of(dict(content))[name])
    rows = content["rows"] if isinstance(content, Mapping) else content
    return [row[name] for row in rows]


def _rounded(values: Values) -> Values:
    """To so many significant digits, which halves the JSON."""
    wide = values.astype(np.float64)
    size = np.floor(np.log10(np.where(wide == 0, 1.0, abs(wide))))
    unit = 10.0 ** (_DIGITS - 1 - size)
    rounded: Values = np.round(wide * unit) / unit
    return rounded
