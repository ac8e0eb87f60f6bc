"""Prediction ids: version 7 UUIDs (RFC 9562), many at a time, as pairs of 64-bit words."""

import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pellucid.errors import InvalidInput

TYPE = pa.binary(16)
HOUR_MS = 3_600_000
_END_MS = 253_402_300_800_000  # the year 10000, which no directory's name can tell
Words = NDArray[np.uint64]  # (ids, 2)
_LOW = np.uint64((1 << 62) - 1)


def from_numbers(firsts: Sequence[int], counts: NDArray[np.int64]) -> Words:
    """The ids of runs of numbers, as the service reserves them for each request.

    Args:
        firsts: the first number of each run: 48 bits of milliseconds, then a counter of 74.
        counts: how many numbers follow each other, (runs,).
    """
    content = b"".join([first.to_bytes(16) for first in firsts])
    numbers = np.frombuffer(content, ">u8").astype(np.uint64).reshape(-1, 2)
    high = numbers[:, 0] << np.uint64(2) | numbers[:, 1] >> np.uint64(62)
    low = numbers[:, 1] & _LOW
    lengths = counts.astype(np.uint64)
    if (
        low + lengths > _LOW + np.uint64(1)
    ).any():  # a run carries into the high word: number by number
        every = [first + k for first, n in zip(firsts, counts, strict=True) for k in range(n)]
        return from_numbers(every, np.ones(len(every), np.int64))
    high = high >> np.uint64(12) << np.uint64(16) | np.uint64(0x7000) | high & np.uint64(0xFFF)
    low |= np.uint64(1 << 63)
    if (counts != 1).any():
        begins = np.cumsum(lengths) - lengths
        low = np.repeat(low - begins, counts) + np.arange(lengths.sum(), dtype=np.uint64)
        high = np.repeat(high, counts)
    return np.stack((high, low), axis=1)


def to_arrow(words: Words) -> pa.Array:
    """The ids as Arrow's fixed-size binary, most significant byte first."""
    return pa.Array.from_buffers(TYPE, len(words), [None, pa.py_buffer(words.astype(">u8"))])


def from_arrow(ids: pa.Array) -> Words:
    """The reverse of `to_arrow`."""
    content = ids.buffers()[1]
    words = np.frombuffer(content, ">u8", 2 * len(ids), 16 * ids.offset)
    return words.astype(np.uint64).reshape(-1, 2)


def hours(words: Words) -> NDArray[np.int64]:
    """The hour of each id, counted from 1970-01-01 UTC."""
    milliseconds = words[:, 0] >> np.uint64(16)
    return (milliseconds // np.uint64(HOUR_MS)).astype(np.int64)


def sampled(words: Words, share: float) -> NDArray[np.bool_]:
    """Which ids belong to a sample of this share: the same ones whoever asks, and whenever.

    An id is in the sample where its hash (the finaliser of SplitMix64, Steele et al. 2014) is
    below the share; a larger sample therefore holds all of a smaller one.
    """
    mixed = words[:, 0] * np.uint64(0x9E3779B97F4A7C15) ^ words[:, 1]
    mixed = (mixed ^ mixed >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ mixed >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    chosen: NDArray[np.bool_] = mixed.astype(np.float64) < share * 2.0**64
    return chosen


def parse(text: str) -> uuid.UUID:
    """An id as people write it.

    Raises:
        InvalidInput: it is no version 7 UUID.
    """
    try:
        found = uuid.UUID(text)
    except ValueError:
        found = None
    if found is None or found.version != 7 or found.int >> 80 >= _END_MS:
        raise InvalidInput(
            f"{text[:60]!r} is no prediction's id.",
            where={"id": text[:60]},
            remedy="An id is the UUID that came with the prediction.",
        )
    return found


def parse_many(texts: pa.Array) -> tuple[Words, NDArray[np.bool_]]:
    """Ids as people write them, many at a time.

    Args:
        texts: strings, (N,); null is no id.

    Returns:
        (N, 2) words, zeros where the text is no id, and (N,) which are.
    """
    plain = pc.replace_substring(pc.utf8_lower(pc.utf8_trim_whitespace(texts)), "-", "")
    fits = pc.match_substring_regex(plain, "^[0-9a-f]{32}$")
    valid = np.asarray(fits.fill_null(False).to_numpy(zero_copy_only=False), bool)
    content = bytes.fromhex("".join(plain.filter(pa.array(valid)).to_pylist()))
    words = np.zeros((len(texts), 2), np.uint64)
    words[valid] = np.frombuffer(content, ">u8").reshape(-1, 2)
    return words, valid & verified(words)


def verified(words: Words) -> NDArray[np.bool_]:
    """Which words are ids: version 7, of the variant of RFC 9562, of a time that has a name."""
    high, low = words[:, 0], words[:, 1]
    of_version = (high >> np.uint64(12) & np.uint64(15)) == np.uint64(7)
    known: NDArray[np.bool_] = of_version & (low >> np.uint64(62) == np.uint64(2))
    return known & (high >> np.uint64(16) < np.uint64(_END_MS))


def hour_of(prediction: uuid.UUID) -> int:
    """The hour of one id, counted from 1970-01-01 UTC."""
    return (prediction.int >> 80) // HOUR_MS


def seconds_of(prediction: uuid.UUID) -> float:
    """When an id was given out, in seconds since 1970-01-01 UTC."""
    return (prediction.int >> 80) / 1000


def text(value: Any) -> str:
    """16 bytes as a UUID's text."""
    return str(uuid.UUID(bytes=value))
