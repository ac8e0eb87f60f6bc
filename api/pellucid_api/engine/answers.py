"""A model's output arrays to one answer per row, and the identities of the answers."""

import io
import os
import threading
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from pellucid.bundle import Manifest
from pellucid_api.engine.values import Values


def answers(
    manifest: Manifest, outputs: Mapping[str, Values], ids: Sequence[str]
) -> list[dict[str, Any]]:
    """One `resources.Prediction` per row, as plain data.

    Args:
        manifest: names the classes in the order of the probabilities.
        outputs: label (rows,) and probabilities (rows, classes), or value, (rows,) or (rows,
            steps ahead). Of a model that was made elsewhere: any, (rows, ...).
        ids: one per row.
    """
    if manifest.task == "other":
        lists = zip(*(each.tolist() for each in outputs.values()), strict=True)
        return [
            {"id": identity, "outputs": dict(zip(outputs, row, strict=True))}
            for identity, row in zip(ids, lists, strict=True)
        ]
    if manifest.task == "regression":
        return [
            {"id": identity, "value": value}
            for identity, value in zip(ids, outputs["value"].tolist(), strict=True)
        ]
    names = [str(each) for each in manifest.classes]
    return [
        {"id": identity, "label": label, "probabilities": dict(zip(names, shares, strict=True))}
        for identity, label, shares in zip(
            ids, outputs["label"].tolist(), outputs["probabilities"].tolist(), strict=True
        )
    ]


_ENTROPY = 4000  # bytes that are drawn at once


class PredictionIds:
    """Identities of predictions: version 7 UUIDs (RFC 9562), each greater than the one before.

    Within a millisecond the random bits count up (method 2 of the RFC), so that ids sort in the
    order in which they were given out, also within one request.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0  # 48 bits of milliseconds, 74 bits of counter
        self._entropy = io.BytesIO()

    def reserve(self, count: int) -> int:
        """The number of the first of the next `count` ids; the others follow, one by one."""
        with self._lock:
            now = time.time_ns() // 1_000_000
            first = self._last + 1
            if now > first >> 74:
                # The counter's highest bit starts as 0: room for 2**73 ids within the millisecond.
                first = now << 74 | int.from_bytes(self._drawn(10)) >> 7
            self._last = first + count - 1
        return first

    def _drawn(self, size: int) -> bytes:
        """Random bytes; a call to the kernel for each millisecond's would be felt."""
        found = self._entropy.read(size)
        if len(found) < size:
            self._entropy = io.BytesIO(os.urandom(_ENTROPY))
            found = self._entropy.read(size)
        return found


def prediction_ids(first: int, count: int) -> list[str]:
    """The ids of `count` numbers from the first, as text, ascending."""
    return [prediction_id(number) for number in range(first, first + count)]


def prediction_id(number: int) -> str:
    """The id of a number, as text."""
    low = f"{1 << 63 | number & (1 << 62) - 1:016x}"
    return f"{_first_half(number >> 62)}-{low[:4]}-{low[4:]}"


@lru_cache(64)
def _first_half(high: int) -> str:
    """The text of 48 bits of milliseconds and 12 of the counter: the same for many ids."""
    milliseconds, high = high >> 12, high & 0xFFF
    text = f"{milliseconds << 16 | 0x7000 | high:016x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:]}"
