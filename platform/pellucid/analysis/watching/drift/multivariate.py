"""Columns together: what no single column shows, seen in a sample of rows.

Three looks: a classifier that tries to tell window rows from reference rows, the error of
rebuilding rows from the reference's principal components, and the distance of mean features. Each
alarms by its own p-value, at the levels' part for rows, and its own effect.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from pellucid.analysis.watching.drift.levels import Levels
from pellucid.analysis.watching.drift.mmd import discrepancy
from pellucid.analysis.watching.drift.ranking import Area, area
from pellucid.analysis.watching.drift.significance import benjamini_hochberg
from pellucid.analysis.watching.drift.tables import Rows, Table, tabulate
from pellucid.analysis.watching.drift.words import percent
from pellucid.analysis.watching.profiles import Floats
from pellucid.analysis.watching.signals import Signal, Status

_FEWEST = 50  # rows of either side
_MOST = 2000  # rows of either side: more are drawn from
_FOLDS = 5
_EXPLAINED = 0.8  # of the variance, by the principal components
_NAMED = 3  # columns that a summary names


@dataclass(frozen=True)
class Look:
    """One way to compare rows, and what it found; `value` is None where it cannot be done."""

    subject: str
    statistic: str
    summary: str = ""
    value: float | None = None
    usual: float = 0.5
    low: float = 0.0
    high: float = 1.0
    p_value: float = 1.0

    def effect(self) -> float:
        """How far from what equal distributions give."""
        return abs((self.value or 0.0) - self.usual)

    def least(self) -> float:
        """The effect is at least so much, at the interval's confidence."""
        return max(0.0, self.low - self.usual, self.usual - self.high)

    def most(self) -> float:
        """The effect is at most so much."""
        return max(self.high - self.usual, self.usual - self.low)


def judge_rows(
    reference: Rows,
    window: Rows,
    *,
    levels: Levels,
    since: Mapping[str, datetime],
    start: datetime | None = None,
    seed: int = 0,
) -> list[Signal]:
    """Raw rows of a window against raw reference rows, by a classifier, a reconstruction and MMD.

    Args:
        reference: rows that the model was not trained on, so that both sides are alike new.
        window: rows with the same columns; those that one side lacks are not looked at.
        levels: what an alarm takes.
        since: key of a signal -> when it began to alarm, from the window before.
        start: of the window, from which new alarms date.
        seed: of folds, of the rows that are drawn where there are more than 2,000, of features.
    """
    rng = np.random.default_rng(seed)
    table = tabulate(_some(reference, rng), _some(window, rng))
    n, m = len(table.reference), len(table.window)
    names = (("classifier", "roc_auc"), ("reconstruction", "roc_auc"), ("mmd", "mmd"))
    if not table.names or min(n, m) < _FEWEST:
        why = f"{m:,} rows against {n:,} of the reference: too few to compare them"
        why = why if table.names else "the window and the reference have no column in common"
        return [_signal(Look(*each, why), False, levels, since, start) for each in names]
    old, new = table.dense()
    looks = [_classified(table, seed), _reconstructed(old, new, seed), _distance(old, new, seed)]
    return _signals(looks, levels.rows, levels, since, start)


def judge_vectors(
    pairs: Mapping[str, tuple[Floats, Floats]],
    *,
    levels: Levels,
    since: Mapping[str, datetime],
    start: datetime | None = None,
    seed: int = 0,
) -> list[Signal]:
    """Vectors of images, texts or embeddings, by maximum mean discrepancy.

    Args:
        pairs: what they are vectors of -> (n, d) of the reference and (m, d) of the window; rows
            that are not finite are left out.
        levels, since, start, seed: as of `judge_rows`.

    Raises:
        ValueError: the vectors of a pair have different lengths.
    """
    rng = np.random.default_rng(seed)
    looks = [_compared(subject, *pair, rng, seed) for subject, pair in pairs.items()]
    return _signals(looks, levels.contents, levels, since, start)


def _compared(
    subject: str, reference: Floats, window: Floats, rng: np.random.Generator, seed: int
) -> Look:
    if reference.shape[1:] != window.shape[1:] or reference.ndim != 2:
        raise ValueError(f"vectors of shapes {reference.shape[1:]} and {window.shape[1:]}")
    old, new = (each[np.isfinite(each).all(axis=1)] for each in (reference, window))
    if min(len(old), len(new)) < _FEWEST:
        why = f"{len(new):,} vectors against {len(old):,}: too few to compare them"
        return Look(subject, "mmd", why)
    old, new = (each[rng.permutation(len(each))[:_MOST]] for each in (old, new))
    said = "what it holds lies elsewhere than the reference's, by mean features"
    return replace(_distance(old, new, seed, subject), summary=said)


def _some(rows: Rows, rng: np.random.Generator) -> Rows:
    total = min((len(each) for each in rows.values()), default=0)
    chosen = rng.permutation(total)[:_MOST]
    return {name: np.asarray(each)[chosen] for name, each in rows.items()}


