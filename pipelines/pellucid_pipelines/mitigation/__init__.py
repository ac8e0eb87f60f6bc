"""Mitigation of bias: in the rows' weights, in the loss, or in the decision after the network.

Each kind of `plan.Mitigation` is a row of `OBJECTIVES`, None where it leaves the loss as it is:
`reweighing` acts through the weights (`data`), `thresholds` after training (`deciding`).
"""

from collections.abc import Callable
from typing import Any

import torch

from pellucid import plan
from pellucid_pipelines.mitigation.adversarial import Adversarial
from pellucid_pipelines.mitigation.group_dro import GroupDro
from pellucid_pipelines.mitigation.groups import Groups, check, favoured
from pellucid_pipelines.objectives import Objective
from pellucid_pipelines.tensors import Target, seed_of

__all__ = ["OBJECTIVES", "Groups", "check", "objective"]

Builder = Callable[[Any, plan.Plan, int, Target], Objective]


def _group_dro(spec: plan.GroupDro, _plan: plan.Plan, groups: int, target: Target) -> Objective:
    return GroupDro(spec, groups, len(target.classes))


def _adversarial(
    spec: plan.Adversarial, whole: plan.Plan, groups: int, target: Target
) -> Objective:
    assert whole.fairness is not None, "which asks for it"
    told = None
    if whole.fairness.criterion == "equal_opportunity":
        told = float(favoured(whole, target) == target.positive)
    classes = len(target.classes) if whole.fairness.criterion == "equalized_odds" else 1
    return Adversarial(spec, groups, classes, target.outputs, told)


OBJECTIVES: dict[type[plan.Part], Builder | None] = {
    plan.NoMitigation: None,
    plan.Reweighing: None,
    plan.GroupDro: _group_dro,
    plan.Adversarial: _adversarial,
    plan.Thresholds: None,
}


def objective(spec: plan.Plan, groups: Groups | None, target: Target) -> Objective:
    """What training makes small under a plan."""
    fairness = spec.fairness
    build = OBJECTIVES[type(fairness.mitigation)] if fairness else None
    if fairness is None or build is None:
        return Objective()
    assert groups is not None, "a fair plan's rows have groups"
    torch.manual_seed(seed_of("objective", spec.training.seed))
    return build(fairness.mitigation, spec, len(groups), target)
