"""From an alarm to a better champion: real training, a log, labels, and an alert."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pellucid.bundle import Bundle
from pellucid.jobs.launchers.training import TrainingCommand
from pellucid.monitoring import ids
from pellucid.monitoring.alerts import history, rulebook
from pellucid.monitoring.alerts.engine import evaluate
from pellucid.monitoring.alerts.resources import WantedRules
from pellucid.monitoring.alerts.retraining import Retraining
from pellucid.monitoring.alerts.rules import Retrain, Rule
from pellucid.monitoring.columns import Columns
from pellucid.schema import Role
from pellucid.tracking.contract import CHAMPION
from support.alerting import signal
from support.feedback import Desk
from support.predictions import a_writer, number_at, write
from support.workers import Bench

PLAN = {
    "name": "toy",
    "data": {"dataset": "risk@1"},
    "model": {"kind": "mlp", "widths": [16]},
    "training": {"epochs": 20, "batch_size": 32},
    "explanation": {"rows": 20, "background": 20},
    "gates": {"promote": "better"},
}


def outcome(x: np.ndarray, slope: float) -> np.ndarray:
    return np.where(slope * x > 0, "bad", "good").astype(object)


@pytest.mark.slow
def test_an_alarm_leads_to_a_better_champion(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    random = np.random.default_rng(0)
    x = random.normal(size=400)
    group = random.choice(["a", "b"], 400)
    table = pa.table({"x": x, "group": group, "bad": pa.array(outcome(x, 1.0), pa.string())})
    pq.write_table(table, tmp_path / "risk.parquet")
    roles = {"bad": Role.TARGET, "group": Role.SENSITIVE}
    bench.dataset, _ = bench.datasets.add(tmp_path / "risk.parquet", name="risk", roles=roles)
    retraining = Retraining(bench.settings, bench.database, bench.tracker)
    now = datetime.now(UTC)
    with bench.working(TrainingCommand(0)):
        first = bench.wait_for(bench.submit(**PLAN), lambda job: job.status.final, 240)
        assert first.status == "succeeded", bench.log(first.id)
        _live(bench, now, random, slope=-1.0)
        rule = Rule(name="r", action="retrain", retrain=Retrain(min_rows=500))
        rulebook.replace(bench.database, WantedRules(rules=(rule,), by="ada"))
        evaluate(bench.database, "toy", 1, now, [signal(subject="roc_auc")])
        (job_id,) = retraining.step(now)
        second = bench.wait_for(job_id, lambda job: job.status.final, 240)
        assert second.status == "succeeded", bench.log(job_id)
        retraining.step(now + timedelta(hours=1))
    assert bench.tracker.model("toy").aliases[CHAMPION] == 2
    (alert,) = history.listed(bench.database).items
    event = history.get(bench.database, alert.id).events[-1]
    assert (event.kind, event.data["version"], event.data["alias"]) == ("retrained", 2, CHAMPION)
    assert bench.datasets.ancestors(bench.datasets.get("risk@2"))[0].sha256 == first.data_version
    bench.database.close()


def _live(bench: Bench, now: datetime, random: np.random.Generator, slope: float) -> None:
    """600 predictions of a world that has turned around, and what became of them."""
    bundle = bench.settings.home / "downloaded"
    bench.tracker.download("toy", 1, bundle)
    manifest = Bundle.open(bundle).manifest
    x, rows = random.normal(size=600), 600
    start = (now - timedelta(hours=5)).timestamp()
    words = ids.from_numbers([number_at(start + n, n) for n in range(rows)], np.ones(rows, int))
    sensitive = {each.name: random.choice(["a", "b"], rows).astype(object)
                 for each in manifest.sensitive}  # fmt: skip
    columns = Columns("toy", 1, manifest.inputs, manifest.outputs, sensitive=manifest.sensitive)
    good = outcome(x, 1.0)
    made = columns.batch(
        words,
        (words[:, 0] >> np.uint64(16)).astype(np.int64) * 1000,
        np.ones(rows, np.float32),
        {"x": x},
        {"label": good, "probabilities": np.full((rows, 2), 0.5, np.float32)},
        sensitive,
    )
    writer = a_writer(bench.settings.home / "predictions")
    write(writer, made)
    writer.close()
    desk = Desk(bench.settings.home)
    desk.take(words, list(outcome(x, slope)))
    desk.writer.close()
