"""Scores by group of a sensitive column: any score x groups x {min, max, difference, ratio}.

Groups come from the column's values:

- up to `MAX_GROUPS` distinct values: each is a group;
- more, and numbers or dates: four bins of about equal size, cut at the quartiles of the rows given
  ("19 to 26", both ends included; bins that ties make equal are merged);
- more, and anything else: the most frequent ones, and all the rest as "(other)";
- rows without a value are a group of their own, "(missing)".
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Literal

import numpy as np

from pellucid.analysis.calibration import Floats
from pellucid.analysis.intervals import Interval, Sampled, bootstrap
from pellucid.analysis.scores import Outcomes, Score

MAX_GROUPS = 12
MISSING = "(missing)"
OTHER = "(other)"
Verdict = Literal[
    "better", "worse", "no difference shown", "too few rows", "undefined", "not comparable"
]

# Of pairs (..., 2): the smallest and the largest of the groups' values.
AGGREGATES: dict[str, Callable[[Floats], Floats]] = {
    "min": lambda pair: pair[..., 0],
    "max": lambda pair: pair[..., 1],
    "difference": lambda pair: pair[..., 1] - pair[..., 0],
    "ratio": lambda pair: np.where(pair.min(-1) >= 0, pair[..., 0] / pair[..., 1], np.nan),
}


@dataclass(frozen=True)
class Group:
    """The rows (indices, rising) that share a value of a column."""

    column: str
    name: str
    rows: np.ndarray


@dataclass(frozen=True)
class GroupScore:
    """A score in one group, and how it compares with that of all rows.

    The verdict is "better" or "worse" where the interval of the group's score minus that of all
    rows lies on one side of 0, in the score's direction. With many groups and scores some
    verdicts arise by chance: one in twenty at a confidence of 0.95.
    """

    group: Group
    score: Score
    interval: Interval
    verdict: Verdict


@dataclass(frozen=True)
class Disparity:
    """An aggregate of a score over a column's groups, without those that have too few rows.

    0 is equality for the difference, 1 for the ratio. The two groups are chosen because they are
    extreme among G, so the limits (those of the same two groups, resample by resample) are taken
    at a confidence raised for that choice (Bonferroni over the pairs): where the limits of the
    difference exclude 0, the groups do differ.
    """

    column: str
    score: Score
    aggregate: str
    interval: Interval


@dataclass(frozen=True)
class Comparison:
    """The scores of all rows, of every group, and over every column's groups."""

    overall: dict[str, Interval]
    groups: list[GroupScore]
    disparities: list[Disparity]


def groups_of(column: str, values: np.ndarray) -> list[Group]:
    """The groups of a column, in order, as the module's text says.

    Args:
        column: its name.
        values: (N,) of any type; None, NaN, NaT and "" are missing.
    """
    if np.issubdtype(values.dtype, np.datetime64):
        values = values.astype("datetime64[s]")
    cells = values.tolist()
    names = _bins(cells) if _needs_bins(cells) else [_name(cell) for cell in cells]
    frequent = [name for name, _ in Counter(names).most_common() if name != MISSING]
    if len(frequent) > MAX_GROUPS:
        kept = {*frequent[: MAX_GROUPS - 1], MISSING}
        names = [name if name in kept else OTHER for name in names]
    first = {name: cell for cell, name in zip(cells, names, strict=True)}
    label = np.array(names, dtype=object)
    order = sorted(first, key=lambda name: _position(name, first[name]))
    return [Group(column, name, np.flatnonzero(label == name)) for name in order]


