"""JSON values to arrays, one column at a time, or the first value that does not fit."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import NoneType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import InvalidData

Values = NDArray[Any]


@dataclass(frozen=True)
class Rule:
    """What a column's JSON values may be, and how they become an array (rows, ...)."""

    wanted: str
    types: frozenset[type]
    convert: Callable[[Sequence[Any]], Values]  # raises ValueError, OverflowError, InvalidData


@dataclass(frozen=True)
class Misfit:
    """The first value that a column cannot take, and how many more there are."""

    row: int  # 1-based
    value: Any
    more: int
    reason: str = ""  # where more is known than that it is not what is wanted


def convert(values: Sequence[Any], rule: Rule) -> Values | Misfit:
    """The column's array (rows, ...), or its first misfit."""
    if rule.types.issuperset(map(type, values)):
        try:
            return rule.convert(values)
        except InvalidData as error:  # which names the row: decoding all again would take long
            row = error.where["row"]
            return Misfit(row, values[row - 1], 0, f"{error.message} {error.remedy}".strip())
        except (ValueError, OverflowError):
            pass  # some value of the right type is out of range: look for it
    wrong = [row for row, value in enumerate(values, 1) if not _fits(value, rule)]
    return Misfit(wrong[0], values[wrong[0] - 1], len(wrong) - 1)


def shown(value: Any) -> str:
    """A value as JSON, short enough for a message."""
    if isinstance(value, str | list):
        value = value[:61]
    return clipped(json.dumps(value, ensure_ascii=False, default=str))


def clipped(text: str) -> str:
    """A text, or its beginning: clients send names and the like of any length."""
    return text if len(text) <= 60 else f"{text[:57]}..."


def _fits(value: Any, rule: Rule) -> bool:
    if type(value) not in rule.types:
        return False
    try:
        rule.convert([value])
    except (ValueError, OverflowError, InvalidData):
        return False
    return True


def _floats(values: Sequence[Any]) -> Values:
    array = np.array(values, dtype=np.float64)  # None becomes NaN
    if np.isinf(array).any():
        raise ValueError("infinite")
    return array


def _zeros_and_ones(values: Sequence[Any]) -> Values:
    array = np.array(values, dtype=np.float64)
    if not (np.isnan(array) | (array == 0) | (array == 1)).all():
        raise ValueError("neither 0 nor 1")
    return array


def _seconds(values: Sequence[Any]) -> Values:
    return np.array([None if value is None else _instant(value) for value in values], np.float64)


def _instant(text: str) -> float:
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _texts(values: Sequence[Any]) -> Values:
    array = np.empty(len(values), dtype=object)
    array[:] = ["" if value is None else value for value in values]
    return array


def integers(lowest: int, highest: int) -> Rule:
    """Whole numbers within bounds, both allowed."""

    def bounded(values: Sequence[Any]) -> Values:
        given = [value for value in values if value is not None]
        if given and not lowest <= min(given) <= max(given) <= highest:
            raise ValueError("out of range")
        return np.array(values, dtype=np.float64)

    return Rule(f"a whole number from {lowest} to {highest}", frozenset({int, NoneType}), bounded)


NUMBERS = Rule("a finite number", frozenset({int, float, NoneType}), _floats)
BOOLEANS = Rule("true or false", frozenset({bool, int, float, NoneType}), _zeros_and_ones)
STRINGS = Rule("a string", frozenset({str, NoneType}), _texts)
DATETIMES = Rule("an ISO 8601 date or time", frozenset({str, NoneType}), _seconds)
