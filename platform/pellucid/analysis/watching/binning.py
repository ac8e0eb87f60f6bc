"""Bins for a column, learnt from its reference rows and fixed from then on.

Numbers are cut at quantiles, so that no outlier makes the bins of all others coarse, and a value
that many rows share has a bin of its own. Whole numbers of which there are few have one bin each.
"""

import math
from collections.abc import Collection, Mapping

import numpy as np

from pellucid.analysis.watching.profiles import Bins, Floats

_MOST_BINS = 100  # of numbers, beside those of frequent values
_ROWS_A_BIN = 8
_MOST_WHOLE = 128  # whole numbers with one bin each
_MOST_CATEGORIES = 200
_MOST_NAMED = 10_000  # strings in all
_NOVEL = 0.01  # expected share of new strings above which a column has no closed list


def bins_of_numbers(values: Floats) -> Bins:
    """Bins of a column of numbers.

    Args:
        values: (rows,) of the reference; NaN is missing, infinite ones do not count.

    Returns:
        Bins of about equal share, no more than one for 8 rows and about 100 in all. A value that
        at least such a share of the rows has is a bin alone. No bin is empty.
    """
    known, counts = np.unique(values[np.isfinite(values)], return_counts=True)
    if not len(known):
        return Bins("number")
    low, high = float(known[0]), float(known[-1])
    if len(known) <= _MOST_WHOLE and not (known % 1).any():
        return Bins("number", known[:-1], low, high)
    total = int(counts.sum())
    share = total / min(_MOST_BINS, max(1, total // _ROWS_A_BIN))
    frequent = (counts >= share) & (counts > 1)
    alone = known[frequent]
    others, weights = known[~frequent], counts[~frequent]
    place = ((np.cumsum(weights) - weights / 2) / share).astype(np.int64)
    ends = others[:-1][place[:-1] != place[1:]]
    edges = np.unique(np.concatenate([ends, alone, np.nextafter(alone, -np.inf)]))
    edges = edges[(edges >= low) & (edges < high)]
    held = np.diff(known.searchsorted(edges, side="right"), prepend=0)
    return Bins("number", edges[held > 0], low, high)


def bins_of_strings(counts: Mapping[str, int], possible: Collection[str] = ()) -> Bins:
    """Bins of a column of strings.

    Args:
        counts: string -> how many reference rows have it; "" is missing and does not count.
        possible: all that there can be, where that is known, as of a model's labels.

    Returns:
        Up to 200 strings share no bin with another: all of them, or where there are more, those
        that are clearly more frequent than the first that is left out, by two standard errors on
        either side (of the square root of a count it is 1/2: Anscombe, 1948). Had noise decided
        which to take, the taken ones would be rarer in all later rows. The others are named too,
        unless there are more than 10,000, or new ones must be expected all the time: the share of
        the rows whose string is the only one of its kind estimates the chance that the next one is
        new (Good, 1953), and above 1% the list is not closed.
    """
    known = dict.fromkeys(possible, 0) | {name: n for name, n in counts.items() if name}
    order = sorted(known, key=lambda name: (-known[name], name))
    total, once = sum(known.values()), sum(count == 1 for count in known.values())
    closed = bool(possible) or (len(order) <= _MOST_NAMED and once <= max(1.0, _NOVEL * total))
    taken = len(order)
    if len(order) > _MOST_CATEGORIES or not closed:
        left = known[order[_MOST_CATEGORIES]] if len(order) > _MOST_CATEGORIES else 1
        taken = sum(math.sqrt(known[name]) > math.sqrt(left) + 2 for name in order)
    rare = tuple(order[taken:]) if closed else ()
    return Bins("category", categories=tuple(order[:taken]), rare=rare, closed=closed)
