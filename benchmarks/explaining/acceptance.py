"""What we promise of explanations, and whether these figures keep it."""

import statistics
from collections.abc import Iterator
from typing import Any

from inference.acceptance import Promise

from explaining.peers import DEEP_EXPLAINER
from explaining.served import PREDICTIONS
from explaining.speed import AMORTIZED, EXPLANATION, PREDICTION

PROMISED = ("MLP 30-256-256", "TabM")  # as the plan has them by default
_FASTER = {"1": 20, "64": 15}
_GAP = {"deep": 1e-4, "exact": 1e-4, "gradients": 1e-2}  # relative


def promises(content: dict[str, Any]) -> Iterator[Promise]:
    """All those for which there are figures."""
    if found := content.get("speed"):
        yield from _speed(found["cases"])
    if found := content.get("parity"):
        yield from _parity(found)
    yield from _gaps(content.get("gaps", []))
    for each in content.get("agreement", []):
        yield Promise(f"{each['network']}, Spearman, exact Shapley", each["spearman"], 0.95)
    if found := content.get("served"):
        yield from _served(found)
    if found := content.get("counterfactuals"):
        yield from _counterfactuals(found)


def ratios(rounds: dict[str, Any], over: str, under: str) -> list[float]:
    """p50 over p50 of the same round; none if one of them was not measured."""
    pairs = zip(rounds.get(over, []), rounds.get(under, []), strict=False)
    return [a["p50"] / b["p50"] for a, b in pairs]


def _speed(cases: dict[str, Any]) -> Iterator[Promise]:
    for network in PROMISED:
        for rows, rounds in cases[network].items():
            title = f"{network}, {rows} row{'s' if rows != '1' else ''}"
            if rows == "1":
                for name, limit in ((EXPLANATION, 30), (AMORTIZED, 2.5)):
                    over = statistics.median(ratios(rounds, name, PREDICTION))
                    yield Promise(f"{title}: {name} over prediction", over, limit, True)
                p99 = statistics.median(each["p99"] for each in rounds[EXPLANATION])
                yield Promise(f"{title}: explanation, p99 in ms", p99, 2, True)
            if theirs := ratios(rounds, DEEP_EXPLAINER, EXPLANATION):
                text = f"{title}: times faster than {DEEP_EXPLAINER}"
                yield Promise(text, statistics.median(theirs), _FASTER[rows])


def _parity(found: list[dict[str, Any]]) -> Iterator[Promise]:
    differences = [
        value
        for each in found
        for value in each["difference"].values()
        if not isinstance(value, str)
    ]
    text = f"largest difference to a peer, {len(differences)} comparisons"
    yield Promise(text, max(differences), 1e-5, at_most=True)


def _gaps(found: list[dict[str, Any]]) -> Iterator[Promise]:
    for each in found:
        if "absent" not in each:
            text = f"{each['task']}, {each['network']} ({each['method']}): relative gap"
            yield Promise(text, each["largest"], _GAP[each["method"]], at_most=True)


def _served(found: dict[str, Any]) -> Iterator[Promise]:
    for title, rounds in found["explanations"].items():
        rate = statistics.median(each["rows_per_s"] for each in rounds)
        yield Promise(f"HTTP, {title}: explained rows/s", rate, 500)
    for load in PREDICTIONS:
        text = f"HTTP, {load.title}: prediction p99 beside explanations over alone"
        yield Promise(text, statistics.median(beside(found, load.title)), 1.1, at_most=True)


def beside(found: dict[str, Any], title: str) -> list[float]:
    """p99 of predictions beside explanations over p99 alone, of each round."""
    rounds = found["predictions"][title]
    pairs = zip(rounds["beside"], rounds["alone"], strict=True)
    return [a["p99"] / b["p99"] for a, b in pairs]


def _counterfactuals(found: dict[str, Any]) -> Iterator[Promise]:
    if "absent" in found or not found["declined"]:
        return
    share = found["verified"] / found["declined"]
    yield Promise("counterfactuals: share found and verified", share, 0.95)
    yield Promise("counterfactuals: immutable columns touched", found["immutable_touched"], 0, True)
    changed = found["median_changed"]
    yield Promise("counterfactuals: median changed columns", changed or float("inf"), 3, True)
