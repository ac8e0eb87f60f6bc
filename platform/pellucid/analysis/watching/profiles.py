"""What rows hold, as counts: mergeable, and without the rows.

A `Profile` counts every column's values in bins that were fixed at training. Profiles with the same
bins add up, so a month is the sum of its hours, and two of them can be compared without any row.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Bins:
    """How the values of a column are counted.

    number (booleans as 0 and 1, times as seconds since 1970-01-01 UTC too): value v falls into bin
    `searchsorted(edges, v, side="left")` of len(edges) + 1: bin i holds edges[i-1] < v <= edges[i].
    category: bin i holds the values equal to categories[i], the last bin (len(categories)) all
    others.

    Attributes:
        edges: (E,) rising; of numbers.
        low, high: of the reference rows; numbers beyond are `outside`.
        categories: of strings, the reference's most frequent first.
        rare: of strings, the reference's others, which share the last bin.
        closed: whether categories and rare are all strings that the reference rows had. Where there
            were too many to name (names, ids), none can be told to be new.
    """

    kind: Literal["number", "category"]
    edges: Floats = field(default_factory=lambda: np.empty(0))
    low: float = -np.inf
    high: float = np.inf
    categories: tuple[str, ...] = ()
    rare: tuple[str, ...] = ()
    closed: bool = True

    def __len__(self) -> int:
        """Number of bins."""
        return len(self.edges if self.kind == "number" else self.categories) + 1

    @cached_property
    def middle(self) -> float:
        """The middle edge, which sums are taken from; 0 without any."""
        return float(self.edges[len(self.edges) // 2]) if len(self.edges) else 0.0

    @cached_property
    def places(self) -> dict[str | None, int]:
        """Where each string counts: its place among categories and rare, then of missing ones."""
        known = (*self.categories, *self.rare)
        return {each: i for i, each in enumerate(known)} | {"": len(known), None: len(known)}

    def same_as(self, other: "Bins") -> bool:
        """Whether counts in these bins and in others can be added."""
        return self is other or (
            self.kind == other.kind
            and np.array_equal(self.edges, other.edges)
            and (self.low, self.high) == (other.low, other.high)
            and (self.categories, self.rare, self.closed)
            == (other.categories, other.rare, other.closed)
        )


@dataclass(frozen=True, eq=False)
class Tally:
    """A column's values in some rows.

    Attributes:
        counts: (bins,) of values that are there; infinite numbers fall into the outer bins.
        missing: null or NaN; of strings "" too.
        outside: numbers beyond low and high; of strings those that no reference row had.
        wrong: values of another type, which are in no bin.
        total, squares: sum and sum of squares of finite numbers, shifted by the middle edge.
    """

    counts: Counts
    missing: int = 0
    outside: int = 0
    wrong: int = 0
    total: float = 0.0
    squares: float = 0.0

    @property
    def rows(self) -> int:
        """All rows, whatever they hold."""
        return int(self.counts.sum()) + self.missing + self.wrong

    def __add__(self, other: Self) -> Self:
        return type(self)(
            self.counts + other.counts,
            self.missing + other.missing,
            self.outside + other.outside,
            self.wrong + other.wrong,
            self.total + other.total,
            self.squares + other.squares,
        )


@dataclass(frozen=True, eq=False)
class Profile:
    """Some rows of a model: its inputs and outputs.

    Attributes:
        bins: by column; outputs are `outputs.NAME`, one per class `outputs.probabilities.CLASS`.
        tallies: of the same columns.
        rows: counted.
        groups: sensitive column -> group -> profile of the outputs alone.
    """

    bins: Mapping[str, Bins]
    tallies: Mapping[str, Tally]
    rows: int
    groups: Mapping[str, Mapping[str, "Profile"]] = field(default_factory=dict)

    @classmethod
    def empty(cls, bins: Mapping[str, Bins]) -> Self:
        """Of no rows."""
        tallies = {name: Tally(np.zeros(len(each), np.int64)) for name, each in bins.items()}
        return cls(bins, tallies, 0)

    def __add__(self, other: Self) -> Self:
        """Both one after the other.

        Raises:
            ValueError: their bins are not the same.
        """
        if self.bins is not other.bins and not _same(self.bins, other.bins):
            raise ValueError("Only profiles with the same bins add up.")
        return type(self)(
            self.bins,
            {name: tally + other.tallies[name] for name, tally in self.tallies.items()},
            self.rows + other.rows,
            {
                column: _union(self.groups.get(column, {}), other.groups.get(column, {}))
                for column in (*self.groups, *(other.groups.keys() - self.groups.keys()))
            },
        )


def to_json(profile: Profile, *, bins: bool = True) -> dict[str, Any]:
    """A profile as JSON holds it: the reverse of `from_json`.

    Args:
        profile: any.
        bins: False leaves them out, for whoever has them already.
    """
    found: dict[str, Any] = {"rows": profile.rows}
    if bins:
        found["bins"] = {name: bins_to_json(each) for name, each in profile.bins.items()}
    found["tallies"] = {name: _tally_to_json(each) for name, each in profile.tallies.items()}
    grouped = [each for groups in profile.groups.values() for each in groups.values()]
    if grouped:
        found["grouped"] = list(grouped[0].bins)
        found["groups"] = {
            column: {name: to_json(each, bins=False) for name, each in groups.items()}
            for column, groups in profile.groups.items()
        }
    return found


def from_json(document: Mapping[str, Any], bins: Mapping[str, Bins] | None = None) -> Profile:
    """The profile that a document of `to_json` holds.

    Args:
        document: as it was read.
        bins: of the profile, where the document has none.

    Raises:
        KeyError, TypeError, ValueError: it is no such document, or counts in other bins.
    """
    if bins is None:
        bins = {name: bins_from_json(each) for name, each in document["bins"].items()}
    tallies = {name: _tally_from_json(each) for name, each in document["tallies"].items()}
    if tallies.keys() != bins.keys():
        raise ValueError("The profile counts other columns.")
    for name, tally in tallies.items():
        if tally.counts.shape != (len(bins[name]),):
            raise ValueError(f"The profile counts {name!r} in other bins.")
    grouped = {name: bins[name] for name in document.get("grouped", ())}
    groups = {
        column: {name: from_json(each, grouped) for name, each in groups.items()}
        for column, groups in document.get("groups", {}).items()
    }
    return Profile(bins, tallies, int(document["rows"]), groups)


def _same(ours: Mapping[str, Bins], others: Mapping[str, Bins]) -> bool:
    return ours.keys() == others.keys() and all(
        each.same_as(others[name]) for name, each in ours.items()
    )


def _union(ours: Mapping[str, Profile], others: Mapping[str, Profile]) -> dict[str, Profile]:
    both = {name: each + others[name] if name in others else each for name, each in ours.items()}
    return both | {name: each for name, each in others.items() if name not in both}


def bins_to_json(bins: Bins) -> dict[str, Any]:
    """A column's bins as JSON holds them."""
    if bins.kind == "category":
        rest = {"rare": list(bins.rare)} if bins.rare else {}
        return {"categories": list(bins.categories), **rest, "closed": bins.closed}
    return {
        "edges": bins.edges.tolist(),
        "low": _finite(float(bins.low)),
        "high": _finite(float(bins.high)),
    }


