"""Fairness on held-out rows: the same audit as of live traffic, and the groups that both go by."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from pellucid import plan, sensitive
from pellucid.analysis.fairness.auditing import Audit, criteria_records, outcomes_of
from pellucid.bundle import Input
from pellucid.errors import InvalidPlan
from pellucid.schema import Role
from pellucid_pipelines.data import Data
from pellucid_pipelines.tensors import Target, seed_of

_LEARNT_FROM = 100_000  # training rows
Record = dict[str, Any]


@dataclass(frozen=True)
class Fairness:
    """What the audit found, as rows of tables; `Audit` and `criteria_records` name their columns.

    Attributes:
        outcomes: the classes that were looked at; none of a regression.
        metrics: by group, each with limits.
        criteria: disparities and the verdicts on them.
        impact: selection rates and impact ratios. Selected: given the outcome; of a regression, a
            prediction above the median.
    """

    outcomes: tuple[str, ...] = ()
    metrics: list[Record] = field(default_factory=list)
    criteria: list[Record] = field(default_factory=list)
    impact: list[Record] = field(default_factory=list)


def check(spec: plan.Plan, target: Target) -> None:
    """Refuse a favourable class that is none.

    Raises:
        InvalidPlan: it is none of the target's.
    """
    named, classes = spec.evaluation.favourable, [str(each) for each in target.classes]
    if named is not None and named not in classes:
        raise InvalidPlan(
            f"evaluation.favourable {named!r} is no class of {target.name!r}.",
            where={"path": "evaluation.favourable"},
            remedy=f"Its classes are: {', '.join(classes)}." if classes else "Leave it out.",
        )


def described(examples: Data, seed: int) -> tuple[Input, ...]:
    """The sensitive columns as the manifest has them: their groups are those of training rows."""
    columns = examples.schema.having(Role.SENSITIVE)
    if not columns:
        return ()
    rows = examples.sample(examples.parts.train, _LEARNT_FROM, seed_of("sensitive", seed))
    found = [sensitive.learn(column, rows.column(column.name)) for column in columns]
    return tuple(each for each in found if each is not None)


def audit(
    truth: np.ndarray,
    prediction: np.ndarray,
    label: np.ndarray | None,
    examples: Data,
    spec: plan.Plan,
) -> Fairness | None:
    """The audit of the test rows, each counted once, whatever its weight; None without groups.

    Args:
        truth: (N,) class indices or values, (N, steps) of a forecast.
        prediction: (N, K) probabilities, or values as the truth.
        label: (N,) classes that were decided on; None: the most probable ones.
        examples: the run's data.
        spec: the resolved plan.
    """
    columns = described(examples, spec.training.seed)
    if not columns:
        return None
    rows: pa.Table = examples.take(examples.parts.test)
    coded = [sensitive.coded(each, rows.column(each.name)) for each in columns]
    target, told = examples.target, spec.evaluation
    options: Any = {"min_group": told.min_group, "confidence": told.confidence}
    if target.classes:
        names = [str(each) for each in target.classes]
        positive = None if target.positive is None else names[target.positive]
        found = Audit(outcomes_of(names, told.favourable, positive))
        label = prediction.argmax(1) if label is None else label
        found.add(coded, label, truth, np.clip(prediction, 0, 1))
        impact = found.impact(**options)
    else:
        value, true = (np.asarray(a, np.float64).reshape(len(a), -1).mean(1)
                       for a in (prediction, truth))  # fmt: skip
        found = Audit({}, float(value.mean()), float(value.std()) or 1.0)
        found.add_numbers(coded, value, true)
        impact = found.above_median(coded, value)
    criteria = criteria_records(found.judge(**options))
    return Fairness(tuple(found.outcomes), found.metrics(told.confidence), criteria, impact)
