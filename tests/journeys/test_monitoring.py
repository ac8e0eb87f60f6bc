"""From requests over HTTP to a verdict, by the monitor's own process: windows, labels, reports."""

import time
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pellucid.analysis.watching.signals import Status
from pellucid.datasets.synthetic import credit
from support.stack import running_stack
from support.workers import wait_until

PLAN = {
    "name": "credit",
    "data": {"dataset": "credit"},
    "model": {"kind": "mlp", "widths": [16]},
    "training": {"epochs": 3, "device": "cpu"},
    "evaluation": {"resamples": 100},
    "explanation": {"background": 10, "rows": 50},
}


def _await_the_next_minute() -> None:
    """A window begins, in which there is time for rows and their labels."""
    time.sleep(60.1 - time.time() % 60)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_change_of_the_applicants_is_found_told_and_written_up(tmp_path: Path) -> None:
    table, roles = credit(2_000)
    pq.write_table(table, tmp_path / "credit.parquet")
    windows = {"monitor_seconds": 60, "monitor_lateness_seconds": 0}
    with running_stack(tmp_path / "home", **windows) as stack:
        client = stack.client
        named = {column: role.value for column, role in roles.items()}
        client.datasets.add(tmp_path / "credit.parquet", name="credit", roles=named)
        job = client.jobs.wait(client.jobs.submit(PLAN).id)
        assert job.status == "succeeded", job.reason
        asked, _ = credit(1_500, seed=5, covariate_drift=1.0)
        _await_the_next_minute()
        start = datetime.now(UTC)
        rows = asked.drop_columns(["application", "default"])
        answers = client.predict_table("credit", rows, job.model_version)
        ids = answers.column("prediction_id")
        told = client.feedback(pa.table({"id": ids, "label": asked.column("default")}))
        assert told.accepted == len(asked)

        def alarmed() -> bool:
            found = client.monitoring.get("credit", since=start).windows
            return any(each.alarms for each in found)

        wait_until(alarmed, timeout=200)
        (window,) = [each for each in client.monitoring.get("credit").windows if each.alarms]
        latest = client.monitoring.get("credit", until=window.end).latest
        assert latest is not None
        assert latest.rows == len(asked)
        drifting = {s.subject for s in latest.signals if s.status is Status.ALARM}
        assert {"income", "utilisation"} <= drifting
        assert latest.figures.performance is not None
        assert latest.figures.performance["labelled"] == len(asked)
        assert latest.figures.bias is not None
        assert "utilisation" in client.monitoring.report("credit", window.id)
        assert client.alerts.list(model="credit").items

        def logged() -> bool:
            files = stack.mlflow.list_artifacts(str(job.run_id), "monitoring")
            return len(files) > 0

        wait_until(logged, timeout=60)