def compare_groups(
    scores: Sequence[Score],
    outcomes: Outcomes,
    sensitive: Mapping[str, np.ndarray],
    *,
    weight: np.ndarray | None = None,
    min_group: int = 20,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Every score on all rows, in every group, and over the groups, with bootstrap intervals.

    All of them are taken on the same resamples of all rows, so a group and the whole it belongs
    to vary together, as they do.

    Args:
        scores: of the outcomes' task.
        outcomes: N rows.
        sensitive: column name to its values (N,).
        weight, resamples, seed: as in `intervals.bootstrap`.
        min_group: smaller groups get no verdict and take no part in disparities.
        confidence: of the intervals.
    """
    groups = [group for name, values in sensitive.items() for group in groups_of(name, values)]
    parts = [(outcomes.take(group.rows), group.rows) for group in groups]

    def statistic(weights: np.ndarray) -> np.ndarray:
        """(R, N) to (R, 1 + groups, scores); all rows come first."""
        subsets = [(outcomes, weights)] + [
            (part, weights.take(rows, axis=1)) for part, rows in parts
        ]
        return np.stack(
            [np.stack([s.weighted(rows, w) for s in scores], -1) for rows, w in subsets], axis=1
        )

    sampled = bootstrap(statistic, len(outcomes), weight=weight, resamples=resamples, seed=seed)
    return Comparison(
        {score.name: sampled.interval(confidence, 0, s) for s, score in enumerate(scores)},
        _group_scores(groups, scores, sampled, min_group, confidence),
        _disparities(groups, scores, sampled, min_group, confidence),
    )


def _group_scores(
    groups: Sequence[Group],
    scores: Sequence[Score],
    sampled: Sampled,
    min_group: int,
    confidence: float,
) -> list[GroupScore]:
    gaps = sampled.map(lambda values: values - values[..., :1, :])
    found = []
    for g, group in enumerate(groups, start=1):
        for s, score in enumerate(scores):
            interval = sampled.interval(confidence, g, s)
            if len(group.rows) < min_group:
                verdict: Verdict = "too few rows"
            elif not score.comparable:
                verdict = "not comparable"
            else:
                verdict = _verdict(score, gaps.interval(confidence, g, s))
            found.append(GroupScore(group, score, interval, verdict))
    return found


def _verdict(score: Score, gap: Interval) -> Verdict:
    if np.isnan(gap.low):
        return "undefined"
    if gap.low <= 0 <= gap.high:
        return "no difference shown"
    return "better" if score.sign * gap.value > 0 else "worse"


def _disparities(
    groups: Sequence[Group],
    scores: Sequence[Score],
    sampled: Sampled,
    min_group: int,
    confidence: float,
) -> list[Disparity]:
    found = []
    for column in dict.fromkeys(group.column for group in groups):
        members = np.array(
            [
                g
                for g, group in enumerate(groups, start=1)
                if group.column == column and len(group.rows) >= min_group
            ],
            dtype=np.int64,
        )
        for s, score in enumerate(scores):
            values = sampled.value[members, s]
            ranked = members[np.argsort(values)][: np.isfinite(values).sum()]  # NaN sorts last
            if len(ranked) > 1 and score.comparable:
                of_score = sampled.map(itemgetter((..., ranked, s)))
                over = _aggregates(of_score, len(ranked), confidence)
                found += [Disparity(column, score, name, limits) for name, limits in over.items()]
    return found


def _aggregates(ranked: Sampled, groups: int, confidence: float) -> dict[str, Interval]:
    """All aggregates of values (..., groups) that rise along the groups."""
    pairs = groups * (groups - 1) / 2
    raised = 1 - (1 - confidence) / pairs
    extremes = ranked.map(itemgetter((..., [0, -1])))
    with np.errstate(divide="ignore", invalid="ignore"):
        return {name: extremes.map(of).interval(raised) for name, of in AGGREGATES.items()}


def _needs_bins(cells: list[Any]) -> bool:
    distinct = {cell for cell in cells if not _is_missing(cell)}
    return len(distinct) > MAX_GROUPS and not any(isinstance(cell, str) for cell in distinct)


def _bins(cells: list[Any]) -> list[str]:
    known = np.array([cell for cell in cells if not _is_missing(cell)])
    ordered = np.sort(known)
    edges = np.unique(ordered[[len(ordered) * q // 4 - 1 for q in (1, 2, 3)]])
    number = np.searchsorted(edges, known)  # an edge belongs to the bin below it
    spans = {}
    for b in np.unique(number):
        inside = known[number == b].tolist()
        low, high = _name(min(inside)), _name(max(inside))
        spans[b] = low if low == high else f"{low} to {high}"
    named = iter(number)
    return [MISSING if _is_missing(cell) else spans[next(named)] for cell in cells]


def _is_missing(cell: Any) -> bool:
    return cell is None or cell == "" or cell != cell  # NaN differs from itself


def _name(cell: Any) -> str:
    if _is_missing(cell):
        return MISSING
    if isinstance(cell, float):
        return str(int(cell)) if cell.is_integer() else f"{cell:.6g}"
    return str(cell).removesuffix(" 00:00:00")  # of a date


def _position(name: str, cell: Any) -> tuple[int, int, Any]:
    if name in (OTHER, MISSING):
        return 1, (OTHER, MISSING).index(name), ""
    return (0, 1, cell) if isinstance(cell, str) else (0, 0, cell)
