"""JSON Schemas of what users write."""

from typing import Any

from pellucid.plan import Plan


def plan() -> dict[str, Any]:
    """Read the JSON Schema of a plan: every key, its bounds and its default."""
    return Plan.json_schema()
