"""What images, texts, sequences and tensors hold, as vectors that can be compared in numbers.

    image       its pixels' means over 8 by 8 parts, by channel; of several frames, their mean
    text        the root of each token's share of it, tokens hashed to 256 places
    sequence    the means of its known steps over 16 parts
    tensor      its numbers, if there are at most 4096

They tell that something else is shown, said or measured than in training, not what. A bundle has
them of held-out rows, and never the images, texts and sequences themselves.
"""

import math
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pellucid.analysis.watching.profiles import Floats
from pellucid.bundle import Datatype, Input
from pellucid.monitoring.arrays import ELEMENTS
from pellucid.monitoring.profiles.readings import content, elements, inputs_of, is_scalar
from pellucid.schema import Kind

CONTENTS = "contents"
_CELLS, _PLACES, _PARTS, _MOST = 8, 256, 16, 4096
_SPREAD = 2654435761  # Knuth's multiplicative hash: neighbours in a vocabulary are kept apart


def light(part: pa.RecordBatch, inputs: Iterable[Input]) -> pa.RecordBatch:
    """Rows with what is read of images, texts, sequences and tensors in their place.

    Args:
        part: of the log; without `inputs` it is returned as it is.
        inputs: of the version.

    Returns:
        The rows; vectors in the struct `contents`, where there are some.
    """
    place = part.schema.get_field_index("inputs")
    if place < 0:
        return part
    structs = part.column(place)
    read = {name: each for name, each in inputs_of(structs).items() if is_scalar(each)}
    found = _vectors(structs, inputs)
    part = part.remove_column(place)  # Parquet knows no struct without fields
    if read:
        part = part.add_column(place, "inputs", _struct(read))
    if not found:
        return part
    lists = {
        name: pa.FixedSizeListArray.from_arrays(pa.array(each.ravel(), pa.float32()), each.shape[1])
        for name, each in found.items()
    }
    return part.append_column(CONTENTS, _struct(lists))


def contents(parts: Iterable[pa.RecordBatch]) -> dict[str, Floats]:
    """Column -> (rows, d), of the parts that have it, as `light` gives them."""
    found: dict[str, list[NDArray[np.float32]]] = {}
    for part in parts:
        if CONTENTS in part.schema.names:
            structs = part.column(CONTENTS)
            for field, values in zip(structs.type, structs.flatten(), strict=True):
                numbers = values.flatten().to_numpy(zero_copy_only=False)
                found.setdefault(field.name, []).append(numbers.reshape(-1, values.type.list_size))
    return {name: np.concatenate(each).astype(np.float64) for name, each in found.items()}


def _vectors(structs: pa.StructArray, inputs: Iterable[Input]) -> dict[str, Floats]:
    recorded = dict(zip((field.name for field in structs.type), structs.flatten(), strict=True))
    found = {}
    for spec in inputs:
        if spec.kind in _READERS and not spec.scalar and spec.name in recorded:
            vectors = _READERS[spec.kind](recorded[spec.name], spec)
            if vectors is not None and vectors.shape[1]:
                found[spec.name] = vectors
    return found


def _struct(columns: Mapping[str, pa.Array | NDArray[np.generic]]) -> pa.StructArray:
    return pa.StructArray.from_arrays(list(columns.values()), list(columns))


def _image(values: pa.Array, spec: Input) -> Floats | None:
    shown = _arrays(values, spec)
    if shown is None:
        return None
    pixels, there = shown
    if pixels.ndim == 5:
        pixels = pixels.mean(axis=1)
    small = _pooled(_pooled(pixels, 1), 2).reshape(len(pixels), -1)
    return _whole(small, there)


def _tensor(values: pa.Array, spec: Input) -> Floats | None:
    if math.prod(spec.shape) > _MOST:
        return None
    held = _arrays(values, spec)
    if held is None:
        return None
    numbers, there = held
    return _whole(numbers.reshape(len(numbers), -1), there)


def _text(values: pa.Array, _: Input) -> Floats | None:
    if not pa.types.is_list(values.type):
        return None
    tokens, starts, ends = elements(values)
    lengths = ends - starts
    places = (tokens.astype(np.uint64) * _SPREAD % 2**32 * _PLACES) >> np.uint64(32)
    cells = np.repeat(np.arange(len(lengths)), lengths) * _PLACES + places.astype(np.int64)
    counts = np.bincount(cells, minlength=len(lengths) * _PLACES).reshape(-1, _PLACES)
    with np.errstate(invalid="ignore"):
        shares: Floats = np.sqrt(counts / lengths[:, None])
    return shares


def _sequence(values: pa.Array, _: Input) -> Floats | None:
    if not pa.types.is_list(values.type):
        return None
    numbers, starts, ends = elements(values)
    known = np.isfinite(numbers)
    sums = np.concatenate([[0.0], np.cumsum(np.where(known, numbers, 0.0))])
    counts = np.concatenate([[0], np.cumsum(known)])
    steps = (ends - starts)[:, None]
    first = starts[:, None] + np.arange(_PARTS) * steps // _PARTS
    last = np.minimum(
        np.maximum(starts[:, None] + np.arange(1, _PARTS + 1) * steps // _PARTS, first + 1),
        ends[:, None],
    )
    first = np.minimum(first, last)
    with np.errstate(invalid="ignore"):
        means = (sums[last] - sums[first]) / (counts[last] - counts[first])
        whole = (sums[ends] - sums[starts]) / (counts[ends] - counts[starts])
    course: Floats = np.where(np.isnan(means), whole[:, None], means)
    return course


_READERS: dict[Kind, Callable[[pa.Array, Input], Floats | None]] = {
    Kind.IMAGE: _image,
    Kind.TEXT: _text,
    Kind.SEQUENCE: _sequence,
    Kind.TENSOR: _tensor,
}


def _arrays(values: pa.Array, spec: Input) -> tuple[Floats, NDArray[np.bool_]] | None:
    """(there, *shape) the arrays that are there, and (rows,) which are; None: none can be read."""
    size = math.prod(spec.shape)
    if size < 1 or spec.datatype is Datatype.BYTES:
        return None
    if pa.types.is_struct(values.type):
        held, starts, ends = content(values.flatten()[values.type.get_field_index("data")])
        dtype = np.dtype(ELEMENTS[spec.datatype].to_pandas_dtype()).newbyteorder("<")
        there = ends - starts == size * dtype.itemsize
        kept = held[np.repeat(there, ends - starts)].view(dtype)
    elif pa.types.is_list(values.type):
        numbers, starts, ends = elements(values)
        there = ends - starts == size
        kept = numbers[np.repeat(there, ends - starts)]
    else:
        return None
    return kept.reshape(-1, *spec.shape).astype(np.float64), there


def _whole(vectors: Floats, there: NDArray[np.bool_]) -> Floats:
    """(rows, d), NaN of rows that are not there."""
    found = np.full((len(there), vectors.shape[1]), np.nan)
    found[there] = vectors
    return found


def _pooled(values: Floats, axis: int) -> Floats:
    """Means over at most 8 parts of an axis, as equal as may be."""
    size = values.shape[axis]
    edges = np.linspace(0, size, min(_CELLS, size) + 1).astype(int)
    shape = [1] * values.ndim
    shape[axis] = -1
    return np.add.reduceat(values, edges[:-1], axis=axis) / np.diff(edges).reshape(shape)
