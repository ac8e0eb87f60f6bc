"""Tallies and profiles of drawn values, for the tests of drift."""

from typing import Any

import numpy as np

from pellucid.analysis.watching.profiles import Bins, Floats, Profile, Tally


def number_bins(values: Floats, count: int = 200) -> Bins:
    known = values[np.isfinite(values)]
    if not len(known):
        return Bins("number")
    edges = np.unique(np.quantile(known, np.linspace(0, 1, count + 1)[1:-1], method="lower"))
    return Bins("number", edges, known.min(), known.max())


def string_bins(values: list[str | None]) -> Bins:
    names, counts = np.unique([each for each in values if each is not None], return_counts=True)
    order = np.argsort(-counts)
    return Bins("category", categories=tuple(str(names[i]) for i in order))


def tally(values: Any, bins: Bins, wrong: int = 0) -> Tally:
    if bins.kind == "category":
        places = {name: i for i, name in enumerate(bins.categories)}
        last = len(places)
        found = [places.get(each, last) for each in values if each is not None]
        counts = np.bincount(np.array(found, int), minlength=last + 1)
        return Tally(counts, len(values) - len(found), int(counts[last]), wrong)
    known = values[~np.isnan(values)]
    counts = np.bincount(bins.edges.searchsorted(known), minlength=len(bins))
    outside = int(((known < bins.low) | (known > bins.high)).sum())
    return Tally(counts, len(values) - len(known), outside, wrong)


def profiles(reference: dict[str, Any], window: dict[str, Any]) -> tuple[Profile, Profile]:
    """Both in bins of the reference; lists are strings, arrays are numbers."""
    bins = {
        name: string_bins(each) if isinstance(each, list) else number_bins(each)
        for name, each in reference.items()
    }
    found = [
        Profile(
            bins,
            {name: tally(each, bins[name]) for name, each in rows.items()},
            max(map(len, rows.values()), default=0),
        )
        for rows in (reference, window)
    ]
    return found[0], found[1]
