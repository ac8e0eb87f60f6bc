"""Constraints on columns, as options have them: age=never, amount=increase, amount=250..5000."""

from typing import Any

import typer

_CHANGES = ("free", "never", "increase", "decrease")


def read_constraints(texts: list[str] | None) -> dict[str, dict[str, Any]]:
    """Column -> change, low and high; a column may be named more than once."""
    found: dict[str, dict[str, Any]] = {}
    for text in texts or []:
        column, separator, value = text.rpartition("=")
        if not (separator and column):
            raise typer.BadParameter(f"{text!r} is not COLUMN=CHANGE or COLUMN=LOW..HIGH")
        found.setdefault(column, {}).update(_constraint(text, value))
    return found


def _constraint(text: str, value: str) -> dict[str, Any]:
    if value in _CHANGES:
        return {"change": value}
    low, dots, high = value.partition("..")
    try:
        bounds = {"low": low, "high": high}
        numbers = {key: float(bound) for key, bound in bounds.items() if bound}
    except ValueError:
        numbers = {}
    if not (dots and numbers):
        raise typer.BadParameter(f"{text!r}: use one of {', '.join(_CHANGES)}, or LOW..HIGH")
    return numbers
