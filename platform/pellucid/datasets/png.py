"""PNG without compression: the same pixels are the same bytes on every machine, for ever.

The bytes become part of a data set's identity, while what a compressor makes of pixels depends on
its version. Parquet compresses the column, so nothing is lost. Specification: W3C PNG (Third
Edition), RFC 1950 and 1951 (stored blocks).
"""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}  # channels: grey, RGB, RGBA
_ZLIB_HEADER = b"\x78\x01"
_STORED_BYTES = 2**16 - 1  # of one block


def encode(pixels: NDArray[np.uint8]) -> bytes:
    """The PNG of (H, W) or (H, W, 1 | 3 | 4) pixels, all of which decoding gives back."""
    height, width = pixels.shape[:2]
    channels = pixels.shape[2] if pixels.ndim == 3 else 1
    lines = np.zeros((height, 1 + width * channels), np.uint8)  # 0: the line is not filtered
    lines[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    return (
        _SIGNATURE
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", _stored(lines.tobytes()))
        + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _stored(data: bytes) -> bytes:
    """A zlib stream that holds the data as it is."""
    found = [_ZLIB_HEADER]
    for start in range(0, len(data), _STORED_BYTES):
        block = data[start : start + _STORED_BYTES]
        last = start + len(block) == len(data)
        found += [struct.pack("<BHH", last, len(block), len(block) ^ 0xFFFF), block]
    return b"".join([*found, struct.pack(">I", zlib.adler32(data))])
