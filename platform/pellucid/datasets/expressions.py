"""SQL over one cell: what does it look like, and what is it as a value of a canonical type?

Each function takes an SQL expression for a text and returns another, NULL where the text cannot be
read. DuckDB's own casts are too generous to decide types by (they round 1.5 to an integer and
take 1_000), so that patterns decide and casts convert.
"""

import re
from enum import IntEnum
from typing import Literal

from pellucid.datasets.engine import literal
from pellucid.schema import StorageType

Order = Literal["iso", "day_first", "month_first"]


class Spelling(IntEnum):
    """What a text looks like."""

    INTEGER = 1  # of any size
    FLOAT = 2
    INFINITE = 3
    BOOLEAN = 4  # true or false, spelt out
    DATE = 5


_INTEGER = r"\s*[+-]?\d+\s*"
_WHOLE = r"\s*[+-]?\d+(\.0*)?\s*"  # what an override to int64 takes as well
_NUMBER = r"(?i)\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*|\s*[+-]?inf(inity)?\s*"
_BOOLEAN = r"(?i)\s*(true|false)\s*"
_TIME = r"([ T]\d{1,2}:\d{2}.*)?\s*"
_ISO = r"\s*\d{4}[-/]\d{1,2}[-/]\d{1,2}" + _TIME
_OTHER_DATE = r"\s*(\d{1,2})[-/.](\d{1,2})[-/.](\d{4})" + _TIME
_TWELVE_HOURS = ("%Y-%m-%d %I:%M %p", "%Y-%m-%d %I:%M:%S %p")
_TRUE = ("true", "t", "yes", "y", "1")
_FALSE = ("false", "f", "no", "n", "0")


def spelling(text: str) -> str:
    """A `Spelling` of the text, NULL for any other."""
    return (
        f"CASE WHEN {_matches(text, _INTEGER)} THEN {Spelling.INTEGER} "
        f"WHEN {_matches(text, _NUMBER)} THEN CASE WHEN isinf(CAST({text} AS DOUBLE)) "
        f"THEN {Spelling.INFINITE} ELSE {Spelling.FLOAT} END "
        f"WHEN {_matches(text, _BOOLEAN)} THEN {Spelling.BOOLEAN} "
        f"WHEN {_matches(text, f'{_ISO}|{_OTHER_DATE}')} THEN {Spelling.DATE} END"
    )


def int64(text: str) -> str:
    """A 64-bit integer."""
    return f"CASE WHEN {_matches(text, _WHOLE)} THEN TRY_CAST({text} AS BIGINT) END"


def float64(text: str) -> str:
    """A double; infinities included."""
    return f"CASE WHEN {_matches(text, _NUMBER)} THEN TRY_CAST({text} AS DOUBLE) END"


def boolean(text: str) -> str:
    """A boolean, in any common spelling."""
    word = f"lower(trim({text}))"
    true, false = _list(_TRUE), _list(_FALSE)
    return f"CASE WHEN {word} IN ({true}) THEN true WHEN {word} IN ({false}) THEN false END"


def timestamp(text: str, order: Order) -> str:
    """Microseconds since 1970-01-01 UTC; a time without an offset is UTC."""
    if order == "iso":
        pattern, written = _ISO, f"trim({text})"
    else:
        pattern = _OTHER_DATE
        year_first = r"\3-\2-\1\4" if order == "day_first" else r"\3-\1-\2\4"
        written = f"regexp_replace({text}, {literal(_OTHER_DATE)}, {literal(year_first)})"
    twelve_hours = f"try_strptime({written}, [{_list(_TWELVE_HOURS)}])::TIMESTAMPTZ"
    parsed = f"coalesce(TRY_CAST({written} AS TIMESTAMPTZ), {twelve_hours})"
    return f"CASE WHEN {_matches(text, pattern)} THEN epoch_us({parsed}) END"


def value(text: str, storage: StorageType, order: Order = "iso") -> str:
    """The text as a value of a type."""
    match storage:
        case StorageType.INT64:
            return int64(text)
        case StorageType.FLOAT64:
            return float64(text)
        case StorageType.BOOL:
            return boolean(text)
        case StorageType.TIMESTAMP:
            return timestamp(text, order)
        case _:
            return text


def known(text: str, storage: StorageType, order: Order) -> str:
    """The text as a value of a type that all of the column's texts are known to be of."""
    match storage:
        case StorageType.INT64:
            return f"CAST({text} AS BIGINT)"
        case StorageType.FLOAT64:
            return f"CAST({text} AS DOUBLE)"
        case _:
            return value(text, storage, order)


def typed(raw: str, storage: StorageType) -> str:
    """A value of a column that has a DuckDB type of its own."""
    match storage:
        case StorageType.INT64:
            return f"TRY_CAST({raw} AS BIGINT)"
        case StorageType.FLOAT64:
            return f"CAST({raw} AS DOUBLE)"
        case StorageType.TIMESTAMP:
            return f"epoch_us(CAST({raw} AS TIMESTAMPTZ))"
        case _:
            return raw


def spells_infinity(text: str) -> bool:
    """Whether a text is infinite as a double: spelt out, or too large."""
    return re.fullmatch(_NUMBER, text) is not None and float(text) in (float("inf"), -float("inf"))


def _matches(text: str, pattern: str) -> str:
    return f"regexp_full_match({text}, {literal(pattern)})"


def _list(texts: tuple[str, ...]) -> str:
    return ", ".join(map(literal, texts))