def bins_from_json(found: Mapping[str, Any]) -> Bins:
    """The bins that `bins_to_json` wrote."""
    if "categories" in found:
        categories, rare = tuple(found["categories"]), tuple(found.get("rare", ()))
        return Bins("category", categories=categories, rare=rare, closed=found["closed"])
    low = -np.inf if found["low"] is None else float(found["low"])
    high = np.inf if found["high"] is None else float(found["high"])
    return Bins("number", np.array(found["edges"], np.float64), low, high)


def _tally_to_json(tally: Tally) -> dict[str, Any]:
    rest = {
        "missing": tally.missing,
        "outside": tally.outside,
        "wrong": tally.wrong,
        "total": _finite(tally.total),
        "squares": _finite(tally.squares),
    }
    return {"counts": tally.counts.tolist()} | {
        name: each for name, each in rest.items() if each != 0
    }


def _tally_from_json(found: Mapping[str, Any]) -> Tally:
    missing, outside, wrong = (int(found.get(name, 0)) for name in ("missing", "outside", "wrong"))
    total, squares = (found.get(name, 0.0) for name in ("total", "squares"))
    return Tally(
        np.array(found["counts"], np.int64),
        missing,
        outside,
        wrong,
        math.nan if total is None else float(total),
        math.nan if squares is None else float(squares),
    )


def _finite(value: float) -> float | None:
    """A number as JSON has it: infinity, and sums that are none, are null."""
    return value if math.isfinite(value) else None
