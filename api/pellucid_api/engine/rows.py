"""Plain rows (JSON objects) to the arrays that a model takes, with exact validation."""

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from itertools import islice
from typing import TYPE_CHECKING, Any

from pellucid.bundle import Input
from pellucid.errors import InvalidRows, TooLarge
from pellucid.raw import columns
from pellucid.schema import Kind
from pellucid_api.engine import nested
from pellucid_api.engine.values import (
    BOOLEANS,
    DATETIMES,
    NUMBERS,
    STRINGS,
    Misfit,
    Rule,
    Values,
    clipped,
    convert,
    shown,
)

if TYPE_CHECKING:
    from pellucid.raw.texts import Tokenizer

MOST_PROBLEMS = 5
_LARGEST = 2**29  # bytes of one request once decoded: a small file may hold a large image
_RULES = {
    Kind.NUMERIC: NUMBERS,
    Kind.BOOLEAN: BOOLEANS,
    Kind.DATETIME: DATETIMES,
    Kind.CATEGORICAL: STRINGS,
}
_WANTED: dict[Kind, tuple[str, frozenset[type]]] = {
    Kind.IMAGE: ("an image: base64 of an image file, or pixels", frozenset({str, list})),
    Kind.SEQUENCE: ("a list of numbers", frozenset({list, type(None)})),
    Kind.TEXT: (STRINGS.wanted, STRINGS.types),
}


def decode_rows(
    rows: Any, inputs: Sequence[Input], max_rows: int, tokenizer: "Tokenizer | None" = None
) -> dict[str, Values]:
    """The model's feed: one array (rows, *shape) per input.

    Every row names every input. null is missing; a category never seen in training is fine. An
    image must be there.

    Raises:
        InvalidRows: no rows, a column missing or unknown, or a value of the wrong type; the first
            few problems are told, each with row, column, value and remedy.
        TooLarge: more than `max_rows` rows, or more than 512 MiB once decoded.
    """
    check_count(rows, max_rows)
    check_size(len(rows), inputs)
    if len(inputs) == 1 and inputs[0].kind is Kind.TENSOR:  # the list alone will do
        rows = [row if isinstance(row, dict) else {inputs[0].name: row} for row in rows]
    _check_columns(rows, inputs)
    return gather(
        inputs, lambda each: convert([row[each.name] for row in rows], rule_of(each, tokenizer))
    )


def decode_columns(
    columns: Mapping[str, Any],
    inputs: Sequence[Input],
    max_rows: int,
    tokenizer: "Tokenizer | None" = None,
) -> dict[str, Values]:
    """As `decode_rows`, of one list of values per column."""
    check_columns(columns, inputs, max_rows)
    return gather(inputs, lambda each: convert(columns[each.name], rule_of(each, tokenizer)))


def check_columns(columns: Mapping[str, Any], inputs: Sequence[Input], max_rows: int) -> None:
    """Refuse columns that are not the model's, no lists, too long, or of different lengths."""
    check_names(list(columns), inputs)
    for name, values in columns.items():
        check_count(values, max_rows, f"The column {name!r} holds")
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        told = ", ".join(f"{name!r} has {length:,}" for name, length in lengths.items())
        raise InvalidRows(f"The columns differ in length: {told}.")
    check_size(max(lengths.values()), inputs)


def gather(
    inputs: Sequence[Input], column: Callable[[Input], Values | Misfit], first: int = 1
) -> dict[str, Values]:
    """The arrays of all inputs; errors count rows from `first`.

    Raises:
        InvalidRows: some have misfits; the first few are told.
    """
    feed: dict[str, Values] = {}
    problems: list[tuple[dict[str, Any], str]] = []
    for each in inputs:
        found = column(each)
        if isinstance(found, Misfit):
            problems.append(_misfit(each, replace(found, row=found.row + first - 1)))
            if len(problems) == MOST_PROBLEMS:
                break
        else:
            feed[each.name] = found
    if problems:
        raise InvalidRows(" ".join(text for _, text in problems), where=problems[0][0])
    return feed


def check_names(given: Sequence[str], inputs: Sequence[Input]) -> None:
    """Refuse columns that are missing, unknown, or given twice."""
    wanted = [each.name for each in inputs]
    counts = Counter(given)
    mistakes = list(_name_mistakes(counts, wanted))
    mistakes += [f"{name!r} is given twice." for name in wanted if counts[name] > 1]
    if mistakes:
        raise InvalidRows(
            f"The columns do not fit: {' '.join(mistakes)}",
            remedy=f"The model takes these columns: {', '.join(wanted)}.",
        )


