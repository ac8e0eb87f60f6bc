"""Sketches of a column: small, mergeable, within a known error, as base64 in a reference profile.

    kll       numbers -> any quantile, its rank off by at most about 1.3% (Karnin et al., 2016)
    hll       any values -> how many different ones, within about 3.3% (Flajolet et al., 2007)
    frequent  strings -> the most frequent ones with bounds of their counts (Misra and Gries, 1982)

They are Apache DataSketches, whose binary form is the same in Java, C++ and Python.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pellucid.analysis.watching.profiles import Floats

_KLL_K = 200
_HLL_LOG_K = 11
_FREQUENT_LOG_SIZE = 8
_SHOWN = 10

Sketches = Mapping[str, str]
"""Kind -> sketch in base64."""


@dataclass(frozen=True)
class Summary:
    """What the sketches of a column tell.

    Attributes:
        rows: numbers, or strings, that were there.
        distinct: about how many different ones.
        quantiles: at the shares that were asked for; of numbers.
        frequent: string -> at least so many rows, the most frequent first.
    """

    rows: int
    distinct: float
    quantiles: tuple[float, ...] = ()
    frequent: Mapping[str, int] | None = None


def sketch_numbers(values: Floats) -> dict[str, str]:
    """Sketches of (rows,) numbers; NaN is missing."""
    from datasketches import kll_doubles_sketch

    known = values[~np.isnan(values)]
    quantiles = kll_doubles_sketch(_KLL_K)
    quantiles.update(known)
    return {"kll": _text(quantiles.serialize()), "hll": _distinct(np.unique(known).tolist())}


def sketch_strings(counts: Mapping[str, int]) -> dict[str, str]:
    """Sketches of strings and how many rows have each."""
    from datasketches import frequent_strings_sketch

    frequent = frequent_strings_sketch(_FREQUENT_LOG_SIZE)
    for name, count in counts.items():
        frequent.update(name, count)
    return {"frequent": _text(frequent.serialize()), "hll": _distinct(list(counts))}


def merge(ours: Sketches, others: Sketches) -> dict[str, str]:
    """Sketches of both columns' rows.

    Raises:
        ValueError: one is of numbers, the other of strings.
    """
    if ours.keys() != others.keys():
        raise ValueError("Sketches of numbers and of strings do not merge.")
    from datasketches import hll_union

    merged = {}
    for kind in ours:
        one, other = _read(kind, ours[kind]), _read(kind, others[kind])
        if kind == "hll":
            union = hll_union(_HLL_LOG_K)
            union.update(one)
            union.update(other)
            merged[kind] = _text(union.get_result().serialize_compact())
        else:
            one.merge(other)
            merged[kind] = _text(one.serialize())
    return merged


def summary(sketches: Sketches, shares: Sequence[float] = (0.01, 0.25, 0.5, 0.75, 0.99)) -> Summary:
    """What a column's sketches tell.

    Raises:
        ValueError: they cannot be read.
    """
    distinct = _read("hll", sketches["hll"]).get_estimate()
    if "kll" in sketches:
        kll = _read("kll", sketches["kll"])
        found = () if kll.is_empty() else tuple(map(float, kll.get_quantiles(list(shares))))
        return Summary(int(kll.n), distinct, found)
    from datasketches import frequent_items_error_type

    items = _read("frequent", sketches["frequent"])
    known = items.get_frequent_items(frequent_items_error_type.NO_FALSE_POSITIVES)
    frequent = {name: int(low) for name, _, low, _ in known[:_SHOWN]}
    return Summary(int(items.total_weight), distinct, frequent=frequent)


def _distinct(values: Sequence[Any]) -> str:
    from datasketches import hll_sketch

    sketch = hll_sketch(_HLL_LOG_K)
    for value in values:
        sketch.update(value)
    return _text(sketch.serialize_compact())


def _read(kind: str, text: str) -> Any:
    import datasketches as ds

    kinds = {
        "kll": ds.kll_doubles_sketch,
        "hll": ds.hll_sketch,
        "frequent": ds.frequent_strings_sketch,
    }
    try:
        return kinds[kind].deserialize(base64.b64decode(text, validate=True))
    except (RuntimeError, IndexError, ValueError) as error:
        raise ValueError(f"The {kind} sketch cannot be read: {error}.") from error


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()
