"""Tensors as bytes: little-endian, row-major; the elements of BYTES each after their length.

Both the binary tensor data extension of REST and `raw_input_contents` of gRPC carry tensors so.
Source: https://github.com/triton-inference-server/server, docs/protocol/extension_binary_data.md.
"""

import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pellucid.errors import InvalidRows
from pellucid_api.engine.datatypes import DTYPES
from pellucid_api.engine.values import clipped

MOST_AXES = 32
_DTYPES: dict[str, np.dtype[Any]] = {each.value: dtype for each, dtype in DTYPES.items()}
_LENGTH = struct.Struct("<I")  # of an element of BYTES


def to_array(
    raw: bytes | memoryview, datatype: str, shape: Sequence[int], name: str = ""
) -> NDArray[Any]:
    """The array of a shape that the bytes hold; an object array of `bytes` for BYTES.

    Numbers are not copied, unless their address is not a multiple of their size: the array is then
    a read-only view.

    Args:
        raw: no more and no less than the tensor.
        datatype: as the protocol names it.
        shape: numbers that a client claims.
        name: of the input, for errors.

    Raises:
        InvalidRows: the datatype is unknown, the shape is none or has a zero, or the size
            differs from what datatype and shape ask for.
    """
    count = size_of(shape, name)
    if datatype == "BYTES" and count:
        return _elements(raw, count, name).reshape(shape)
    dtype = _DTYPES.get(datatype)
    if dtype is None:
        raise unknown(datatype, name)
    if len(raw) != count * dtype.itemsize:
        raise _refused(
            name,
            f"it has {len(raw)} bytes, and {datatype} of the shape {list(shape)} "
            f"takes {count * dtype.itemsize}",
        )
    if not count:
        raise _refused(name, f"its shape is {list(shape)}", "Send at least one value.")
    if datatype == "BOOL" and np.frombuffer(raw, np.uint8).max() > 1:
        raise _refused(name, "a BOOL is neither 0 nor 1")
    array = np.frombuffer(raw, dtype)
    return (array if array.flags.aligned else array.copy()).reshape(shape)


def size_of(shape: Sequence[int], name: str) -> int:
    """The number of values of a shape that a client claims.

    Raises:
        InvalidRows: an axis is negative or of more than 63 bits, or there are too many of them.
    """
    if len(shape) > MOST_AXES:
        raise _refused(name, f"its shape has {len(shape)} axes, and {MOST_AXES} are the most")
    if not all(0 <= size < 2**63 for size in shape):
        raise _refused(name, f"its shape is {list(shape)}")
    return math.prod(shape)  # of Python's integers, which do not overflow


def from_array(array: NDArray[Any], datatype: str) -> bytes:
    """The bytes of an array; of BYTES an array of `bytes` or `str`, which is written as UTF-8."""
    if datatype == "BYTES":
        texts = (v if isinstance(v, bytes) else str(v).encode() for v in array.ravel().tolist())
        return b"".join(part for text in texts for part in (_LENGTH.pack(len(text)), text))
    return array.astype(_DTYPES[datatype], copy=False).tobytes()


def unknown(datatype: str, name: str) -> InvalidRows:
    """The error for a datatype that the protocol does not have."""
    known = ", ".join(_DTYPES)
    return _refused(name, f"its datatype is {clipped(datatype)}", f"Send one of {known}.")


def _elements(raw: bytes | memoryview, count: int, name: str) -> NDArray[Any]:
    if count * _LENGTH.size > len(raw):  # before anything as large as the claim is made
        raise _refused(name, f"{len(raw)} bytes are too few for {count} elements of BYTES")
    array = np.empty(count, dtype=object)
    start = 0
    for index in range(count):
        end = start + _LENGTH.size
        if end > len(raw):
            raise _refused(name, f"its bytes end before element {index + 1} of {count}")
        start, end = end, end + _LENGTH.unpack_from(raw, start)[0]
        if end > len(raw):
            raise _refused(
                name,
                f"element {index + 1} claims {end - start} bytes, and {len(raw) - start} are left",
            )
        array[index] = bytes(raw[start:end])
        start = end
    if start != len(raw):
        raise _refused(name, f"{len(raw) - start} bytes follow the last of its {count} elements")
    return array


def _refused(name: str, reason: str, remedy: str = "") -> InvalidRows:
    name = clipped(name)
    return InvalidRows(f"Input {name!r}: {reason}.", where={"input": name}, remedy=remedy)
