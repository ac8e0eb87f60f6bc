"""What was measured, and what follows from it."""

import statistics
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from typing import Any

from inference.wrk import Measured

Key = tuple[str, str]  # case, contender


@dataclass
class Results:
    """Of all rounds. A round in which something could not be measured holds None."""

    rounds: int
    found: dict[Key, list[Measured | None]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)  # name, or "name, case" -> why
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    overload: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)

    def add(self, case: str, contender: str, number: int, measured: Measured | None) -> None:
        """Take in what round `number` gave."""
        self.found.setdefault((case, contender), [None] * self.rounds)[number] = measured

    def median(self, case: str, contender: str, what: str = "rows_per_s") -> float | None:
        """Over the rounds; None where nothing was measured."""
        values = self.values(case, contender, what)
        return statistics.median(values) if values else None

    def values(self, case: str, contender: str, what: str = "rows_per_s") -> list[float]:
        """Of each round that has one."""
        return [getattr(m, what) for m in self.found.get((case, contender), []) if m is not None]

    def ratios(self, case: str, ours: str, theirs: str, what: str = "rows_per_s") -> list[float]:
        """Ours over theirs, round by round."""
        pairs = zip(
            self.found.get((case, ours), []), self.found.get((case, theirs), []), strict=False
        )
        return [getattr(a, what) / getattr(b, what) for a, b in pairs if a and b]

    def as_dict(self) -> dict[str, Any]:
        """Everything, as JSON takes it."""
        cases: dict[str, dict[str, Any]] = defaultdict(dict)
        for (case, contender), rounds in self.found.items():
            cases[case][contender] = [m and asdict(m) for m in rounds]
        return {
            "rounds": self.rounds,
            "cases": cases,
            "absent": self.absent,
            "overload": self.overload,
            "versions": self.versions,
        }


def quartiles(values: list[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, middle, high
