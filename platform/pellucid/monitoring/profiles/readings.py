"""What of the prediction log is profiled: columns of numbers and strings, whatever the model takes.

    scalar                  as it is
    sequence                NAME.length, NAME.mean, NAME.deviation
    text (tokens)           NAME.length, NAME.unknown: share of tokens that training did not know
    image                   NAME.brightness, NAME.contrast: mean and deviation of its pixels, 0-255
    label                   outputs.label, as a string
    probabilities           outputs.probabilities.CLASS; of more than 20 classes outputs.confidence,
                            the largest one
    value                   outputs.value; of a forecast outputs.value.1 and so on

A sequence, text or image without content is missing in each of its columns.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pellucid.analysis.watching.profiles import Floats

PREFIX = "outputs."
LABEL, VALUE, CONFIDENCE = "outputs.label", "outputs.value", "outputs.confidence"
PROBABILITIES = "outputs.probabilities."
MOST_CLASSES = 20
_UNKNOWN_TOKEN = 1

Columns = dict[str, Any]


def inputs_of(structs: pa.StructArray) -> Columns:
    """The columns of the log's `inputs`, as `PredictionLog` gives them."""
    found: Columns = {}
    for field, values in zip(structs.type, structs.flatten(), strict=True):
        found[field.name] = values
        found |= {f"{field.name}.{what}": each for what, each in _measured(values).items()}
    return found


def outputs_of(structs: pa.StructArray, classes: Sequence[str]) -> Columns:
    """The columns of the log's `outputs`.

    Args:
        structs: as `PredictionLog` gives them.
        classes: in the manifest's order; not needed where there are more than 20, or none.
    """
    found: Columns = {}
    for field, values in zip(structs.type, structs.flatten(), strict=True):
        if field.name == "label":
            found[LABEL] = _as_text(values)
        elif field.name == "value":
            found |= _values(values)
        elif field.name == "probabilities":
            found |= _probabilities(values, classes)
    return found


def is_scalar(column: Any) -> bool:
    """Whether a column is of numbers or strings, and not of lists, images or bytes."""
    if isinstance(column, np.ndarray):
        return True
    return not (pa.types.is_nested(column.type) or pa.types.is_binary(column.type))


def _measured(values: pa.Array) -> dict[str, Floats]:
    """Numbers about values that are no scalars."""
    kind = values.type
    if pa.types.is_list(kind) and pa.types.is_floating(kind.value_type):
        numbers, starts, ends = elements(values)
        known = ~np.isnan(numbers)
        many = _sums(known.astype(np.float64), starts, ends)
        mean = _sums(np.where(known, numbers, 0.0), starts, ends) / many
        rest = np.where(known, numbers - np.repeat(mean, ends - starts), 0.0)
        spread = np.sqrt(_sums(rest**2, starts, ends) / many)
        return {"length": _positive(ends - starts), "mean": mean, "deviation": spread}
    if pa.types.is_list(kind) and pa.types.is_integer(kind.value_type):
        tokens, starts, ends = elements(values)
        lengths = _positive(ends - starts)
        unknown = _sums((tokens == _UNKNOWN_TOKEN).astype(np.float64), starts, ends)
        return {"length": lengths, "unknown": unknown / lengths}
    if pa.types.is_struct(kind) and kind.get_field_index("data") >= 0:
        return _pixels(values.flatten()[kind.get_field_index("data")])
    return {}


def _pixels(values: pa.Array) -> dict[str, Floats]:
    if not pa.types.is_binary(values.type):
        return {}
    pixels, starts, ends = content(values)
    many = _positive(ends - starts)
    mean = _sums(pixels, starts, ends) / many
    squares = _sums(np.square(pixels, dtype=np.uint16), starts, ends) / many
    return {"brightness": mean, "contrast": np.sqrt(np.maximum(squares - mean**2, 0.0))}


def _values(values: pa.Array) -> Columns:
    if not pa.types.is_list(values.type):
        return {VALUE: values}
    table = numbers_of(values)
    return {f"{VALUE}.{step}": column for step, column in enumerate(table.T, 1)}


def _probabilities(values: pa.Array, classes: Sequence[str]) -> Columns:
    table = numbers_of(values)
    if table.shape[1] > MOST_CLASSES:
        return {CONFIDENCE: table.max(axis=1)}
    if table.shape[1] != len(classes):
        return {}
    return {f"{PROBABILITIES}{name}": column for name, column in zip(classes, table.T, strict=True)}


def _as_text(values: pa.Array) -> pa.Array:
    return values.cast(pa.string()) if pa.types.is_integer(values.type) else values


def numbers_of(values: pa.Array) -> NDArray[Any]:
    """Vectors of one length as (rows, length), or (rows, 0) where they differ."""
    if pa.types.is_struct(values.type) and values.type.get_field_index("data") >= 0:
        data = values.flatten()[values.type.get_field_index("data")]
        held, starts, ends = content(data)
        flat: NDArray[Any] = held.view("<f4") if not len(held) % 4 else held
    elif pa.types.is_list(values.type) and pa.types.is_floating(values.type.value_type):
        flat, starts, ends = elements(values)
    else:
        return np.empty((len(values), 0))
    lengths = np.unique(ends - starts)
    if len(lengths) != 1 or not lengths[0]:
        return np.empty((len(values), 0))
    return flat.reshape(len(starts), -1)


def elements(values: pa.ListArray) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
    """All elements, and where each row's begin and end."""
    lengths = pc.list_value_length(values).fill_null(0).to_numpy().astype(np.int64)
    ends = np.cumsum(lengths)
    flat = values.flatten()
    return flat.to_numpy(zero_copy_only=False), ends - lengths, ends


def content(values: pa.Array) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]:
    """The bytes of all values, and where each one's begin and end."""
    if values.null_count:
        values = values.fill_null(b"")
    offsets = np.frombuffer(values.buffers()[1], np.int32, len(values) + 1, 4 * values.offset)
    places = offsets.astype(np.int64) - offsets[0]
    data = values.buffers()[2]
    held = np.frombuffer(data or b"", np.uint8)[offsets[0] : offsets[-1]]
    return held, places[:-1], places[1:]


def _sums(numbers: NDArray[Any], starts: NDArray[np.int64], ends: NDArray[np.int64]) -> Floats:
    """(rows,) the sum of each row's elements; NaN of those without any."""
    sums = np.full(len(starts), np.nan)
    there = starts < ends
    if there.any():
        kind = np.float64 if numbers.dtype.kind == "f" else np.int64
        sums[there] = np.add.reduceat(numbers, starts[there], dtype=kind)
    return sums


def _positive(lengths: NDArray[np.int64]) -> Floats:
    """NaN for 0: nothing is missing, not short."""
    return np.where(lengths > 0, lengths, np.nan)


def classes_of(names: Mapping[str, object]) -> tuple[str, ...]:
    """The classes whose probabilities are among some columns, in their order."""
    return tuple(
        name.removeprefix(PROBABILITIES) for name in names if name.startswith(PROBABILITIES)
    )
