"""Accuracy estimated before labels, against what it turned out to be (CBPE)."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from inference.acceptance import Promise

from pellucid.analysis.scores import SCORES
from pellucid.analysis.watching.estimation import Answers, classification, density_ratio
from pellucid.datasets import synthetic
from watching.scale import Scale

TITLE = "Estimated accuracy"
TRAINING_ROWS, REFERENCE_ROWS, WINDOW_ROWS = 20_000, 10_000, 10_000
SHIFTS = (0.0, 0.25, 0.5, 0.75, 1.0)
REPEATS = 20
_ACCURACY = SCORES["accuracy"]
_LEFT_OUT = ("application", "sex", "age_group", "default")


def measure(scale: Scale) -> dict[str, Any]:
    """Estimates and truth of simulated credit applications, as they shift more and more."""
    repeats = scale.rows(REPEATS, least=2)
    found: dict[str, Any] = {"repeats": repeats, "covariate": [], "concept": []}
    runs = list(scale.map(partial(simulate, SHIFTS), range(repeats)))
    for kind in ("covariate", "concept"):
        for place, shift in enumerate(SHIFTS):
            rows = [run[kind][place] for run in runs]
            gaps = [abs(row["weighted"] - row["realised"]) for row in rows]
            means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
            found[kind].append(
                {"shift": shift, **means, "gap": float(np.mean(gaps)), "largest": max(gaps)}
            )
    return found


def promises(found: dict[str, Any]) -> Iterator[Promise]:
    gaps = [100 * each["gap"] for each in found["covariate"]]
    text = "covariate shift: |estimated - realised accuracy| in points, mean of the worst shift"
    yield Promise(text, max(gaps), 1.5, at_most=True)
    first, *_, last = found["concept"]
    text = "concept shift: movement of the estimate over that of the accuracy (it cannot see it)"
    moved = abs(last["weighted"] - first["weighted"]) / abs(last["realised"] - first["realised"])
    yield Promise(text, moved, 0.2, at_most=True)


def page(found: dict[str, Any]) -> Iterator[str]:
    yield (
        f"Gradient boosting on {TRAINING_ROWS:,} simulated credit applications, "
        f"{REFERENCE_ROWS:,} held-out rows as reference, windows of {WINDOW_ROWS:,} rows without "
        f"labels, {found['repeats']} of each, each with a model of its own. Covariate shift: other "
        "applicants, the same P(default | application). Concept shift: the same applicants, for "
        "whom other things make a default likely; **no estimate without labels can see that**, and "
        "these do not. 0: no shift, 1: strong."
    )
    for kind in ("covariate", "concept"):
        yield ""
        yield (
            f"| {kind} shift | realised | CBPE | CBPE, importance-weighted | mean gap of that "
            "| largest | 95% limits hold it |"
        )
        yield "|---:|---:|---:|---:|---:|---:|---:|"
        for each in found[kind]:
            names = ("realised", "plain", "weighted", "gap", "largest")
            cells = " | ".join(f"{each[name]:.1%}" for name in names)
            yield f"| {each['shift']:g} | {cells} | {each['held']:.0%} |"


def simulate(shifts: tuple[float, ...], seed: int) -> dict[str, list[dict[str, float]]]:
    """A model, and what is estimated of windows that shift."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    rows, truth = _drawn(TRAINING_ROWS, 100 * seed)
    model = HistGradientBoostingClassifier(random_state=seed).fit(rows, truth)
    reference = _drawn(REFERENCE_ROWS, 100 * seed + 1)
    found: dict[str, list[dict[str, float]]] = {"covariate": [], "concept": []}
    for place, shift in enumerate(shifts):
        for kind, told in found.items():
            number = 100 * seed + 2 + 2 * place + (kind == "concept")
            window = _drawn(WINDOW_ROWS, number, **{f"{kind}_drift": shift})
            told.append(_estimated(model, reference, window))
    return found


def _estimated(
    model: Any, reference: tuple[pd.DataFrame, Any], window: tuple[pd.DataFrame, Any]
) -> dict[str, float]:
    known, said = _answers(model, reference[0]), _answers(model, window[0])
    weight = density_ratio(reference[0].to_numpy(float), window[0].to_numpy(float))
    estimate = partial(classification, [_ACCURACY], said, known, reference[1])
    plain, weighted = estimate()["accuracy"], estimate(weight=weight)["accuracy"]
    realised = float((said.label == window[1]).mean())
    return {
        "realised": realised,
        "plain": plain.value,
        "weighted": weighted.value,
        "held": float(weighted.low <= realised <= weighted.high),
    }


def _answers(model: Any, rows: pd.DataFrame) -> Answers:
    probability = model.predict_proba(rows)
    return Answers(probability, probability.argmax(axis=1))


def _drawn(rows: int, seed: int, **drift: float) -> tuple[pd.DataFrame, Any]:
    """Applications as numbers, categories by their place in the alphabet, and their outcome."""
    table, _ = synthetic.credit(rows, seed=seed, **drift)
    frame = table.drop_columns(list(_LEFT_OUT)).to_pandas()
    for name in frame.columns[[not pd.api.types.is_numeric_dtype(kind) for kind in frame.dtypes]]:
        frame[name] = frame[name].map({v: i for i, v in enumerate(sorted(frame[name].unique()))})
    return frame.astype(float), table["default"].to_numpy()
