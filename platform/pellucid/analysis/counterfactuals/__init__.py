"""Counterfactual explanations: the smallest change of a row that changes the decision."""

from pellucid.analysis.counterfactuals.goals import ClassGoal, Goal, RangeGoal
from pellucid.analysis.counterfactuals.limits import tightened
from pellucid.analysis.counterfactuals.search import (
    BUDGET,
    MOST_COLUMNS,
    Counterfactual,
    Found,
    search,
)

__all__ = [
    "BUDGET",
    "MOST_COLUMNS",
    "ClassGoal",
    "Counterfactual",
    "Found",
    "Goal",
    "RangeGoal",
    "search",
    "tightened",
]
