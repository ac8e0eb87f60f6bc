"""How often a year of daily windows without any drift raises an alarm."""

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from inference.acceptance import Promise
from inference.processes import Absent

from pellucid.analysis.intervals import wilson
from pellucid.analysis.watching.profiles import Profile
from watching.judged import alarms, counted, reference_of, suspects
from watching.peers import evidently
from watching.populations import Population, Rng, mixed, table, windows
from watching.scale import Scale

TITLE = "False alarms"
REFERENCE_ROWS = 20_000
SIZES = (50, 200, 1_000, 10_000, 100_000, 1_000_000)
COLUMNS, DAYS = 50, 365
_DRAWN = 200  # windows up to this size are real rows in a tenth of the years
_PEER = {50: 20, 200: 20, 1_000: 20, 10_000: 10, 100_000: 3}  # rows: windows


@dataclass(frozen=True)
class Year:
    """One to simulate."""

    rows: int
    number: int


def measure(scale: Scale) -> dict[str, Any]:
    """Years of each window size, each with a reference of its own; Evidently's windows beside."""
    sizes = {}
    for rows in SIZES:
        years = [Year(rows, number) for number in range(scale.years)]
        sizes[str(rows)] = _summed(list(scale.map(simulate, years)))
        print(f"windows of {rows:,} rows: {sizes[str(rows)]}", file=sys.stderr, flush=True)
    found: dict[str, Any] = {
        "columns": COLUMNS,
        "days": DAYS,
        "reference_rows": REFERENCE_ROWS,
        "drawn": _DRAWN,
        "sizes": sizes,
    }
    try:
        found["evidently"] = _peer(scale)
    except Absent as error:
        found["evidently_absent"] = str(error)
    return found


def promises(found: dict[str, Any]) -> Iterator[Promise]:
    for rows, each in found["sizes"].items():
        text = f"false alarms, share of years, windows of {int(rows):,} rows"
        yield Promise(text, each["share"], 0.05, at_most=True)


def page(found: dict[str, Any]) -> Iterator[str]:
    yield (
        f"{found['columns']} columns (normal, log-normal, 2 to 50 categories; 5% missing), "
        f"{found['days']} windows a year, nothing changes. Each year has a reference of "
        f"{found['reference_rows']:,} rows of its own. An alarm of any kind about any column makes "
        "a false year. Counts of windows are drawn from the multinomial distribution that they "
        f"have; in a tenth of the years windows of up to {found['drawn']:,} rows are rows that are "
        "drawn and counted. Evidently: its default preset on some windows, its reference the same; "
        "the share in which it calls at least one column drifted, and the share of columns."
    )
    yield ""
    yield "| rows | years | false years | 95% interval | Evidently: windows | columns |"
    yield "|---:|---:|---:|---:|---:|---:|"
    theirs = found.get("evidently", {})
    for rows, each in found["sizes"].items():
        yield (
            f"| {int(rows):,} | {each['years']} | {each['share']:.1%} | {each['low']:.1%} to "
            f"{each['high']:.1%} | {_told(theirs.get(rows))} |"
        )
    if why := found.get("evidently_absent"):
        yield from ("", f"Evidently was not measured: {why}.")


def _told(theirs: dict[str, Any] | None) -> str:
    if theirs is None:
        return "|"
    windows = f"{theirs['windows_drifted']:.0%} of {theirs['windows']}"
    return f"{windows} | {theirs['columns_drifted']:.0%}"


def simulate(year: Year) -> list[str]:
    """What alarmed in the days of a year, as kind:column, once for each day."""
    rng = np.random.default_rng([year.rows, year.number])
    population = mixed(COLUMNS)
    reference = reference_of(table(population, rng, REFERENCE_ROWS))
    days = list(_windows(population, reference, rng, year))
    found = _keys(reference, [days[day] for day in suspects(reference, days)])
    if year.number == 0 and found != _keys(reference, days):
        raise SystemExit("A window that was not suspected alarms.")
    return found


def _windows(population: Population, reference: Profile, rng: Rng, year: Year) -> Iterator[Profile]:
    """A year's days. Of small windows every tenth year is made of rows, counted as any rows."""
    if year.rows > _DRAWN or year.number % 10:
        yield from windows(population, reference.bins, rng, year.rows, DAYS)
        return
    whole = table(population, rng, year.rows * DAYS)
    for day in range(DAYS):
        yield counted(whole.slice(day * year.rows, year.rows), reference)


def _keys(reference: Profile, days: Sequence[Profile]) -> list[str]:
    return [each.key for day in days for each in alarms(reference, day)]


def _summed(years: list[list[str]]) -> dict[str, Any]:
    """Share of years with an alarm, with its limits, and what alarmed."""
    alarmed = sum(bool(each) for each in years)
    share = wilson(alarmed / len(years), len(years))
    kinds = Counter(key.partition(":")[0] for each in years for key in each)
    return {
        "years": len(years),
        "alarmed": alarmed,
        "share": share.value,
        "low": share.low,
        "high": share.high,
        "kinds": dict(kinds),
    }


def _peer(scale: Scale) -> dict[str, Any]:
    """Share of windows, and of columns, that Evidently's preset calls drifted."""
    rng = np.random.default_rng(0)
    population = mixed(COLUMNS)
    reference = table(population, rng, REFERENCE_ROWS)
    found = {}
    for rows, count in _PEER.items():
        drawn = table(population, rng, rows * scale.rows(count, least=2))
        told = evidently(reference, drawn, rows, scale.environments)
        found[str(rows)] = {
            "windows": len(told.windows),
            "windows_drifted": told.windows_drifted,
            "columns_drifted": told.columns_drifted,
        }
    return found
