"""Counterfactuals on German credit: what would have to be different for a credit to be granted."""

import statistics
from typing import Any

import numpy as np

from explaining.bundles import Feed, Packed, credit, packed
from pellucid import bundle
from pellucid.analysis.counterfactuals import ClassGoal, search

GOOD, BAD = 1, 2
NEVER = (
    *("age", "personal_status", "foreign_worker", "people_liable_for", "credit_history"),
    *("purpose", "residence_since", "number_of_credits", "skill_level"),
)
CONSTRAINTS: dict[str, dict[str, Any]] = {name: {"change": "never"} for name in NEVER} | {
    "month": {"low": 6},
    "employment": {"change": "free"},
}


def measure(rows: int, epochs: int) -> dict[str, Any]:
    """Search one for each of the first declined rows; the model itself verifies what is found."""
    data = credit()
    if data is None:
        return {"absent": "the data is not at hand"}
    content = {
        "data": {"dataset": "benchmark", "constraints": CONSTRAINTS},
        "model": {"kind": "mlp"},
    }
    with packed(data, content, epochs) as found:
        return _measured(found, rows)


def _measured(found: Packed, most: int) -> dict[str, Any]:
    session = found.session(bundle.MODEL)
    names = [each.name for each in session.get_outputs()]

    def predict(columns: Feed) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(None, columns), strict=True))

    feed = found.feed(found.fitted.examples.table)
    declined = np.flatnonzero(predict(feed)["label"] == BAD)[:most]
    goal = ClassGoal([found.bundle.manifest.classes.index(GOOD)])
    verified, touched, changed, searched = 0, 0, [], []
    for row in declined:
        given = {name: column[row : row + 1] for name, column in feed.items()}
        answer = search(predict, given, found.told.reference, goal)
        searched.append(answer.rows)
        if not answer.counterfactuals:
            continue
        changes = answer.counterfactuals[0].changes
        other = {name: column.copy() for name, column in given.items()}
        for name, value in changes.items():
            other[name][0] = value
        verified += int(predict(other)["label"][0] == GOOD)
        touched += len(changes.keys() & set(NEVER))
        changed.append(len(changes))
    return {
        "declined": len(declined),
        "verified": verified,
        "immutable_touched": touched,
        "median_changed": statistics.median(changed) if changed else None,
        "most_changed": max(changed, default=None),
        "median_rows_searched": statistics.median(searched) if searched else None,
    }
