"""NumPy archives (`.npz`): arrays of the same length become columns.

    shape (N,) or (N, 1)                 a column of numbers, booleans, texts or dates
    (N, T)                               a list column
    (N, T, C)                            C list columns, NAME_0, NAME_1, ...
    uint8 (N, H, W), (N, H, W, 1 | 3 | 4)   an image column, losslessly PNG

Arrays are unpacked to disk and read from there a block of rows at a time. Nothing is unpickled.
"""

import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pellucid.datasets.png import encode
from pellucid.datasets.readers import archives
from pellucid.errors import InvalidData, StorageFull

SUFFIX = ".npy"
_BLOCK_BYTES = 2**23
_CHANNELS = (1, 3, 4)
_LIST = pa.large_list(pa.float64())
Convert = Callable[[NDArray[Any]], pa.Array]


class _Column(NamedTuple):
    name: str
    array: NDArray[Any]  # (N, ...), on disk
    type: pa.DataType
    convert: Convert


def write_arrays(archive: zipfile.ZipFile, file: str, scratch: Path, target: Path) -> None:
    """Write the arrays as a Parquet file, a few megabytes at a time.

    Raises:
        InvalidData: an array has objects in it, another length or a shape that has no column.
        StorageFull: there is no space to unpack them.
    """
    infos = archives.members(archive, file)
    _require_space(sum(info.file_size for info in infos.values()), scratch, file)
    arrays = {
        name.removesuffix(SUFFIX): _unpacked(archive, info, file, scratch / f"{index}{SUFFIX}")
        for index, (name, info) in enumerate(infos.items())
    }
    _require_lengths(arrays, file)
    columns = [column for name, array in arrays.items() for column in _columns(name, array, file)]
    schema = pa.schema([(column.name, column.type) for column in columns])
    rows = len(next(iter(arrays.values())))
    width = sum(array.nbytes for array in arrays.values()) / max(rows, 1)
    block = max(1, int(_BLOCK_BYTES / max(width, 1)))
    with pq.ParquetWriter(target, schema, compression="none", use_dictionary=False) as writer:
        for start in range(0, rows, block):
            cells = [_block(column, start, start + block, file) for column in columns]
            writer.write_batch(pa.RecordBatch.from_arrays(cells, schema=schema))


def _require_space(size: int, scratch: Path, file: str) -> None:
    if 2 * size > shutil.disk_usage(scratch).free:  # unpacked, and as Parquet
        raise StorageFull(
            f"The arrays have {size:,} bytes, for which there is no space.",
            where={"file": file},
            remedy="Free space under PELLUCID_HOME and add it again.",
        )


def _unpacked(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, file: str, path: Path
) -> NDArray[Any]:
    """The array, mapped from a file of its own."""
    with path.open("wb") as target:
        for block in archives.blocks(archive, info, file, info.file_size):
            target.write(block)
    try:
        array: NDArray[Any] = np.lib.format.open_memmap(path, mode="r")
    except (ValueError, OSError, EOFError) as error:
        raise _refused(
            info.filename,
            file,
            f"The array cannot be read: {error}",
            "Store whole arrays of numbers or texts, no Python objects.",
        ) from error
    return array


def _require_lengths(arrays: dict[str, NDArray[Any]], file: str) -> None:
    lengths = {name: array.shape[0] if array.ndim else None for name, array in arrays.items()}
    if len(set(lengths.values())) > 1 or None in lengths.values():
        listed = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise InvalidData(
            f"The arrays differ in length: {listed}.",
            where={"file": file},
            remedy="Store arrays with one element for each row; two parts become two files, or "
            "are joined.",
        )


def _columns(name: str, array: NDArray[Any], file: str) -> Iterator[_Column]:
    """The columns that an array becomes.

    Raises:
        InvalidData: no column has such a shape or such values.
    """
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    numbers = array.dtype.kind in "biuf"
    if array.ndim == 1 and (numbers or array.dtype.kind in "USM"):
        kind, convert = _scalars(array.dtype)
        yield _Column(name, array, kind, convert)
    elif _is_image(array):
        yield _Column(name, array, pa.large_binary(), _pngs)
    elif array.ndim == 2 and numbers:
        yield _Column(name, array, _LIST, _lists)
    elif array.ndim == 3 and numbers and array.dtype != np.uint8:
        for channel in range(array.shape[2]):
            yield _Column(f"{name}_{channel}", array[:, :, channel], _LIST, _lists)
    else:
        raise _refused(
            f"{name}{SUFFIX}",
            file,
            f"An array of type {array.dtype} and shape {array.shape} is no column.",
            "Images are uint8 (N, H, W) or (N, H, W, C) with 1, 3 or 4 channels; sequences "
            "(N, T) or (N, T, C).",
        )


def _is_image(array: NDArray[Any]) -> bool:
    if array.dtype != np.uint8 or 0 in array.shape[1:]:
        return False
    return array.ndim == 3 or (array.ndim == 4 and array.shape[3] in _CHANNELS)


def _scalars(dtype: np.dtype[Any]) -> tuple[pa.DataType, Convert]:
    """The Arrow type of an array's values, and how they become it."""
    match dtype.kind:
        case "M":
            kind = pa.timestamp("us")
            return kind, lambda values: pa.array(values.astype("datetime64[us]"), kind)
        case "S":
            return pa.string(), lambda values: pa.array(np.char.decode(values, "utf-8").tolist())
        case "U":
            return pa.string(), lambda values: pa.array(values.tolist(), pa.string())
        case "f":
            return pa.float64(), lambda values: pa.array(values.astype(np.float64))
        case _:
            native = dtype.newbyteorder("=")
            return pa.from_numpy_dtype(native), lambda values: pa.array(values.astype(native))


def _pngs(values: NDArray[Any]) -> pa.Array:
    return pa.array(map(encode, values), pa.large_binary())


def _lists(values: NDArray[Any]) -> pa.Array:
    rows, steps = values.shape
    offsets = pa.array(np.arange(rows + 1, dtype=np.int64) * steps)
    return pa.LargeListArray.from_arrays(offsets, pa.array(values.astype(np.float64).ravel()))


def _block(column: _Column, start: int, end: int, file: str) -> pa.Array:
    try:
        return column.convert(np.asarray(column.array[start:end]))
    except (ValueError, pa.ArrowException) as error:
        raise InvalidData(
            f"The array's values cannot be read: {error}",
            where={"file": file, "column": column.name},
            remedy="Store texts in UTF-8, and dates from the year 1 to 9999.",
        ) from error


def _refused(member: str, file: str, message: str, remedy: str) -> InvalidData:
    return InvalidData(message, where={"file": file, "member": member}, remedy=remedy)
