"""What is asked of a window, and what is left out."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pellucid.analysis.watching.binning import bins_of_numbers
from pellucid.analysis.watching.counting import count
from pellucid.analysis.watching.signals import Status
from pellucid.bundle import Input, Manifest, Parity
from pellucid.monitoring.checks import questions
from pellucid.monitoring.checks.judging import Case
from pellucid.monitoring.log import PredictionLog
from pellucid.monitoring.profiles.profiling import ReferenceProfile
from pellucid.monitoring.profiles.windows import Window
from pellucid.monitoring.watch.references import Reference
from pellucid.schema import Kind
from pellucid.settings import Settings
from support.feedback import CLASSES, INPUTS, MOMENT, OUTPUTS, Desk, classified, predict

START = datetime(2026, 11, 21, tzinfo=UTC)
MANIFEST = Manifest(
    name="credit",
    task="classification",
    target="bad",
    classes=CLASSES,
    positive_class="good",
    inputs=INPUTS,
    outputs=OUTPUTS,
    opset=17,
    files={},
    parity=Parity(rows=1, tolerance=1e-5, max_error=0.0),
    metrics={"accuracy": 0.7},
    data_version="d",
    job_id="j",
    created="2026-01-01T00:00:00+00:00",
    plan={},
    environment={},
)


@pytest.mark.parametrize(("kind", "alarms"), [(Kind.NUMERIC, {"amount", "when"}),
                                              (Kind.DATETIME, {"amount"})])  # fmt: skip
def test_times_go_on_with_the_clock_and_are_no_drift(tmp_path, kind, alarms):
    random = np.random.default_rng(0)
    before = {"amount": random.normal(size=5000), "when": random.uniform(0, 1, 5000)}
    after = {"amount": random.normal(2, 1, 5000), "when": random.uniform(1, 2, 5000)}
    bins = {name: bins_of_numbers(values) for name, values in before.items()}
    profile = ReferenceProfile(
        inputs=count(before, bins), outputs=count({}, {}), importance={"amount": 0.5, "when": 0.5}
    )
    inputs = (Input.of("amount", Kind.NUMERIC), Input.of("when", kind))
    case = Case(
        Settings(home=tmp_path),
        Window("m", 1, START, START + timedelta(hours=1)),
        Reference(SimpleNamespace(inputs=inputs), profile, None),  # type: ignore[arg-type]
        count(after, bins),
        5000,
        {},
    )
    signals = questions.columns(case).signals
    assert {each.subject for each in signals if each.status is Status.ALARM} == alarms


def test_inputs_are_read_once_for_all_that_looks_at_rows(tmp_path, monkeypatch):
    random, desk = np.random.default_rng(0), Desk(tmp_path)
    held, live = random.normal(size=600), random.normal(1, 1, 2_000)
    for name, amount in (("held", held), ("credit", live)):
        purpose = np.array(["car"] * len(amount), object)
        inputs = {"amount": amount, "purpose": purpose}
        predict(desk.log, classified(1 / (1 + np.exp(-amount))), inputs=inputs, model=name)
    window = Window("credit", 1, MOMENT - timedelta(hours=1), MOMENT + timedelta(hours=1))
    log = PredictionLog(desk.log)
    rows = pa.Table.from_batches(log.parts("held", window.start, window.end))
    target = pa.array(np.where(random.random(600) < 1 / (1 + np.exp(-held)), "good", "bad"))
    sample = tmp_path / "sample.parquet"
    pq.write_table(rows.select(["inputs", "outputs"]).append_column("target", target), sample)
    reference = Reference(MANIFEST, None, sample)
    case = Case(Settings(home=tmp_path), window, reference, None, 2_000, {})
    read, parts = [], PredictionLog.parts

    def noted(*arguments, columns, **options):
        read.append(columns)
        return parts(*arguments, columns=columns, **options)

    monkeypatch.setattr(PredictionLog, "parts", noted)
    together, scores = questions.together(case), questions.scores(case)
    assert sum("inputs" in columns for columns in read) == 1
    alarming = {each.key for each in together.signals if each.status is Status.ALARM}
    assert "multivariate:classifier" in alarming
    performance = scores.figures["performance"]
    assert performance["predictions"] == performance["estimated_on"] == 2_000
    assert performance["estimated"]["accuracy"]["value"] > 0.6
    desk.writer.close()
