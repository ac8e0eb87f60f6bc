"""What each column is worth to the score, and a second opinion on what it does to single rows."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pellucid import plan
from pellucid.analysis.intervals import Interval
from pellucid.analysis.permutation import permutation_importance
from pellucid.analysis.scores import SCORES, Outcomes
from pellucid.analysis.surrogates import local_linear, neighbours, rank_correlations
from pellucid_pipelines.data import Data, drawn
from pellucid_pipelines.explain import Explained
from pellucid_pipelines.global_explanation.subject import Floats, Subject
from pellucid_pipelines.tensors import seed_of

_SHUFFLES = 4
_ROWS, _FEWEST_ROWS = 1000, 100
_COLUMNS = 50
_RESAMPLES = 400
_SHUFFLE_COST = 5e10  # operations: a second or two of a core
_LIME_ROWS, _LIME_FEWEST, _LIME_SAMPLES = 48, 8, 500
LIME_COLUMNS = 300  # more cannot be told apart with so few neighbours
_LIME_COST = 3e10
_LIME_PIECE = 2**24  # numbers of mixed rows held at once


@dataclass(frozen=True)
class SecondOpinion:
    """What LIME says of some explained rows, for one output of each.

    Attributes:
        rows: which of the explained rows.
        effects: (rows, columns) in the unit of the SHAP values.
        shap: (rows, columns) the SHAP values of the same output.
        fidelity: (rows,) weighted R2 of the surrogates.
        agreement: (rows,) Spearman's correlation with the SHAP values.
    """

    rows: np.ndarray
    effects: Floats
    shap: Floats
    fidelity: Floats
    agreement: Floats

    def scores(self) -> dict[str, float]:
        """The means over rows, of those that are defined."""
        named = {"agreement": self.agreement, "fidelity": self.fidelity}
        known = {name: values[np.isfinite(values)] for name, values in named.items()}
        return {name: float(values.mean()) for name, values in known.items() if len(values)}


def permuted(
    subject: Subject, examples: Data, metric: str, order: Sequence[str], spec: plan.Plan
) -> dict[str, Interval]:
    """Column -> by how much the metric gets worse on test rows, of the first columns of `order`.

    A sample of the test rows where there are many or the network is slow; then fewer columns.
    """
    seed = seed_of("permutation importance", spec.training.seed)
    affordable = subject.affordable(_SHUFFLE_COST) // _SHUFFLES
    count = min(len(order), _COLUMNS, max(1, affordable // _FEWEST_ROWS))
    most = min(_ROWS, max(_FEWEST_ROWS, affordable // count))
    rows = drawn(examples.parts.test, most, seed)
    dense = examples.rows(rows).inputs
    outcomes = Outcomes(examples.truth(rows), subject.prediction(dense), examples.target.positive)
    generator = np.random.default_rng(seed)
    names = list(order[:count])
    predictions = [
        [
            _shuffled(subject, dense, subject.columns.index(name), generator)
            for _ in range(_SHUFFLES)
        ]
        for name in names
    ]
    found = permutation_importance(
        SCORES[metric],
        outcomes,
        predictions,
        weight=examples.weights(rows),
        resamples=min(_RESAMPLES, spec.evaluation.resamples),
        confidence=spec.evaluation.confidence,
        seed=seed,
    )
    return dict(zip(names, found, strict=True))


def second_opinion(
    subject: Subject, explained: Explained, background: torch.Tensor, seed: int
) -> SecondOpinion:
    """LIME on some of the explained rows, spread evenly; neighbours take values of background rows.

    Args:
        subject: the model.
        explained: rows and SHAP values.
        background: (B, *shape) training rows.
        seed: of the neighbours.
    """
    generator = np.random.default_rng(seed_of("lime", seed))
    columns = len(explained.columns)
    affordable = subject.affordable(_LIME_COST)
    samples = max(10 * columns, min(_LIME_SAMPLES, affordable // _LIME_ROWS))
    count = min(len(explained.rows), _LIME_ROWS, max(_LIME_FEWEST, affordable // samples))
    rows = np.linspace(0, len(explained.rows) - 1, count).astype(int)
    output = explained.prediction[rows].argmax(axis=1)
    found = []
    for dense, chosen in zip(subject.dense(explained.rows.take(rows)), output, strict=True):
        kept = neighbours(1, samples, columns, generator)
        outcome = _outcome(subject, dense, background, kept[0], generator)[:, chosen]
        found.append(local_linear(kept, outcome[np.newaxis]))
    effects = np.concatenate([each.effects for each in found])
    fidelity = np.concatenate([each.fidelity for each in found])
    shap = explained.values[rows, :, output]
    return SecondOpinion(rows, effects, shap, fidelity, rank_correlations(effects, shap))


def _shuffled(
    subject: Subject, dense: torch.Tensor, column: int, generator: np.random.Generator
) -> np.ndarray:
    """Predictions after one column's values have changed rows."""
    kept = torch.ones(len(dense), len(subject.columns), dtype=torch.bool)
    kept[:, column] = False
    others = dense[torch.from_numpy(generator.permutation(len(dense)))]
    return subject.prediction(subject.mixed(dense, others, kept))


def _outcome(
    subject: Subject,
    row: torch.Tensor,
    background: torch.Tensor,
    kept: np.ndarray,
    generator: np.random.Generator,
) -> Floats:
    """(S, outputs) of a row's neighbours."""
    others = generator.integers(0, len(background), size=len(kept))
    step = max(1, _LIME_PIECE // row.numel())
    found = []
    for start in range(0, len(kept), step):
        piece = torch.from_numpy(kept[start : start + step])
        mixed = subject.mixed(
            row.expand(len(piece), *row.shape), background[others[start : start + step]], piece
        )
        found.append(subject.raw(mixed))
    return np.concatenate(found)
