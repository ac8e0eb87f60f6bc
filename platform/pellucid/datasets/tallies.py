"""How many of a column's values can be read as what: one pass over the file."""

from dataclasses import dataclass

import duckdb

from pellucid.datasets import expressions as sql
from pellucid.datasets.expressions import Spelling
from pellucid.datasets.readers.source import Source


@dataclass(frozen=True)
class Tally:
    """Counts over a column's texts; a text may be counted in several."""

    longest: int = 0  # bytes of the longest text
    present: int = 0
    integers: int = 0  # written as integers, of any size
    fitting: int = 0  # within 64 bits
    numbers: int = 0  # infinities among them
    infinite: int = 0
    booleans: int = 0
    iso: int = 0
    day_first: int = 0
    month_first: int = 0
    ambiguous: int = 0  # another date with the day first than with the month first

    @property
    def dates(self) -> int:
        """Values that are dates, all written in the same order."""
        return max(self.iso, self.day_first, self.month_first)


_COUNTS = f"""
    max(strlen(c)),
    count(c),
    count_if(k = {Spelling.INTEGER}),
    count(CASE WHEN k = {Spelling.INTEGER} THEN TRY_CAST(c AS BIGINT) END),
    count_if(k BETWEEN {Spelling.INTEGER} AND {Spelling.INFINITE}),
    count_if(k = {Spelling.INFINITE}),
    count_if(k = {Spelling.BOOLEAN}),
    count(CASE WHEN k = {Spelling.DATE} THEN {sql.timestamp("c", "iso")} END),
    count(d),
    count(m),
    count_if(d <> m)
"""


def tally(
    engine: duckdb.DuckDBPyConnection, source: Source, columns: list[int]
) -> dict[int, Tally]:
    """The tally of each of some columns of text.

    The columns are stacked into one, so that the query is as short for a thousand as for one.
    """
    if not columns:
        return {}
    cells = ", ".join(f"CAST(c{index} AS VARCHAR)" for index in columns)
    rows = engine.execute(f"""
        WITH cells AS (
            SELECT unnest({columns}) AS i, unnest([{cells}]) AS c FROM {source.relation}
        ), spelt AS (
            SELECT i, c, {sql.spelling("c")} AS k FROM cells
        ), dated AS (
            SELECT
                i, c, k,
                CASE WHEN k = {Spelling.DATE} THEN {sql.timestamp("c", "day_first")} END AS d,
                CASE WHEN k = {Spelling.DATE} THEN {sql.timestamp("c", "month_first")} END AS m
            FROM spelt
        )
        SELECT i, {_COUNTS} FROM dated GROUP BY i
    """).fetchall()
    return {index: Tally(*(count or 0 for count in counts)) for index, *counts in rows}
