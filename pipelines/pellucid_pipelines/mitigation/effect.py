"""What a mitigation does: gaps between groups and accuracy, on rows it never learnt from.

Gaps are measured by the code that watches live traffic (`pellucid.analysis.fairness`): rows are
people, each counted once, and limits hold for all pairs of groups together.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from torch import nn

from pellucid import plan
from pellucid.analysis.fairness.counting import count
from pellucid.analysis.fairness.criteria import Criterion, judge
from pellucid.analysis.intervals import Interval, bootstrap, wilson
from pellucid.jobs.workspace import Workspace
from pellucid_pipelines.data import Data
from pellucid_pipelines.journal import Journal
from pellucid_pipelines.loop import predict
from pellucid_pipelines.mitigation.deciding import Rule
from pellucid_pipelines.mitigation.groups import Groups, favoured

Integers = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]
Stage = Literal["before", "after"]

RATES = {
    "equalized_odds": ("true_positive_rate", "false_positive_rate"),
    "equal_opportunity": ("true_positive_rate",),
    "demographic_parity": ("selection_rate",),
}
"""Criterion -> the rates whose largest difference is its gap."""


@dataclass(frozen=True)
class Measured:
    """A number on a part of the rows, and its limits.

    `name`: a criterion's gap, `accuracy`, or `accuracy_cost`: the accuracy before less that after.
    `before`: of the likeliest classes; after: of what the rule decides, where there is one.
    """

    part: str
    stage: Stage
    name: str
    value: float
    low: float
    high: float
    rows: int


@dataclass(frozen=True)
class Mitigated:
    """What was done, and what came of it.

    Attributes:
        fairness: of the plan.
        rule: that decides after the network.
        groups: part -> group -> its rows; "" has the rows without a group.
        measured: of the validation and the test part.
    """

    fairness: plan.Fairness
    rule: Rule | None
    groups: Mapping[str, Mapping[str, int]]
    measured: Sequence[Measured]


def measure(
    network: nn.Module,
    examples: Data,
    spec: plan.Plan,
    rule: Rule | None,
    journal: Journal,
    workspace: Workspace,
) -> Mitigated | None:
    """Measure, log as `mitigation/PART/NAME`, and write tables/mitigation.parquet.

    Of thresholds, both the network's own labels (`..._before`) and those of the rule are measured.
    A mitigation in training has no network without it to compare to: train one.
    """
    fairness, groups = spec.fairness, examples.groups
    if fairness is None or groups is None:
        return None
    parts = {"validation": examples.parts.validation, "test": examples.parts.test}
    measured: list[Measured] = []
    counted = {}
    for part, rows in parts.items():
        if len(rows):
            measured += _part(part, rows, network, examples, spec, rule)
            codes = groups.codes[rows]
            names = (*groups.names, "")
            counts = np.bincount(codes, minlength=len(names)).tolist()
            counted[part] = dict(zip(names, counts, strict=True))
    journal.metrics(dict(_logged(measured)), 0)
    table = pa.Table.from_pylist([asdict(each) for each in measured])
    pq.write_table(table, workspace.tables / "mitigation.parquet")
    return Mitigated(fairness, rule, counted, measured)


def _part(
    part: str,
    rows: Integers,
    network: nn.Module,
    examples: Data,
    spec: plan.Plan,
    rule: Rule | None,
) -> Iterator[Measured]:
    target, truth = examples.target, examples.truth(rows)
    prediction = target.head()(predict(network, examples.rows(rows).inputs)).numpy()
    likeliest: Integers = prediction.argmax(axis=1)
    labels: dict[Stage, Integers] = {"after": likeliest}
    if rule is not None:
        ruled = rule.labels(prediction, rule.of_rows(examples, rows))
        labels = {"before": likeliest, "after": ruled}
    for stage, label in labels.items():
        for name, found in _numbers(label, truth, rows, examples, spec).items():
            yield Measured(part, stage, name, found.value, found.low, found.high, len(rows))
    if rule is not None:
        cost = _cost(labels["before"] == truth, labels["after"] == truth, spec)
        yield Measured(part, "after", "accuracy_cost", cost.value, cost.low, cost.high, len(rows))


def _numbers(
    label: Integers, truth: Integers, rows: Integers, examples: Data, spec: plan.Plan
) -> dict[str, Interval]:
    """The accuracy, and the gaps; each row counts once, and YES is the favourable class."""
    right, good = label == truth, favoured(spec, examples.target)
    found = {"accuracy": wilson(float(right.mean()), len(rows), spec.evaluation.confidence)}
    if good is None:  # of more classes only whether they are right can be compared
        everyone = np.arange(len(_groups(examples)))
        rates: Mapping[str, tuple[str, ...]] = {"accuracy": ("selection_rate",)}
        return found | _gaps(rates, right, right, rows, everyone, examples, spec)
    yes, is_yes = label == good, truth == good
    fewest = _groups(examples).fewest(rows, is_yes)
    enough = np.flatnonzero(fewest >= _fairness(spec).min_rows)
    return found | _gaps(RATES, yes, is_yes, rows, enough, examples, spec)


def _gaps(
    rates: Mapping[str, tuple[str, ...]],
    yes: Booleans,
    is_yes: Booleans,
    rows: Integers,
    compared: Integers,
    examples: Data,
    spec: plan.Plan,
) -> dict[str, Interval]:
    """Criterion -> the largest difference of its rates between the groups that are compared."""
    groups, confidence = _groups(examples), spec.evaluation.confidence
    place = np.full(len(groups) + 1, len(compared))
    place[compared] = np.arange(len(compared))
    codes = place[groups.codes[rows]]
    known = codes < len(compared)
    table = count(codes[known], len(compared), yes[known], is_yes[known])
    judged = judge(
        table,
        [groups.names[group] for group in compared],
        criteria=[Criterion(name, of, "difference", 0.0, "") for name, of in rates.items()],
        min_group=_fairness(spec).min_rows,
        confidence=confidence,
    )
    return {f"{each.criterion.name}_gap": each.disparity.interval for each in judged}


def _fairness(spec: plan.Plan) -> plan.Fairness:
    assert spec.fairness is not None, "asked for by the plan"
    return spec.fairness


def _groups(examples: Data) -> Groups:
    assert examples.groups is not None, "those of a fair plan"
    return examples.groups


def _cost(before: npt.NDArray[np.bool_], after: npt.NDArray[np.bool_], spec: plan.Plan) -> Interval:
    """Accuracy before less accuracy after, on the same rows."""
    lost = before.astype(np.float64) - after

    def mean(weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.asarray(weights @ lost / weights.sum(axis=-1))

    sampled = bootstrap(
        mean, len(lost), resamples=spec.evaluation.resamples, seed=spec.training.seed
    )
    return sampled.interval(spec.evaluation.confidence)


def _logged(measured: Sequence[Measured]) -> Iterator[tuple[str, float]]:
    for each in measured:
        key = f"mitigation/{each.part}/{each.name}" + ("_before" if each.stage == "before" else "")
        values: dict[str, Any] = {key: each.value, f"{key}_low": each.low, f"{key}_high": each.high}
        yield from ((name, value) for name, value in values.items() if np.isfinite(value))
