"""Arrow tables to the arrays that a model takes, a column at a time.

A value is what it would be in a row of JSON; the types that Arrow has beside those of JSON are
taken where they mean the same: timestamps and dates for times, bytes for images, any integers and
floats for numbers. The cells of a CSV come as strings, and are read as numbers and the like here.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic_core import from_json

from pellucid.bundle import Datatype, Input
from pellucid.errors import InvalidData, TooLarge
from pellucid.raw import columns as raw
from pellucid.raw.sequences import pad_flat
from pellucid.schema import Kind
from pellucid_api.engine import nested
from pellucid_api.engine.datatypes import DTYPES, FLOATS
from pellucid_api.engine.rows import check_names, check_number, check_size, gather, rule_of
from pellucid_api.engine.values import Misfit, Values, convert, shown

if TYPE_CHECKING:
    from pellucid.raw.texts import Tokenizer

_LARGEST = 2**26  # bytes of the texts of a column
_TRUE = ("true", "t", "yes", "y", "1", "1.0")  # as in data sets
_FALSE = ("false", "f", "no", "n", "0", "0.0")
Array = Any  # pyarrow.Array: pyarrow has no types


class _Unfit(Exception):
    """The whole column is of a type that the input does not take."""


def decode_table(
    table: Any,
    inputs: Sequence[Input],
    max_rows: int,
    tokenizer: "Tokenizer | None" = None,
    *,
    text: bool = False,
) -> dict[str, Values]:
    """The model's feed: one array (rows, *shape) per input.

    Args:
        table: a pyarrow.Table, validated. Columns that make up a matrix may stand for the only
            input of a model that was made elsewhere.
        inputs: of the model.
        max_rows: of one request.
        tokenizer: of a text model.
        text: every cell is a string, as in a CSV; null is a missing value.

    Raises:
        InvalidRows, TooLarge: as `engine.rows.decode_rows` does.
    """
    check_number(table.num_rows, max_rows)
    check_size(table.num_rows, inputs)
    if spreads(table.column_names, inputs):
        return _matrix(table, inputs[0], text)
    check_names(table.column_names, inputs)
    return gather(
        inputs, lambda each: _read(_Column(_whole(table[each.name]), each, tokenizer, text))
    )


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


def _matrix(table: Any, target: Input, text: bool) -> dict[str, Values]:
    cells = [Input(name=name, kind=Kind.TENSOR, datatype=target.datatype)
             for name in table.column_names]  # fmt: skip
    if len({each.name for each in cells}) < len(cells):
        check_names(table.column_names, cells)
    found = gather(cells, lambda each: _read(_Column(_whole(table[each.name]), each, None, text)))
    return {target.name: np.stack(list(found.values()), axis=1)}


def _whole(column: Any) -> Array:
    """A column as one array, its dictionary kept."""
    array = pa.concat_arrays(column.unify_dictionaries().chunks)
    return array.storage if isinstance(array, pa.ExtensionArray) else array


class _Column(NamedTuple):
    array: Array
    each: Input
    tokenizer: "Tokenizer | None"
    text: bool


def _read(column: _Column) -> Values | Misfit:
    try:
        return _READERS[column.each.kind](column)
    except (_Unfit, pa.ArrowNotImplementedError):
        wanted = rule_of(column.each, None).wanted
        told = f"the column's type is {column.array.type}; it takes {wanted}."
        return Misfit(1, None, 0, told)


def _numbers(column: _Column) -> Values | Misfit:
    array = column.array
    if column.text:
        return _parsed(array, column.each)
    numbers = _floats(array)
    infinite = np.flatnonzero(np.isinf(numbers))
    return _first(infinite, array) if len(infinite) else numbers


def _booleans(column: _Column) -> Values | Misfit:
    array = column.array
    if column.text:
        words = pc.utf8_lower(pc.utf8_trim_whitespace(array))
        true = pc.is_in(words, pa.array(_TRUE)).to_numpy(zero_copy_only=False)
        false = pc.is_in(words, pa.array(_FALSE)).to_numpy(zero_copy_only=False)
        numbers = np.where(true, 1.0, np.where(false, 0.0, np.nan))
        wrong = np.isnan(numbers) & array.is_valid().to_numpy(zero_copy_only=False)
    else:
        numbers = _floats(array.cast(pa.int8()) if pa.types.is_boolean(array.type) else array)
        wrong = ~(np.isnan(numbers) | (numbers == 0) | (numbers == 1))
    return _first(np.flatnonzero(wrong), array) if wrong.any() else numbers


def _times(column: _Column) -> Values | Misfit:
    array = column.array
    if pa.types.is_timestamp(array.type) or pa.types.is_date(array.type):
        return _seconds(array)
    strings = _strings(array)
    for zone in ("UTC", None):  # every time names its zone, or none does
        try:
            return _seconds(strings.cast(pa.timestamp("us", zone)))
        except pa.ArrowInvalid:
            continue
    return convert(strings.to_pylist(), rule_of(column.each, None))


def _seconds(times: Array) -> Values:
    """Since 1970-01-01 UTC."""
    micros = times.cast(pa.timestamp("us", getattr(times.type, "tz", None)), safe=False)
    numbers = micros.cast(pa.int64()).to_numpy(zero_copy_only=False) / 1e6
    return np.asarray(numbers, np.float64)


def _categories(column: _Column) -> Values:
    return _words(column.array)


def _words(array: Array) -> Values:
    """An object array of str, null as ""."""
    if not pa.types.is_dictionary(array.type):
        return _objects(_strings(array))
    # A few long texts may stand for many rows, each of which the model gets as a copy.
    lengths = pc.binary_length(_strings(array.dictionary)).take(array.indices)
    size = pc.sum(lengths).as_py() or 0
    if size > _LARGEST:
        raise TooLarge(
            f"The texts of a column are {size:,} bytes once its dictionary is resolved, and "
            f"{_LARGEST:,} is the most.",
            remedy="Send fewer rows at once.",
        )
    words = np.append(_objects(_strings(array.dictionary)), "")
    places = array.indices.fill_null(-1).cast(pa.int64()).to_numpy(zero_copy_only=False)
    return np.asarray(words[places])


def _decoded(column: _Column) -> Values | Misfit:
    """Images and texts."""
    array, each, tokenizer, _ = column
    if pa.types.is_dictionary(array.type):
        raise _Unfit
    try:
        return raw.read(array.to_pylist(), each.kind, each.shape, tokenizer)
    except InvalidData as error:
        return Misfit(error.where["row"], None, 0, f"{error.message} {error.remedy}".strip())


def _sequences(column: _Column) -> Values | Misfit:
    array, each, _, text = column
    if text:
        return _from_json(array, each)
    if pa.types.is_null(array.type):
        array = array.cast(pa.list_(pa.float64()))
    if not _is_list(array.type):
        raise _Unfit
    values = _floats(array.flatten())
    lengths = pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False)
    ends = np.cumsum(np.append(0, lengths), dtype=np.int64)
    infinite = np.flatnonzero(np.isinf(values))
    if len(infinite):
        row = int(np.searchsorted(ends, infinite[0], side="right"))
        return Misfit(row, None, 0, "A number is infinite; null stands for a missing one.")
    return pad_flat(values, ends, each.shape[0])


def _tensors(column: _Column) -> Values | Misfit:
    array, each, _, text = column
    if text:
        return _from_json(array, each) if each.shape else _parsed(array, each)
    rows, sizes = len(array), list(each.shape)
    if pa.types.is_fixed_size_list(array.type) and array.type.list_size == math.prod(sizes):
        sizes = [array.type.list_size]  # as the extension type fixed_shape_tensor has it
    for axis, size in enumerate(sizes):
        if not _is_list(array.type):
            raise _Unfit
        lengths = pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False)
        length = int(lengths[0]) if size == -1 and len(lengths) else size
        wrong = np.flatnonzero((lengths != length) | (lengths == 0))
        if len(wrong):
            row = int(wrong[0]) // math.prod(sizes[:axis]) + 1
            wanted = nested.shape_text([length if i == axis else s for i, s in enumerate(sizes)])
            found = lengths[wrong[0]]
            return Misfit(row, None, 0, f"a list of {found} does not make the shape {wanted}.")
        sizes[axis] = length
        array = array.flatten()
    flat = _leaves(array, each)
    if isinstance(flat, Misfit):
        return replace(flat, row=(flat.row - 1) // math.prod(sizes) + 1)
    return flat.reshape(rows, *(sizes if -1 in each.shape else each.shape))


def _leaves(array: Array, each: Input) -> Values | Misfit:
    """The values of a tensor, flat."""
    datatype = each.datatype
    if datatype is Datatype.BYTES:
        return _words(array)
    if datatype in FLOATS:
        numbers = _floats(array)
        with np.errstate(over="ignore"):
            cast = numbers.astype(DTYPES[datatype])
        over = np.flatnonzero(np.isinf(cast.astype(np.float64)) & np.isfinite(numbers))
        return _first(over, array) if len(over) else cast
    fits = pa.types.is_boolean if datatype is Datatype.BOOL else pa.types.is_integer
    if not fits(array.type):
        raise _Unfit
    if array.null_count:
        return _first(np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False)), array)
    whole = array.to_numpy(zero_copy_only=False)
    if datatype is not Datatype.BOOL:
        bounds = np.iinfo(DTYPES[datatype])
        # Python's integers, since a comparison of int64 with uint64 would round
        low, high = int(whole.min()), int(whole.max())
        if low < bounds.min or high > bounds.max:
            at = int(whole.argmin() if low < bounds.min else whole.argmax())
            return _first(np.array([at]), array)
    return np.asarray(whole.astype(DTYPES[datatype]))


def _from_json(array: Array, each: Input) -> Values | Misfit:
    """Cells that hold a JSON list each."""
    values = []
    for row, cell in enumerate(array.to_pylist(), 1):
        try:
            values.append(None if cell is None else from_json(cell, allow_inf_nan=False))
        except ValueError:
            return Misfit(row, cell, 0, f"{shown(cell)} is no list in JSON.")
    return convert(values, rule_of(each, None))


def _parsed(array: Array, each: Input) -> Values | Misfit:
    """Cells that hold a number each."""
    words = pc.utf8_trim_whitespace(array)
    try:
        if each.kind is Kind.TENSOR:
            if each.datatype is Datatype.BYTES:
                return _objects(array)
            if each.datatype is Datatype.BOOL:
                words = pc.utf8_lower(words)
            kind = pa.float64() if each.datatype in FLOATS else None
            return _leaves(words.cast(kind or pa.from_numpy_dtype(DTYPES[each.datatype])), each)
        numbers = _floats(words.cast(pa.float64()))
    except pa.ArrowInvalid:
        numbers = np.array([np.inf])
    if not np.isinf(numbers).any():
        return numbers
    for row, cell in enumerate(array.to_pylist(), 1):
        if cell is not None and not _reads(cell.strip(), each):
            wanted = _kind_of(each)
            text = f"{shown(cell)} is not {wanted}; an empty cell stands for a missing value."
            return Misfit(row, cell, 0, text)
    raise AssertionError("a cell that cannot be read was not found")


def _kind_of(each: Input) -> str:
    return each.datatype.value if each.kind is Kind.TENSOR else rule_of(each, None).wanted


def _reads(cell: str, each: Input) -> bool:
    kind = pa.float64()
    if each.kind is Kind.TENSOR and each.datatype not in FLOATS:
        kind = pa.from_numpy_dtype(DTYPES[each.datatype])
        cell = cell.lower()
    try:
        value = pa.array([cell]).cast(kind)[0].as_py()
    except pa.ArrowInvalid:
        return False
    return each.kind is Kind.TENSOR or bool(np.isfinite(value) or np.isnan(value))


def _floats(array: Array) -> Values:
    """float64, null as NaN."""
    kind = array.type
    if not (
        pa.types.is_null(kind)
        or pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
    ):
        raise _Unfit
    numbers = array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
    return np.asarray(numbers, np.float64)


def _strings(array: Array) -> Array:
    kind = array.type
    if pa.types.is_dictionary(kind):
        raise _Unfit
    if pa.types.is_null(kind):
        return array.cast(pa.string())
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return array
    if not pa.types.is_string_view(kind):
        raise _Unfit
    return array.cast(pa.large_string())


def _objects(strings: Array) -> Values:
    """An object array of str, null as ""."""
    return np.asarray(strings.fill_null("").to_numpy(zero_copy_only=False), dtype=object)


def _first(wrong: Values, array: Array) -> Misfit:
    """The first of the places with a wrong value."""
    return Misfit(int(wrong[0]) + 1, array[int(wrong[0])].as_py(), len(wrong) - 1)


def _is_list(kind: Any) -> bool:
    types = pa.types
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


_READERS: dict[Kind, Callable[[_Column], Values | Misfit]] = {
    Kind.NUMERIC: _numbers,
    Kind.BOOLEAN: _booleans,
    Kind.DATETIME: _times,
    Kind.CATEGORICAL: _categories,
    Kind.IMAGE: _decoded,
    Kind.TEXT: _decoded,
    Kind.SEQUENCE: _sequences,
    Kind.TENSOR: _tensors,
}