def _classified(table: Table, seed: int) -> Look:
    """The area under the curve of rows held out from the classifier, averaged over folds."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from sklearn.model_selection import StratifiedKFold

    X = np.vstack([table.reference, table.window]).clip(-1e38, 1e38)
    y = np.repeat([0, 1], [len(table.reference), len(table.window)])
    areas, model = [], None
    for train, test in StratifiedKFold(_FOLDS, shuffle=True, random_state=seed).split(X, y):
        model = HistGradientBoostingClassifier(
            max_iter=50,
            max_leaf_nodes=15,
            categorical_features=table.text,
            early_stopping=False,
            random_state=seed,
        ).fit(X[train], y[train])
        score = model.decision_function(X[test])
        areas.append(area(score[y[test] == 0], score[y[test] == 1]))
    found = Area.cross_validated(areas)
    names = [table.names[i] for i in _leaned_on(model, X[test], y[test], seed)]
    summary = (
        f"a classifier tells {percent(found.value)} of pairs of a new and a reference row apart"
        f", mostly by {', '.join(names)}"
    )
    low, high = found.limits(0.95)
    return Look(
        "classifier",
        "roc_auc",
        summary,
        found.value,
        low=low,
        high=high,
        p_value=found.p_value(two_sided=False),
    )


def _leaned_on(model: object, X: Floats, y: NDArray[np.int64], seed: int) -> list[int]:
    from sklearn.inspection import permutation_importance

    found = permutation_importance(
        model, X, y, scoring="roc_auc", n_repeats=2, random_state=seed
    ).importances_mean
    return [int(i) for i in np.argsort(-found)[:_NAMED] if found[i] > 0] or [int(found.argmax())]


def _reconstructed(old: Floats, new: Floats, seed: int) -> Look:
    """Whether rows fit the reference's correlations: components of half, errors of the rest."""
    from sklearn.decomposition import PCA

    order = np.random.default_rng(seed).permutation(len(old))
    learned, held_out = old[order[: len(old) // 2]], old[order[len(old) // 2 :]]
    rank = min(learned.shape)
    if not np.ptp(learned, axis=0).any():
        return Look("reconstruction", "roc_auc", "the reference's rows are all the same")
    components = PCA(random_state=seed).fit(learned)
    explained = np.cumsum(components.explained_variance_ratio_)
    kept = min(int(np.searchsorted(explained, _EXPLAINED)) + 1, rank)
    basis = components.components_[:kept]
    errors = []
    for rows in (held_out, new):
        centred = rows - components.mean_
        errors.append(np.linalg.norm(centred - centred @ basis.T @ basis, axis=1))
    found = area(*(np.round(each, 9) for each in errors))  # equal rows are ties, not noise
    low, high = found.limits(0.95)
    more = "less" if found.value > 0.5 else "more"
    summary = (
        f"columns go together {more} than they did, by the error of their principal components"
    )
    p_value = found.p_value(two_sided=True)
    return Look("reconstruction", "roc_auc", summary, found.value, 0.5, low, high, p_value)


def _distance(old: Floats, new: Floats, seed: int, subject: str = "mmd") -> Look:
    found = discrepancy(old, new, seed=seed)
    summary = "rows lie elsewhere than the reference's, by their mean features"
    return Look(subject, "mmd", summary, found.value, 0.0, 0.0, found.upper, found.p_value)


def _signals(
    looks: list[Look],
    level: float,
    levels: Levels,
    since: Mapping[str, datetime],
    start: datetime | None,
) -> list[Signal]:
    rejected = benjamini_hochberg(np.array([each.p_value for each in looks]), level)
    pairs = zip(looks, rejected.tolist(), strict=True)
    return [_signal(each, certain, levels, since, start) for each, certain in pairs]


def _signal(
    look: Look,
    certain: bool,
    levels: Levels,
    since: Mapping[str, datetime],
    start: datetime | None,
) -> Signal:
    threshold = levels.smallest("multivariate")
    known = look.value is not None
    status = _status(look, certain, threshold)
    said = {Status.ALARM: look.summary, Status.OK: "rows together are as in the reference"}
    unclear = "too few rows to tell a difference that matters from none"
    unclear = unclear if known else look.summary
    alarm = status is Status.ALARM
    return Signal(
        kind="multivariate",
        subject=look.subject,
        status=status,
        summary=f"{look.subject}: {said.get(status, unclear)}.",
        statistic=look.statistic,
        effect=look.effect() if known else None,
        threshold=threshold if known else None,
        p_value=look.p_value if known else None,
        reference=look.usual if known else None,
        current=look.value,
        low=look.low if known else None,
        high=look.high if known else None,
        since=since.get(f"multivariate:{look.subject}", start) if alarm else None,
    )


def _status(look: Look, certain: bool, threshold: float) -> Status:
    if look.value is None:
        return Status.UNCLEAR
    sure = look.least() > threshold if look.statistic == "roc_auc" else look.effect() >= threshold
    if certain and sure:
        return Status.ALARM
    return Status.OK if look.most() < threshold else Status.UNCLEAR
