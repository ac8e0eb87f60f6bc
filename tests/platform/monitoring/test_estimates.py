"""Estimates of a window's performance: what they are taken on."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pellucid.analysis.scores import SCORES
from pellucid.bundle import Input
from pellucid.monitoring.checks.estimates import HeldOut, estimate
from pellucid.schema import Kind
from support.feedback import CLASSES

MANIFEST: Any = SimpleNamespace(
    task="classification",
    classes=CLASSES,
    positive_class="good",
    inputs=(Input.of("amount", Kind.NUMERIC), Input.of("when", Kind.DATETIME)),
    outputs=(),
)
DAY = 86_400 * 10**6


def logged(amount: np.ndarray, day: int | None = None) -> pa.RecordBatch:
    """Rows of a model that is calibrated whatever comes; with a day, each has its time."""
    good = 1 / (1 + np.exp(-1.3 * amount))
    shares = pa.array(np.stack((1 - good, good), 1).tolist(), pa.list_(pa.float64()))
    label = pa.array(np.array(CLASSES)[(good > 0.5).astype(int)])
    inputs = {"amount": pa.array(amount)}
    if day is not None:
        times = pa.array(day * DAY + np.arange(len(amount)))
        inputs["when"] = times.view(pa.timestamp("us", tz="UTC"))
    structs = pa.StructArray.from_arrays
    return pa.record_batch(
        {
            "inputs": structs(list(inputs.values()), list(inputs)),
            "outputs": structs([label, shares], ["label", "probabilities"]),
        }
    )


def test_a_time_does_not_hide_which_held_out_rows_are_like_the_windows(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    before, after = random.normal(0, 1.5, 1_500), random.normal(0.8, 0.5, 2_000)
    good = random.random(1_500) < 1 / (1 + np.exp(-1.3 * before))
    target = pa.array(np.array(CLASSES)[good.astype(int)])
    found = []
    for days in ((None, None), (100, 200)):
        sample = logged(before, days[0]).append_column("target", target)
        pq.write_table(pa.Table.from_batches([sample]), tmp_path / "sample.parquet")
        known = HeldOut.read(tmp_path / "sample.parquet", MANIFEST)
        assert known is not None
        found.append(estimate([logged(after, days[1])], known, MANIFEST, [SCORES["accuracy"]]))
    assert found[0] is not None
    assert found[0] == found[1]
    assert 50 < found[0].effective_rows < 1_000


def test_an_estimate_of_rows_like_no_held_out_ones_is_not_to_be_trusted(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    before = random.normal(0, 1, 1_500)
    target = pa.array(np.array(CLASSES)[(random.random(1_500) < 0.7).astype(int)])
    sample = logged(before).append_column("target", target)
    pq.write_table(pa.Table.from_batches([sample]), tmp_path / "sample.parquet")
    known = HeldOut.read(tmp_path / "sample.parquet", MANIFEST)
    assert known is not None
    told = []
    for shift in (0.0, 50.0):
        window = [logged(random.normal(shift, 1, 2_000))]
        found = estimate(window, known, MANIFEST, [SCORES["accuracy"]])
        assert found is not None
        told.append(found.unreliable)
    assert told[0] == ""
    assert "of this window's rows are like any held-out row" in told[1]


def test_a_sample_without_truth_tells_nothing(tmp_path: Path) -> None:
    for rows in (
        logged(np.zeros(3), 1),
        logged(np.zeros(0), 1).append_column("target", pa.array([], pa.string())),
    ):
        pq.write_table(pa.Table.from_batches([rows]), tmp_path / "sample.parquet")
        assert HeldOut.read(tmp_path / "sample.parquet", MANIFEST) is None
