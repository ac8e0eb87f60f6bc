"""Arrow tables to the arrays that a model takes, a column at a time.

A value is what it would be in a row of JSON; the types that Arrow has beside those of JSON are
taken where they mean the same: timestamps and dates for times, bytes for images, any integers and
floats for numbers. The cells of a CSV come as strings, which `engine.cells` reads.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from pellucid.bundle import Input
from pellucid.errors import InvalidData, InvalidRows
from pellucid.raw import columns as raw
from pellucid.schema import Kind
from pellucid_api.engine import cells, lists
from pellucid_api.engine.arrow import (
    Array,
    Unfit,
    floats,
    is_list,
    misfit,
    seconds,
    strings,
    unshared,
    whole,
    words,
)
from pellucid_api.engine.rows import check_names, check_number, check_size, gather, rule_of
from pellucid_api.engine.values import Misfit, Values, convert

if TYPE_CHECKING:
    from pellucid.raw.texts import Tokenizer


def decode_table(
    table: Any,
    inputs: Sequence[Input],
    max_rows: int,
    tokenizer: "Tokenizer | None" = None,
    *,
    text: bool = False,
    first: int = 1,
) -> dict[str, Values]:
    """The model's feed: one array (rows, *shape) per input.

    Args:
        table: a pyarrow.Table, validated. Columns that make up a matrix may stand for the only
            input of a model that was made elsewhere.
        inputs: of the model.
        max_rows: of one request.
        tokenizer: of a text model.
        text: every cell is a string, as in a CSV; null is a missing value.
        first: what errors call the first row.

    Raises:
        InvalidRows, TooLarge: as `engine.rows.decode_rows` does.
    """
    check_number(table.num_rows, max_rows)
    check_size(table.num_rows, inputs)
    spread = spreads(table.column_names, inputs)
    columns = _features(table.column_names, inputs[0]) if spread else inputs
    if not spread:
        check_names(table.column_names, inputs)
    found = gather(columns, lambda each: _read(table[each.name], each, tokenizer, text=text), first)
    return {inputs[0].name: np.stack(list(found.values()), axis=1)} if spread else found


def spreads(names: Sequence[str], inputs: Sequence[Input]) -> bool:
    """Whether columns of these names are the features of the model's only input, a matrix."""
    first, *others = inputs
    return (
        not others
        and first.kind is Kind.TENSOR
        and len(first.shape) == 1
        and first.shape[0] in (-1, len(names))
        and first.name not in names
    )


def _features(names: Sequence[str], matrix: Input) -> list[Input]:
    """An input for each column of a matrix."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InvalidRows(f"The column {twice[0]!r} is given twice.", where={"column": twice[0]})
    return [Input(name=name, kind=Kind.TENSOR, datatype=matrix.datatype) for name in names]


def _read(
    column: Any, each: Input, tokenizer: "Tokenizer | None", *, text: bool
) -> Values | Misfit:
    try:
        array = whole(column)
        if each.kind in (Kind.IMAGE, Kind.TEXT):
            return _decoded(array, each, tokenizer)
        read = cells.READERS.get(each.kind) if text else None
        return (read or _READERS[each.kind])(array, each)
    except (Unfit, pa.ArrowNotImplementedError):
        wanted = rule_of(each, None).wanted
        return Misfit(1, None, 0, f"the column's type is {column.type}; it takes {wanted}.")


def _numbers(array: Array, _each: Input) -> Values | Misfit:
    numbers = floats(array)
    infinite = np.flatnonzero(np.isinf(numbers))
    return misfit(infinite, array) if len(infinite) else numbers


def _booleans(array: Array, _each: Input) -> Values | Misfit:
    numbers = floats(array.cast(pa.int8()) if pa.types.is_boolean(array.type) else array)
    wrong = ~(np.isnan(numbers) | (numbers == 0) | (numbers == 1))
    return misfit(np.flatnonzero(wrong), array) if wrong.any() else numbers


def _times(array: Array, each: Input) -> Values | Misfit:
    if pa.types.is_timestamp(array.type) or pa.types.is_date(array.type):
        return seconds(array)
    texts = strings(array)
    for zone in ("UTC", None):  # every time names its zone, or none does
        try:
            return seconds(texts.cast(pa.timestamp("us", zone)))
        except pa.ArrowInvalid:
            continue
    return convert(texts.to_pylist(), rule_of(each, None))


def _categories(array: Array, _each: Input) -> Values:
    return words(array)


def _decoded(array: Array, each: Input, tokenizer: "Tokenizer | None") -> Values | Misfit:
    """Images and texts."""
    try:
        return raw.read(_plain(array).to_pylist(), each.kind, each.shape, tokenizer)
    except InvalidData as error:
        return Misfit(error.where["row"], None, 0, f"{error.message} {error.remedy}".strip())


def _plain(array: Array) -> Array:
    """The array, if its values as Python's take no more memory than their bytes account for."""
    kind, types = array.type, pa.types
    if types.is_string_view(kind) or types.is_binary_view(kind):
        return unshared(array)
    if not types.is_large_string(kind) and not types.is_large_binary(kind):
        while is_list(kind):
            kind = kind.value_type
        if not any(is_plain(kind) for is_plain in _PLAIN):
            raise Unfit
    return array


_PLAIN: tuple[Callable[[Any], bool], ...] = (
    pa.types.is_null,
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_string,
    pa.types.is_binary,
)
_READERS: dict[Kind, Callable[[Array, Input], Values | Misfit]] = {
    Kind.NUMERIC: _numbers,
    Kind.BOOLEAN: _booleans,
    Kind.DATETIME: _times,
    Kind.CATEGORICAL: _categories,
    Kind.SEQUENCE: lists.sequences,
    Kind.TENSOR: lists.tensors,
}
