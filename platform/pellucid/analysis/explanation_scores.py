"""What the scores of an explanation mean, and which of them make it fail.

The measures themselves are in `faithfulness`. A bundle's manifest, a run's metrics, a model card
and a served explanation hold them under the names of `SCORES`.
"""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["passes", "weak", "fails", ""]


@dataclass(frozen=True)
class ExplanationScore:
    """A score and its limit.

    Attributes:
        name: in manifests and metrics.
        title: in tables.
        meaning: what it says, with its range.
        direction: which way is better.
        limit: from where on it is good enough; None: of no limit, or of the method's own.
        required: whether the explanation fails beyond the limit; else it is called weak.
    """

    name: str
    title: str
    meaning: str
    direction: Literal["higher", "lower"]
    limit: float | None = None
    required: bool = False

    def verdict(self, value: float, limit: float | None = None) -> Verdict:
        """Whether a value is good enough; a limit that is given replaces the score's own."""
        limit = self.limit if limit is None else limit
        if limit is None:
            return ""
        good: Callable[[float, float], bool]
        good = operator.ge if self.direction == "higher" else operator.le
        if good(value, limit):
            return "passes"
        return "fails" if self.required else "weak"


GAP = "relative_gap"

SCORES = {
    score.name: score
    for score in (
        ExplanationScore(
            "gap",
            "Largest gap",
            "What base and values miss of the output, in its unit; from 0, which is exact.",
            "lower",
        ),
        ExplanationScore(
            GAP,
            "Relative gap",
            "The same, over the mean distance of an output to the base.",
            "lower",
            required=True,
        ),
        ExplanationScore(
            "shapley_agreement",
            "Agreement with exact Shapley values",
            "Rank correlation for a row: 1 is the same order, 0 is unrelated, -1 the reverse.",
            "higher",
            0.7,
        ),
        ExplanationScore(
            "deletion",
            "Deletion",
            "How much sooner the output falls as the largest values are hidden first: 0 is a "
            "random order, 1 at once.",
            "higher",
            0.05,
        ),
        ExplanationScore(
            "insertion",
            "Insertion",
            "How much sooner the output rises as the largest values are shown first: 0 is a "
            "random order, 1 at once.",
            "higher",
            0.05,
        ),
        ExplanationScore(
            "infidelity",
            "Infidelity",
            "Share of what hiding random sets does that the values miss: 0 is none, 1 is as much "
            "as all zeros.",
            "lower",
            0.5,
        ),
        ExplanationScore(
            "sensitivity",
            "Sensitivity to noise",
            "How far the values move, over their size, under noise of a twentieth of a standard "
            "deviation; from 0.",
            "lower",
            1.0,
        ),
        ExplanationScore(
            "randomization",
            "Likeness under random weights",
            "How much the ranking stays when the network's weights are drawn again: 1 is all of "
            "it, 0 is chance.",
            "lower",
            0.5,
            required=True,
        ),
    )
}


def verdicts(quality: Mapping[str, float], tolerance: float) -> dict[str, Verdict]:
    """Name -> verdict, of the known scores among those given, in the order of `SCORES`.

    Args:
        quality: name -> value.
        tolerance: the largest relative gap that the method may have.
    """
    return {
        name: score.verdict(quality[name], tolerance if name == GAP else None)
        for name, score in SCORES.items()
        if name in quality
    }


def failures(quality: Mapping[str, float], tolerance: float) -> tuple[str, ...]:
    """The scores by which an explanation fails; of one that failed, nobody should make use."""
    found = verdicts(quality, tolerance)
    return tuple(name for name, verdict in found.items() if verdict == "fails")