def rule_of(each: Input, tokenizer: "Tokenizer | None") -> Rule:
    """What the values of an input may be."""
    if each.kind is Kind.TENSOR:
        return nested.rule(each)
    if each.kind in _RULES:
        return _RULES[each.kind]
    wanted, types = _WANTED[each.kind]
    return Rule(
        wanted, types, lambda values: columns.read(values, each.kind, each.shape, tokenizer)
    )


def check_size(rows: int, inputs: Sequence[Input]) -> None:
    """Refuse what would take too much memory once it is decoded."""
    size = sum(
        math.prod(each.shape) * (1 if each.kind is Kind.IMAGE else 8)
        for each in inputs
        if each.shape and each.kind is not Kind.TENSOR  # which grows no larger than its JSON
    )
    if rows * size > _LARGEST:
        raise TooLarge(
            f"{rows:,} rows of {size:,} bytes each, decoded, are more than {_LARGEST:,} bytes, "
            "the limit of one request.",
            remedy=f"Send at most {max(1, _LARGEST // size):,} rows at once.",
        )


def check_count(rows: Any, max_rows: int, subject: str = "There are") -> None:
    """Refuse what is no list, an empty list, and too long a list."""
    if not isinstance(rows, list):
        raise InvalidRows(
            "The rows are no list." if subject == "There are" else f"{subject} no list.",
            remedy='Send a list of objects: [{"age": 42, ...}, ...].',
        )
    check_number(len(rows), max_rows, subject)


def check_number(rows: int, max_rows: int, subject: str = "There are") -> None:
    """Refuse no rows, and too many."""
    if not rows:
        raise InvalidRows(f"{subject} no rows.", remedy="Send at least one.")
    if rows > max_rows:
        raise TooLarge(
            f"{rows:,} rows are more than {max_rows:,}, the limit of one request.",
            remedy="Send them in several requests, or raise PELLUCID_MAX_ROWS.",
        )


def listed(names: Sequence[str]) -> str:
    """The first of some names, for a message."""
    some = ", ".join(repr(clipped(name)) for name in names[:20])
    return some if len(names) <= 20 else f"{some} and {len(names) - 20} more"


def _check_columns(rows: list[Any], inputs: Sequence[Input]) -> None:
    expected = {each.name for each in inputs}
    odd = (
        row
        for row, values in enumerate(rows, 1)
        if not isinstance(values, dict) or values.keys() != expected
    )
    first = list(islice(odd, MOST_PROBLEMS))
    if not first:
        return
    names = [each.name for each in inputs]
    texts: dict[str, int] = {}  # the same mistake in many rows is told once
    for row in first:
        for text in _column_mistakes(rows[row - 1], names):
            texts.setdefault(text, row)
    raise InvalidRows(
        " ".join(f"Row {row}: {text}" for text, row in texts.items()),
        where={"row": first[0]},
        remedy=f"The model takes these columns: {', '.join(names)}.",
    )


def _column_mistakes(row: Any, names: list[str]) -> Iterator[str]:
    if not isinstance(row, dict):
        yield f"{shown(row)} is no object of column names and values."
        return
    yield from _name_mistakes(row, names)


def _name_mistakes(given: Collection[str], names: list[str]) -> Iterator[str]:
    missing, known = [name for name in names if name not in given], set(names)
    if missing:
        yield f"missing {listed(missing)} (null stands for a missing value)."
    for name in islice((name for name in given if name not in known), MOST_PROBLEMS):
        short = clipped(name)
        near = get_close_matches(short, missing or names, n=1)
        yield f"{short!r} is no input" + (f"; did you mean {near[0]!r}?" if near else ".")


def _misfit(each: Input, misfit: Misfit) -> tuple[dict[str, Any], str]:
    place = f"Row {misfit.row}, column {each.name!r}: "
    if misfit.reason:
        return {"row": misfit.row, "column": each.name}, place + misfit.reason
    wanted = rule_of(each, None).wanted
    text = f"{place}{shown(misfit.value)} is not {wanted}{_advice(each.kind, misfit.value)}"
    if misfit.more:
        text += f" ({misfit.more:,} more rows of this column do not fit.)"
    return {"row": misfit.row, "column": each.name}, text


def _advice(kind: Kind, value: Any) -> str:
    if kind in (Kind.CATEGORICAL, Kind.TEXT) and isinstance(value, int | float):
        return f"; put it in quotes: {shown(shown(value))}."
    if kind is Kind.NUMERIC and isinstance(value, bool):
        return f"; send {int(value)}."
    if kind is Kind.NUMERIC and isinstance(value, str) and _is_number(value):
        return f"; send it without quotes: {value.strip()}."
    if kind is Kind.DATETIME:
        return ', such as "2024-05-31T12:30:00Z".'
    if kind is Kind.TENSOR:
        return "."
    if kind is Kind.IMAGE:
        return "; a missing image cannot be answered." if value is None else "."
    return "; null stands for a missing value."


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
