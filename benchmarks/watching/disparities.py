"""Alarms of disparities between groups, window after window: false ones and true ones."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from inference.acceptance import Promise

from pellucid.analysis.intervals import wilson
from pellucid.analysis.watching.signals import Status
from pellucid.bundle import Input, Manifest, Parity
from pellucid.monitoring.checks.bias import judge
from pellucid.schema import Kind
from watching.scale import Scale

TITLE = "Alarms of disparities between groups"
DAYS, HOURS = 365, 8_760
ROWS = 60, 1_000
WINDOWS, SIZES = 500, (1_000, 2_000, 5_000)
RATES = 0.4, 0.2
_CLASSES = ("no", "yes")
_SEX = Input.of("sex", Kind.CATEGORICAL, ("f", "m"))
_AGE = Input.of("age", Kind.NUMERIC).model_copy(update={"edges": (30.0, 60.0)})
_MANIFEST = Manifest(
    name="credit",
    task="classification",
    target="granted",
    classes=_CLASSES,
    positive_class="yes",
    inputs=(Input.of("amount", Kind.NUMERIC),),
    sensitive=(_SEX, _AGE),
    outputs=(),
    opset=20,
    files={},
    parity=Parity(rows=1, tolerance=1, max_error=0),
    metrics={},
    data_version="",
    job_id="",
    created="",
    plan={},
    environment={},
)


def measure(scale: Scale) -> dict[str, Any]:
    """Years of daily windows whose groups are treated alike, and hours in which they are not."""
    alarms = list(scale.map(year, range(scale.years)))
    false = wilson(sum(alarms) / len(alarms), len(alarms))
    windows, found = scale.rows(WINDOWS, least=10), {}
    for rows in SIZES:
        given = [(rows, seed) for seed in range(windows)]
        caught = wilson(sum(scale.map(unfair, given)) / windows, windows)
        found[str(rows)] = {"share": caught.value, "low": caught.low, "high": caught.high}
    years = {"years": len(alarms), "share": false.value, "low": false.low, "high": false.high}
    return {"false": years, "windows": windows, "found": found}


def promises(found: dict[str, Any]) -> Iterator[Promise]:
    text = "false alarms of disparities, share of years"
    yield Promise(text, found["false"]["share"], 0.05, at_most=True)


def page(found: dict[str, Any]) -> Iterator[str]:
    false = found["false"]
    yield (
        f"Nobody is treated differently: {DAYS} daily windows of {ROWS[0]} to {ROWS[1]:,} labelled "
        f"rows, two sensitive columns of two and three groups and their intersections, every "
        f"criterion. Years with an alarm: {false['share']:.1%} ({false['low']:.1%} to "
        f"{false['high']:.1%}) of {false['years']}."
    )
    yield ""
    yield (
        f"One of the two groups is selected half as often ({RATES[0]:.0%} and {RATES[1]:.0%}), "
        f"judged as one of {HOURS:,} hours of a year; {found['windows']} windows of each size:"
    )
    yield from ("", "| rows | windows with an alarm |", "|---:|---:|")
    for rows, share in found["found"].items():
        limits = f"{share['low']:.1%} to {share['high']:.1%}"
        yield f"| {int(rows):,} | {share['share']:.1%} ({limits}) |"


def year(seed: int) -> bool:
    """Whether a year in which groups are treated alike has an alarm on any day."""
    random = np.random.default_rng(seed)
    sizes = np.exp(random.uniform(*np.log(ROWS), DAYS)).astype(int)
    return any(_alarms(_window(random, rows, 0.3, 0.3), DAYS) for rows in sizes)


def unfair(given: tuple[int, int]) -> bool:
    """Whether a window of some rows, in which one group is selected half as often, has an alarm."""
    rows, seed = given
    return _alarms(_window(np.random.default_rng((rows, seed)), rows, *RATES), HOURS)


def _alarms(window: pa.RecordBatch, windows_per_year: float) -> bool:
    signals, _ = judge([window], _MANIFEST, windows_per_year=windows_per_year)
    return any(each.status is Status.ALARM for each in signals)


def _window(random: np.random.Generator, rows: int, men: float, women: float) -> pa.RecordBatch:
    """Rows of the log with labels; each group is selected at its rate."""
    female = random.random(rows) < 0.5
    score = np.clip(random.random(rows) - 0.5 + np.where(female, women, men), 0, 1)
    chosen = score > 0.5
    truth = np.where(random.random(rows) < 0.8, chosen, random.random(rows) < 0.3)
    shares = np.stack((1 - score, score), 1)
    structs = pa.StructArray.from_arrays
    return pa.RecordBatch.from_pydict(
        {
            "outputs": structs(
                [_named(chosen), pa.array(shares.tolist(), pa.list_(pa.float64()))],
                ["label", "probabilities"],
            ),
            "sensitive": structs(
                [
                    pa.array(np.where(female, "f", "m")),
                    pa.array(random.integers(18, 80, rows).astype(float)),
                ],
                ["sex", "age"],
            ),
            "label": _named(truth),
        }
    )


def _named(chosen: np.ndarray) -> pa.Array:
    return pa.array(np.array(_CLASSES)[chosen.astype(int)])
