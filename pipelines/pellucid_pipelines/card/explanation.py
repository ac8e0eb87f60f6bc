"""What the predictions rest on, and how far that can be believed."""

from collections.abc import Mapping
from typing import TypedDict

from pellucid import bundle
from pellucid.analysis.explanation_scores import GAP, SCORES, failures, verdicts
from pellucid.bundle import Manifest
from pellucid_pipelines.card.markdown import table

_TOP = 15  # columns in the table of SHAP values
_MEASURED = (
    "Measured on some of the test rows; see the how-to `explanation-quality`. A required score "
    "beyond its limit makes the explanation fail, any other makes it weak."
)


class Explanation(TypedDict):
    """How the SHAP values were made."""

    method: str
    unit: str
    rows: int
    additivity_error: float


def rest_on(
    manifest: Manifest, importance: Mapping[str, float], explanation: Explanation
) -> list[str]:
    """Mean |SHAP| of the columns, and the scores of the explanation where there are any."""
    top = list(importance.items())[:_TOP]
    note = f" The {_TOP} largest of {len(importance)}." if len(importance) > _TOP else ""
    parts = [
        f"Mean |SHAP value| over {explanation['rows']:,} test rows, in {explanation['unit']} "
        f"({explanation['method']}).{note} It says what moves this model's output, not what "
        "causes the target.",
        table(("column", "mean |SHAP|"), [(name, f"{value:.4g}") for name, value in top]),
    ]
    described = manifest.explanation
    if described is None or not described.quality:
        return parts
    warning = failed(described)
    return [
        *([f"**{warning}**"] if warning else []),
        *parts,
        "### How good the explanation is",
        _MEASURED,
        _scores(described),
    ]


def failed(described: bundle.Explanation | None) -> str:
    """What to say of an explanation that fails, and why; nothing of one that does not."""
    if described is None:
        return ""
    because = {
        GAP: "some values do not add up to the prediction within the tolerance of the method",
        "randomization": "the values rank the inputs much the same when the network's weights are "
        "random, so they hardly show what was learnt",
    }
    found = failures(described.quality, described.tolerance)
    if not found:
        return ""
    reasons = "; and ".join(because[name] for name in found)
    return f"The explanation fails: {reasons}. No decision should rest on it."


def _scores(described: bundle.Explanation) -> str:
    rows = []
    for name, verdict in verdicts(described.quality, described.tolerance).items():
        score = SCORES[name]
        limit = described.tolerance if name == GAP else score.limit
        bound = {"higher": "at least", "lower": "at most"}[score.direction]
        value = f"{described.quality[name]:.3g}"
        asked = "" if limit is None else f"{bound} {limit:g}"
        required = f"{asked}, required" if score.required else asked
        rows.append((score.title, value, required, verdict, score.meaning))
    return table(("score", "value", "limit", "verdict", "meaning"), rows)
