"""What may become of a column: a model's own limits, and those that a request adds."""

from collections.abc import Callable

from pellucid.bundle import ColumnReference
from pellucid.schema import Change, Constraint


def tightened(reference: ColumnReference, constraint: Constraint) -> ColumnReference:
    """A column under a constraint more; what was forbidden stays so."""
    bounds = {
        "low": _of_both(reference.low, constraint.low, max),
        "high": _of_both(reference.high, constraint.high, min),
        "change": _either(Change(reference.change), constraint.change).value,
    }
    return reference.model_copy(update=bounds)


def _either(one: Change, other: Change) -> Change:
    if Change.FREE in (one, other):
        return other if one is Change.FREE else one
    return one if one is other else Change.NEVER


def _of_both(one: float | None, other: float | None, choose: Callable[..., float]) -> float | None:
    given = [bound for bound in (one, other) if bound is not None]
    return choose(given) if given else None
