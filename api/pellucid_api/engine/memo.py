"""What was explained before: rows by a digest of their values, within so many bytes."""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence

import msgspec
import numpy as np

from pellucid_api.engine.feeds import Feed
from pellucid_api.engine.values import Values

_DIGEST = 16  # bytes
_EACH = 120  # bytes of an object beside its content, about

Kept = tuple[Values, ...]  # a row of every output


class Memo:
    """The least recently used rows are forgotten first. It is for one thread.

    Args:
        limit: bytes of all rows together, about; 0 keeps none.
    """

    def __init__(self, limit: int) -> None:
        self._limit, self.size = limit, 0
        self._rows: OrderedDict[bytes, tuple[Kept, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._rows)

    def get(self, key: bytes) -> Kept | None:
        """What was kept of a row, which is then the most recently used."""
        found = self._rows.get(key)
        if found is None:
            return None
        self._rows.move_to_end(key)
        return found[0]

    def put(self, key: bytes, outputs: Sequence[Values], row: int) -> None:
        """Keep a row of outputs (rows, ...), copied out of them."""
        kept = tuple([output[row : row + 1].copy() for output in outputs])
        size = _EACH * (len(kept) + 1) + sum([each.nbytes for each in kept])
        if size > self._limit:
            return
        before = self._rows.pop(key, None)
        self._rows[key] = kept, size
        self.size += size - (before[1] if before else 0)
        while self.size > self._limit:
            _, (_, gone) = self._rows.popitem(last=False)
            self.size -= gone


def digests(feed: Feed) -> list[bytes]:
    """A digest of each row's values (BLAKE2b, RFC 7693); rows of equal values have equal ones."""
    numbers = np.ascontiguousarray(feed.numbers.T)
    found = []
    for row in range(feed.rows):
        digest = hashlib.blake2b(digest_size=_DIGEST)
        if numbers.size:
            digest.update(numbers[row].data)
        if len(feed.strings):
            digest.update(msgspec.msgpack.encode(feed.strings[:, row].tolist()))
        for tensor in feed.tensors:
            digest.update(np.ascontiguousarray(tensor[row]).data)
        found.append(digest.digest())
    return found


def merged(
    known: Sequence[Kept | None], new: Sequence[int], outputs: Sequence[Values]
) -> list[Values]:
    """The outputs of all rows, of which some were known and the others are new, in this order."""
    places = {row: i for i, row in enumerate(new)}
    rows = [
        found or tuple([each[places[row] : places[row] + 1] for each in outputs])
        for row, found in enumerate(known)
    ]
    return [np.concatenate(each) for each in zip(*rows, strict=True)]
