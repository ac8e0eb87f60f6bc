"""Sensitive columns that come with rows: recorded beside the inputs, never given to the model.

A row may bring them or not: what is not there is missing. What is there is as strictly read as an
input, so that no group is made of typing errors.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import numpy as np

from pellucid.bundle import Datatype, Input, Manifest
from pellucid_api.engine.feeds import Feed, Layout
from pellucid_api.engine.values import Values


class Sensitive:
    """Those of a version.

    Attributes:
        columns: that rows may bring along; one that is an input comes with the inputs anyway.
        row_bytes: of a row, about.
    """

    def __init__(self, manifest: Manifest) -> None:
        taken = {each.name for each in manifest.inputs}
        self.columns = tuple(each for each in manifest.sensitive if each.name not in taken)
        self._layout = Layout(self.columns)
        self.row_bytes = self._layout.row_bytes

    def among(self, names: Collection[str]) -> tuple[Input, ...]:
        """The columns that these names, of all that was sent, are."""
        return tuple(each for each in self.columns if each.name in names)

    def completed(self, rows: Any) -> tuple[Any, tuple[Input, ...]]:
        """Rows, each with all sensitive columns that any of them brings; and these columns."""
        if not self.columns or not isinstance(rows, list):
            return rows, ()
        objects = [row for row in rows if isinstance(row, dict)]
        brought = tuple(each for each in self.columns if any(each.name in row for row in objects))
        blank = {each.name: None for each in brought}
        return [blank | row if isinstance(row, dict) else row for row in rows], brought

    def pack(self, arrays: Mapping[str, Values], rows: int) -> Feed | None:
        """The columns of some rows, missing where there is no array; None if there are none."""
        if not self.columns:
            return None
        return self._layout.pack(
            {each.name: arrays.get(each.name, _missing(each, rows)) for each in self.columns}
        )

    def unpack(self, feeds: Feed | None) -> dict[str, Values]:
        """One array (rows,) per column."""
        return {} if feeds is None else self._layout.unpack(feeds)

    def whole(self, parts: Iterable[tuple[Feed | None, int]]) -> list[Feed] | None:
        """The columns of several requests, each of so many rows; None if there are none."""
        if not self.columns:
            return None
        return [feed or self.pack({}, rows) for feed, rows in parts]  # type: ignore[misc]


def _missing(each: Input, rows: int) -> Values:
    texts = each.datatype is Datatype.BYTES
    return np.full(rows, "", dtype=object) if texts else np.full(rows, np.nan)
