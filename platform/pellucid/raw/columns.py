"""Raw values of an image, sequence or text column to the array that a model takes.

The service, MLflow's generic interface and the comparison of two versions read values here. Every
registered model carries a copy of this package, so it imports nothing of Pellucid but the errors.
"""

import base64
import binascii
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import InvalidData
from pellucid.raw import sequences

if TYPE_CHECKING:
    from pellucid.raw.texts import Tokenizer

Array = NDArray[Any]
_PIECE = 2**22  # bytes of input; a network needs up to some hundred times that for its layers
_NUMBERS = frozenset({int, float, type(None)})


def tokenizer_in(directory: Path) -> "Tokenizer | None":
    """The tokenizer of a bundle, where it has one."""
    path = directory / "tokenizer.json"
    if not path.is_file():
        return None
    from pellucid.raw.texts import Tokenizer  # only text models need the library

    return Tokenizer.load(path)


def read(
    values: Sequence[Any], kind: str, shape: tuple[int, ...], tokenizer: "Tokenizer | None" = None
) -> Array:
    """The tensor (rows, *shape) of a column.

    Args:
        values: image: encoded bytes, base64 of them, or pixels (height, width) or (height, width,
            channels) from 0 to 255. sequence: numbers or None; None alone is a missing one.
            text: a string or None.
        kind: image, sequence or text.
        shape: of one row, as the manifest says.
        tokenizer: of a text column.

    Raises:
        InvalidData: a value is none of these; `where["row"]` counts from 1.
    """
    if kind == "text":
        assert tokenizer is not None, "a text model's bundle holds its tokenizer"
        return tokenizer.encode(list(_rows(values, _text)), shape[0])
    if kind == "sequence":
        return sequences.pad(list(_rows(values, _numbers)), shape[0])
    found = np.empty((len(values), *shape), np.uint8)
    for row, pixels in enumerate(_rows(values, lambda value: _pixels(value, shape))):
        found[row] = pixels
    return found


def missing(kind: str, shape: tuple[int, ...]) -> Array | None:
    """(*shape): what stands for a missing value; None where a value must be there."""
    if kind == "text":
        return np.zeros(shape, np.int64)
    return np.full(shape, np.nan) if kind == "sequence" else None


def pieces(feed: Mapping[str, Array]) -> Iterator[dict[str, Array]]:
    """The rows of a feed, in order, cut so that a network's layers fit in memory."""
    rows = len(next(iter(feed.values())))
    row = sum(column[:1].nbytes for column in feed.values())
    step = max(1, _PIECE // max(1, row))
    for start in range(0, max(1, rows), step):
        yield {name: column[start : start + step] for name, column in feed.items()}


def _rows(values: Sequence[Any], convert: Any) -> Iterator[Any]:
    for row, value in enumerate(values, 1):
        try:
            yield convert(value)
        except InvalidData as error:
            where = {**error.where, "row": row}
            raise InvalidData(error.message, where=where, remedy=error.remedy) from error


def _text(value: Any) -> str:
    if _is_missing(value):
        return ""
    if not isinstance(value, str):
        raise InvalidData(f"{_shown(value)} is not a string.")
    return value


def _numbers(value: Any) -> Array:
    """(steps,) float64."""
    if _is_missing(value):
        return np.empty(0)
    if isinstance(value, np.ndarray) and value.dtype.kind in "iuf" and value.ndim == 1:
        numbers = value.astype(np.float64)
    elif isinstance(value, list | tuple) and _NUMBERS.issuperset(map(type, value)):
        try:
            numbers = np.array(value, dtype=np.float64)  # None becomes NaN
        except OverflowError:
            raise InvalidData("A number is too large for 64 bits.") from None
    else:
        raise InvalidData(f"{_shown(value)} is not a list of numbers; null is a missing one.")
    if np.isinf(numbers).any():
        raise InvalidData("A number is infinite; null stands for a missing one.")
    return numbers


def _pixels(value: Any, shape: tuple[int, ...]) -> Array:
    from pellucid.raw import images  # only image models need the library

    if isinstance(value, str):
        value = _from_base64(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return images.decode(bytes(value), shape)
    if not isinstance(value, list | tuple | np.ndarray):
        raise InvalidData(f"{_shown(value)} is not an image.")
    try:  # not as text, each of which would take as much memory as the longest
        array = np.asarray(value, None if isinstance(value, np.ndarray) else np.float64)
    except (TypeError, ValueError, OverflowError):
        raise InvalidData("The rows of pixels differ in length, or are no numbers.") from None
    if array.dtype.kind == "f" and (array != array.round()).any():  # a share of 1 would be black
        raise InvalidData(
            "Pixels are whole numbers from 0 to 255.", remedy="Multiply shares of 1 by 255."
        )
    return images.pixels(array, shape)


def _from_base64(text: str) -> bytes:
    if text.startswith("data:"):
        text = text.partition(",")[2]
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidData("The text is not base64 of an image file.") from None


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and value != value)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
