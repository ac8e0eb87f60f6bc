"""Labels by each group's threshold, chosen on the validation part after training."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from pellucid import bundle, decisions, plan
from pellucid.analysis.thresholds import RATES, Curve, at_rate, equalized
from pellucid.bundle import Datatype, Input
from pellucid_pipelines.data import Data
from pellucid_pipelines.loop import predict
from pellucid_pipelines.mitigation.groups import favoured

Integers = npt.NDArray[np.int64]
Thresholds = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Rule:
    """When a row is given the positive class; see `pellucid.decisions`.

    Attributes:
        columns: that tell a row's group.
        thresholds: (combinations of their codes,) float32.
        overall: of rows without a group, and of groups that had too few rows.
        positive: index of the positive class of two.
        own: names of the groups that have a threshold of their own -> it.
    """

    columns: tuple[Input, ...]
    thresholds: Thresholds
    overall: float
    positive: int
    own: Mapping[str, float]

    @property
    def told(self) -> bundle.Decision:
        """What the manifest says of it."""
        names = tuple(each.name for each in self.columns)
        return bundle.Decision(
            columns=names, thresholds=tuple(self.thresholds.tolist()), overall=self.overall
        )

    def labels(self, probabilities: npt.NDArray[Any], thresholds: Thresholds) -> Integers:
        """(N,) class indices of rows with probabilities (N, 2) and thresholds (N,)."""
        yes = probabilities[:, self.positive].astype(np.float32) >= thresholds
        return np.where(yes, self.positive, 1 - self.positive)

    def of_raw(self, raw: Mapping[str, npt.NDArray[Any]]) -> Thresholds:
        """(N,) thresholds of rows, by the columns as a model takes them."""
        found: Thresholds = self.thresholds[decisions.numbers(self.columns, raw)]
        return found

    def of_rows(self, examples: Data, rows: npt.NDArray[Any]) -> Thresholds:
        """(N,) thresholds of some of a run's rows."""
        groups = examples.groups
        assert groups is not None, "a rule comes of groups"
        by_group = np.append(self.thresholds[groups.places], np.float32(self.overall))
        found: Thresholds = by_group[groups.codes[rows]]
        return found

    def blank(self, rows: int) -> dict[str, npt.NDArray[Any]]:
        """The columns of rows that miss them."""
        return {
            each.name: np.full(rows, "", object)
            if each.datatype is Datatype.BYTES
            else np.full(rows, np.nan)
            for each in self.columns
        }


def decide(network: nn.Module, examples: Data, spec: plan.Plan) -> Rule | None:
    """The thresholds of a plan that asks for some; None of any other plan.

    Rows without a group are compared to one threshold, which gives the positive class to as large a
    share of all validation rows as those of the groups give it to.

    Raises:
        InvalidData: fewer than two groups have rows enough.
    """
    fairness = spec.fairness
    if fairness is None or not isinstance(fairness.mitigation, plan.Thresholds):
        return None
    target, groups, rows = examples.target, examples.groups, examples.parts.validation
    assert groups is not None, "a fair plan's rows have groups"
    assert target.positive is not None, "as `groups.check` saw to"
    probabilities = target.head()(predict(network, examples.rows(rows).inputs)).numpy()
    score, yes = probabilities[:, target.positive], examples.truth(rows) == target.positive
    weight = examples.weights(rows)
    weight = np.ones(len(rows)) if weight is None else weight
    codes = groups.codes[rows]
    compared = groups.compared(rows, yes, fairness.min_rows)

    def curve(at: npt.NDArray[np.bool_]) -> Curve:
        return Curve.of(score[at], yes[at], weight[at])

    curves = [curve(codes == group) for group in compared]
    mitigation = fairness.mitigation
    balanced = mitigation.objective == "balanced_accuracy"
    rates = RATES[fairness.criterion]
    if rates == ("true_positive",) and favoured(spec, target) != target.positive:
        rates = ("false_positive",)
    places = equalized(curves, rates, mitigation.tolerance, balanced)
    sizes = np.array([np.count_nonzero(codes == group) for group in compared])
    selected = [each.rates["selection"][at] for each, at in zip(curves, places, strict=True)]
    overall = at_rate(curve(np.isin(codes, compared)), float(sizes @ selected / sizes.sum()))
    table = np.full(int(np.prod(decisions.shape_of(groups.columns))), overall, np.float32)
    own = {}
    for group, each, at in zip(compared, curves, places, strict=True):
        table[groups.places[group]] = each.thresholds[at]
        own[groups.names[group]] = float(each.thresholds[at])
    return Rule(groups.columns, table, overall, target.positive, own)
