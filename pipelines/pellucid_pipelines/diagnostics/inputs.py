"""Rules over the rows that a network gets, before its first step."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from pellucid_pipelines.diagnostics.findings import Finding, found
from pellucid_pipelines.features import Features

LEAK = 0.99  # AUC, or R2, of a column alone
RARE = 0.05  # share of the rarest class, of two
FURTHER = 1000.0  # spreads from the median
RATIO = 100.0  # largest over smallest deviation of two inputs
FAR = 10.0  # a typical deviation; 1 is what standardised inputs have
SHARED = 0.05  # of the validation rows
_ROWS = 4096  # enough for every rule here
_BINS = 32
_FEWEST = 150  # rows; on a half of fewer, an honest column may be without an error by chance

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rows:
    """Rows as a network gets them: inputs (N, *shape), targets (N,) or (N, steps ahead).

    `classes` is 0 for regression; class indices are whole numbers from 0.
    """

    inputs: Floats
    targets: Floats
    classes: int


def check(train: Rows, validation: Rows, features: Features, balanced: bool) -> Iterator[Finding]:
    """Every rule that fits the kind of input.

    Args:
        train, validation: the rows.
        features: what the inputs are.
        balanced: whether the loss makes up for rare classes.
    """
    train, validation = _finite(train), _finite(validation)
    if len(train.targets) == 0:
        return
    yield from imbalance(train, balanced)
    if features.modality == "tabular":
        yield from leakage(train, features)
        yield from constants(train.inputs, features)
    if features.modality in ("tabular", "sequence"):
        yield from scales(train.inputs, features)
        yield from extremes(train.inputs, features)
    yield from shared(train, validation)


def imbalance(train: Rows, balanced: bool) -> Iterator[Finding]:
    """The rarest class has few of the rows."""
    if train.classes < 2:
        return
    counts = np.bincount(train.targets.astype(np.int64).ravel(), minlength=train.classes)
    share = counts.min() / counts.sum()
    if share < min(RARE, 0.25 / train.classes):
        yield found(
            "class_imbalance",
            f"The rarest class has {counts.min():,} of {counts.sum():,} training rows ({share:.1%})"
            + (", which the loss makes up for." if balanced else "."),
            "info" if balanced else "warning",
            evidence={"share": share},
        )


def leakage(train: Rows, features: Features) -> Iterator[Finding]:
    """A column alone predicts the target nearly perfectly.

    The column is cut into bins of equal counts (a category is a bin). Bins learnt on one half of
    the rows predict the other half; of numbers also the correlation counts.
    """
    if len(train.targets) < _FEWEST or train.targets.ndim > 1:
        return
    some = _sample(len(train.targets))
    inputs, targets = train.inputs[some], train.targets[some]
    best, best_score = "", 0.0
    for name, block in features.blocks.items():
        values = inputs[:, block]
        numeric = block.start in features.numeric or values.shape[1] == 1
        codes = _bins(values[:, 0]) if numeric else values.argmax(axis=1) + values.any(axis=1)
        numbers = values[:, 0] if numeric else None
        score = _skill(codes.astype(np.int64), numbers, targets, train.classes)
        if score > best_score:
            best, best_score = name, score
    if best_score >= LEAK:
        what = "ROC-AUC" if train.classes else "R²"
        yield found(
            "suspected_leakage",
            f"The column {best} alone predicts the target with {what} {best_score:.3f} on rows it "
            "was not fitted to.",
            evidence={"score": best_score},
        )


def constants(inputs: Floats, features: Features) -> Iterator[Finding]:
    """Columns without any variation; a warning where they are half of all or more."""
    still = np.ptp(inputs, axis=0) == 0
    names = [name for name, block in features.blocks.items() if still[block].all()]
    if names:
        listed = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
        yield found(
            "constant_inputs",
            f"{len(names)} of {len(features.blocks)} columns have one value in all training rows: "
            f"{listed}.",
            "warning" if len(names) >= max(2, len(features.blocks) / 2) else "info",
            evidence={"columns": len(names)},
        )


def scales(inputs: Floats, features: Features) -> Iterator[Finding]:
    """Inputs of very different, very large or very uneven scale."""
    flat, names = _numeric(inputs, features)
    flat = flat[_sample(len(flat))]
    deviation, mean = flat.std(axis=0), flat.mean(axis=0)
    varies = deviation > 1e-12
    if len(flat) < 2 or not varies.any():
        return
    spread, middle = deviation[varies], np.abs(mean[varies])
    kept = [name for name, there in zip(names, varies, strict=True) if there]
    size = np.hypot(spread, middle)
    ratio = float(spread.max() / spread.min())
    largest = int(size.argmax())
    if ratio > RATIO or size[largest] > FAR:
        yield found(
            "unscaled_inputs",
            f"{kept[largest]} reaches the network with mean {mean[varies][largest]:.3g} and "
            f"standard deviation {spread[largest]:.3g} (0 and 1 are usual); the largest deviation "
            f"is {ratio:.3g} times the smallest.",
            evidence={"ratio": ratio, "size": float(size[largest])},
        )


def extremes(inputs: Floats, features: Features) -> Iterator[Finding]:
    """Values that are very far from the middle, measured by the spread of the middle half."""
    flat, names = _numeric(inputs, features)
    if len(flat) == 0 or flat.shape[1] == 0:
        return
    low, middle, high = np.quantile(flat[_sample(len(flat))], (0.25, 0.5, 0.75), axis=0)
    spread = (high - low) / 1.349  # the standard deviation, if they were normal
    varies = spread > 1e-9 * np.abs(middle)
    reach = np.maximum(flat.max(axis=0) - middle, middle - flat.min(axis=0))
    furthest = np.where(varies, reach / np.where(varies, spread, 1), 0)
    worst = int(furthest.argmax())
    if furthest[worst] > FURTHER / 10:
        yield found(
            "extreme_values",
            f"{names[worst]} has a value {furthest[worst]:,.0f} times the usual spread from its "
            "median.",
            "warning" if furthest[worst] > FURTHER else "info",
            evidence={"spreads": float(furthest[worst])},
        )


def shared(train: Rows, validation: Rows) -> Iterator[Finding]:
    """Validation rows that stand among the training rows.

    Where every input is a category or a small whole number, equal rows are to be expected: that
    is only told.
    """
    given, held_out = _flat(train.inputs), _flat(validation.inputs)
    if len(held_out) == 0 or given.shape[1] == 0:
        return
    known = _hashes(given)
    share = float(np.isin(_hashes(held_out), known).mean())
    if share < SHARED:
        return
    some = given[_sample(len(given))]
    distinct = len(np.unique(_hashes(some)))
    fine = max(len(np.unique(column)) for column in some[:, :64].T) >= 0.3 * distinct
    chance = not fine and given.shape[1] < 64
    yield found(
        "shared_rows",
        f"{share:.0%} of {len(held_out):,} validation rows have the same inputs as a training row"
        + (", as columns of few values make likely." if chance else "."),
        "info" if chance else "warning",
        evidence={"share": share},
    )


def _finite(rows: Rows) -> Rows:
    """Those that are: of the others, the loop will tell."""
    if rows.inputs.dtype.kind != "f":
        return rows
    fine = np.isfinite(_flat(rows.inputs)).all(axis=1)
    return rows if fine.all() else Rows(rows.inputs[fine], rows.targets[fine], rows.classes)


def _skill(codes: npt.NDArray[np.int64], numbers: Floats | None, y: Floats, classes: int) -> float:
    half = np.arange(len(y)) % 2 == 0
    size = int(codes.max()) + 1
    count = np.bincount(codes[half], minlength=size) + 1.0

    def learnt(values: Floats) -> Floats:
        total = np.bincount(codes[half], weights=values[half], minlength=size) + values[half].mean()
        return np.asarray((total / count)[codes[~half]])

    if not classes:
        rest = y[~half]
        scores = [1 - float(np.mean((rest - learnt(y)) ** 2) / max(rest.var(), 1e-300))]
        if numbers is not None and numbers.std() > 0:
            scores.append(float(np.corrcoef(numbers, y)[0, 1] ** 2))
        return max(scores)
    areas = []
    for label in range(1, 2) if classes == 2 else range(classes):
        truth = y == label
        if 5 <= truth[~half].sum() <= (~half).sum() - 5:
            areas.append(_auc(learnt(truth.astype(np.float64)), truth[~half]))
    return min(areas, default=0.0)


def _auc(score: Floats, truth: npt.NDArray[np.bool_]) -> float:
    """The Mann-Whitney statistic: ties count half."""
    positives, negatives = int(truth.sum()), int((~truth).sum())
    rank = rankdata(score)[truth].sum() - positives * (positives + 1) / 2
    return float(rank / (positives * negatives))


def _bins(values: Floats) -> npt.NDArray[np.int64]:
    """(N,) the bin of each value, of about equal counts; equal values share one."""
    ranks = rankdata(values, method="min") - 1
    return np.asarray(ranks * _BINS // len(values), dtype=np.int64)


def _numeric(inputs: Floats, features: Features) -> tuple[Floats, list[str]]:
    """(N, inputs that are numbers on a scale), and what they are called."""
    if features.modality == "sequence":
        steps = inputs.reshape(-1, inputs.shape[-1])
        there = steps[steps[:, -1] > 0]
        return there[:, :-1], [f"Channel {i}" for i in range(steps.shape[1] - 1)]
    owner = {i: name for name, b in features.blocks.items() for i in range(b.start, b.stop)}
    chosen = list(features.numeric)
    return inputs[:, chosen], [f"Column {owner.get(i, i)}" for i in chosen]


def _sample(count: int) -> npt.NDArray[np.int64]:
    """At most `_ROWS` of the rows, evenly."""
    return np.unique(np.linspace(0, count - 1, min(count, _ROWS)).astype(np.int64))


def _flat(inputs: Floats) -> Floats:
    return np.ascontiguousarray(inputs.reshape(len(inputs), math.prod(inputs.shape[1:])))


def _hashes(rows: Floats) -> npt.NDArray[np.int64]:
    """(N,) one whole number per row, from its bytes; equal rows have equal ones."""
    return np.array([hash(row.tobytes()) for row in rows + rows.dtype.type(0)], dtype=np.int64)
