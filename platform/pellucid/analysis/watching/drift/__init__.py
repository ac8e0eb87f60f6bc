"""Drift: what changed in the rows, certain and large enough to matter, or not known."""

from pellucid.analysis.watching.drift.judging import in_order, judge, ongoing
from pellucid.analysis.watching.drift.levels import EFFECTS, Levels

__all__ = ["EFFECTS", "Levels", "in_order", "judge", "ongoing"]
