"""Rows of JSON as tuples, read by msgspec through a struct that is made for a model's inputs."""

import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from pellucid.bundle import Input

_ESCAPED = re.compile(r'["\\\x00-\x1f]')  # in JSON


def nameable(inputs: Iterable[Input]) -> bool:
    """Whether msgspec can read keys of these names: none that JSON must escape."""
    return not any(_ESCAPED.search(each.name) for each in inputs)


class RowStruct:
    """Reads a list of row objects, or `{"rows": [...]}`.

    Args:
        columns: names and types of the values, in the order of the tuples.
        optional: how many of them, the last ones, a row need not have; they are None then.
        bare: whether a row may also be the value of the only column alone.
    """

    def __init__(
        self, columns: Sequence[tuple[str, Any]], *, optional: int = 0, bare: bool = False
    ) -> None:
        needed = len(columns) - optional
        fields: list[Any] = [(f"f{i}", kind) for i, (_, kind) in enumerate(columns)]
        fields[needed:] = [(*field, None) for field in fields[needed:]]
        names = {f"f{i}": name for i, (name, _) in enumerate(columns)}
        row = msgspec.defstruct("Row", fields, rename=names, forbid_unknown_fields=True, gc=False)
        either = row | columns[0][1] if bare else row
        rows = msgspec.defstruct("Rows", [("rows", list[either])], forbid_unknown_fields=True)  # type: ignore[valid-type]
        self._row = row
        self._decoder = msgspec.json.Decoder(list[either] | rows)  # type: ignore[valid-type]

    def read(self, body: bytes, max_rows: int) -> list[tuple[Any, ...]]:
        """One tuple per row.

        Raises:
            ValueError: something does not fit, there are no rows, or more than `max_rows`.
        """
        content = self._decoder.decode(body)  # msgspec's errors are ValueErrors
        rows = content if isinstance(content, list) else content.rows
        if not 0 < len(rows) <= max_rows:
            raise ValueError("no rows, or too many")
        return [msgspec.structs.astuple(row) if type(row) is self._row else (row,) for row in rows]
