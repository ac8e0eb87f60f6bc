"""Whether groups fare alike: verdicts on the usual criteria, and the impact-ratio table."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pellucid.analysis.intervals import Interval
from pellucid_pipelines.card.markdown import table, text
from pellucid_pipelines.fairness import Fairness, Record

_VERDICTS = {"alarm": "NO", "ok": "yes", "unclear": "not clear", "absent": ""}
_MOST_LINES = 60  # of an impact table


def fairness(found: Fairness) -> str:
    """The section."""
    if not found.criteria:
        return (
            "Not assessed: the target has too many classes to look at each. Name the one to look "
            "at as `evaluation.favourable` in the plan."
        )
    parts = [_introduction(found)]
    parts += ["### Criteria", _criteria(found.criteria)]
    for column, outcome in dict.fromkeys((row["column"], row["outcome"]) for row in found.impact):
        rows = [r for r in found.impact if (r["column"], r["outcome"]) == (column, outcome)]
        given = f", {text(outcome)}" if len(found.outcomes) > 1 else ""
        parts += [f"### Impact ratios by {text(column)}{given}", *_impact(rows)]
    return "\n\n".join(parts)


def _introduction(found: Fairness) -> str:
    if not found.outcomes:
        selected = "a prediction above the median of the test rows counts as selected"
    elif len(found.outcomes) == 1:
        selected = f"selected means: predicted {text(found.outcomes[0])}"
    else:
        selected = "each class is looked at in turn, selected meaning: predicted so"
    return (
        f"On the test rows, each counted once; {selected}. Limits of disparities hold for all "
        "pairs of groups together (Bonferroni). Where they span the threshold, or groups are too "
        "small, nothing is claimed. Rows whose group is not known take no part."
    )


def _criteria(rows: Sequence[Record]) -> str:
    several = len({row["outcome"] for row in rows}) > 1
    lines = []
    for row in rows:
        name = row["criterion"].replace("_", " ")
        asked = "at least" if row["aggregate"] == "ratio" else "at most"
        lines.append(
            (
                row["column"],
                f"{name}: {row['outcome']}" if several else name,
                f"{row['metric'].replace('_', ' ')}, {row['aggregate']}",
                str(Interval(row["value"], row["low"], row["high"])),
                f"{asked} {row['threshold']:.3g}",
                row["lowest"] or "(no two groups)",
                row["highest"],
                _VERDICTS[row["status"]],
            )
        )
    header = ("column", "criterion", "measure", "value", "accepted", "lowest", "highest", "met")
    return table(header, lines)


def _impact(rows: Sequence[Record]) -> list[str]:
    lines: list[tuple[Any, ...]] = []
    for row in rows[:_MOST_LINES]:
        ratio = Interval(row["impact"], row["impact_low"], row["impact_high"])
        left_out = "left out: too few rows" if row["highest"] else "nobody is selected"
        lines.append(
            (
                row["category"],
                f"{row['rows']:,}",
                f"{row['selected']:,}",
                str(Interval(row["rate"], row["rate_low"], row["rate_high"])),
                left_out if np.isnan(row["impact"]) else str(ratio),
                "below four fifths" if row["status"] == "alarm" else "",
            )
        )
    header = ("category", "rows", "selected", "selection rate", "impact ratio", "")
    parts = [table(header, lines)]
    if len(rows) > _MOST_LINES:
        parts.append(f"{len(rows) - _MOST_LINES} more are in `impact_ratios.parquet`.")
    if rows[0]["unknown"]:
        parts.append(f"In no line: {rows[0]['unknown']:,} rows whose category is not known.")
    return parts
