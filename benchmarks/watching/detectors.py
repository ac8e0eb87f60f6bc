"""False alarms of what does not look at one column of one window: streams, and rows as a whole."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from inference.acceptance import Promise

from pellucid.analysis.intervals import wilson
from pellucid.analysis.watching.drift.multivariate import judge_rows
from pellucid.analysis.watching.drift.sequential import judge_stream
from pellucid.analysis.watching.signals import Status
from watching.judged import LEVELS
from watching.populations import mixed, table
from watching.scale import Scale

TITLE = "False alarms of streams and of rows as a whole"
COLUMNS, REFERENCE_ROWS, WINDOW_ROWS, WINDOWS = 10, 2_000, 1_000, 300
DAYS = 365
CHANCES = (0.05, 0.01)
_START = datetime(2026, 1, 1, tzinfo=UTC)


def measure(scale: Scale) -> dict[str, Any]:
    """Years of a daily mean, and p-values of windows, in which nothing changes."""
    years = list(scale.map(stream, range(scale.years)))
    count = scale.rows(WINDOWS, least=4)
    found: dict[str, list[float]] = {}
    for p_values in scale.map(rows, range(count)):
        for name, p_value in p_values.items():
            found.setdefault(name, []).append(p_value)
    share = wilson(sum(years) / len(years), len(years))
    return {
        "years": len(years),
        "streams": {"share": share.value, "low": share.low, "high": share.high},
        "windows": count,
        "rows": {
            name: {str(c): float(np.mean(np.array(each) <= c)) for c in CHANCES}
            for name, each in found.items()
        },
    }


def promises(found: dict[str, Any]) -> Iterator[Promise]:
    text = "false alarms, share of years, a daily mean as a stream"
    yield Promise(text, found["streams"]["share"], 0.05, at_most=True)
    chance = CHANCES[0]
    limit = wilson(chance, found["windows"], 0.99).high  # what chance alone may make of it
    for name, shares in found["rows"].items():
        text = f"{name}, nothing changed: share of p-values up to {chance:g}"
        yield Promise(text, shares[str(chance)], round(limit, 3), at_most=True)


def page(found: dict[str, Any]) -> Iterator[str]:
    streams = found["streams"]
    yield (
        f"Streams: normal means of {DAYS} days, judged every day from the year's beginning by "
        f"Page-Hinkley and ADWIN; an alarm on any day makes a false year: {streams['share']:.1%} "
        f"({streams['low']:.1%} to {streams['high']:.1%}) of {found['years']} years."
    )
    yield ""
    yield (
        f"Rows as a whole: {WINDOW_ROWS:,} rows of {COLUMNS} columns against {REFERENCE_ROWS:,} of "
        f"the reference, {found['windows']} windows. An alarm asks for a p-value of "
        f"{LEVELS.rows:.0e} and less, too rare to simulate; how often it is small at all:"
    )
    heads = " | ".join(f"up to {chance:g}" for chance in CHANCES)
    yield from ("", f"| detector | {heads} |", "|---|" + "---:|" * len(CHANCES))
    for name, shares in found["rows"].items():
        yield f"| {name} | " + " | ".join(f"{shares[str(c)]:.1%}" for c in CHANCES) + " |"


def stream(seed: int) -> bool:
    """Whether a year of means has an alarm on any day."""
    values = np.random.default_rng(seed).normal(0.3, 0.02, DAYS)
    times = [_START + timedelta(days=day) for day in range(DAYS)]
    return any(
        each.status is Status.ALARM
        for days in range(1, DAYS + 1)
        for each in judge_stream("outputs.value", times[:days], values[:days], levels=LEVELS)
    )


def rows(seed: int) -> dict[str, float]:
    """The p-values of a window that is as the reference."""
    rng, population = np.random.default_rng(seed), mixed(COLUMNS)
    reference, window = (_raw(table(population, rng, n)) for n in (REFERENCE_ROWS, WINDOW_ROWS))
    found = judge_rows(reference, window, levels=LEVELS, since={}, seed=seed)
    return {each.subject: each.p_value for each in found if each.p_value is not None}


def _raw(drawn: pa.Table) -> dict[str, np.ndarray]:
    return {name: drawn[name].to_numpy() for name in drawn.column_names}
