"""Whether a new version is good, and whether it replaces the champion."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from pellucid.analysis.scores import SCORES
from pellucid.plan import Gates
from pellucid.tracking.contract import CHALLENGER, CHAMPION

REJECTED = "rejected"


class Decision(NamedTuple):
    """What a version becomes (`champion`, `challenger` or `rejected`), and why, in a sentence."""

    outcome: str
    reason: str


def missed_bound(gates: Gates, metrics: Mapping[str, float]) -> str:
    """Which bound of `gates.at_least` the metrics miss, in a sentence; empty when they meet all.

    A bound is a minimum where higher is better and a maximum where lower is better. A metric that
    was not measured, or is not a number, misses its bound.
    """
    for name, bound in gates.at_least.items():
        lower_is_better = name in SCORES and SCORES[name].direction == "lower"
        value = metrics.get(name)
        if value is None:
            return f"The gate's metric {name} was not measured."
        if not (value <= bound if lower_is_better else value >= bound):
            side = "at most" if lower_is_better else "at least"
            return f"{name} is {value:.4g}; the gate asks for {side} {bound:.4g}."
    return ""


def judge(gates: Gates, champion: int, comparison: Mapping[str, Any]) -> Decision:
    """A good version against the champion.

    Args:
        gates: of the plan.
        champion: the version that serves now.
        comparison: `difference`, `low`, `high` (positive: the new one is better) of `metric` on
            the same `rows`; or `incomparable` with the reason.
    """
    if gates.promote == "never":
        return Decision(CHALLENGER, "The plan leaves promotion to people (gates.promote: never).")
    if "incomparable" in comparison:
        return Decision(
            CHALLENGER, f"Not comparable with version {champion}: {comparison['incomparable']}"
        )
    low, high = float(comparison["low"]), float(comparison["high"])
    passed = low > 0 if gates.promote == "better" else high >= 0
    measured = (
        f"against version {champion}, {comparison['metric']} improves by "
        f"{float(comparison['difference']):.4g} [{low:.4g}, {high:.4g}] "
        f"on the same {comparison['rows']} test rows"
    )
    rule = "better" if gates.promote == "better" else "not worse"
    if passed:
        return Decision(CHAMPION, f"It is {rule}: {measured}.")
    return Decision(CHALLENGER, f"It is not shown to be {rule}: {measured}.")
