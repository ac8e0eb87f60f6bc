"""A year of real drift: trained on 2011, served in 2012 over HTTP, watched, and trained again."""

import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from inference.acceptance import Promise

from pellucid.analysis.watching.signals import Status
from pellucid.client import Client
from pellucid.errors import TrainingFailed
from pellucid.monitoring.alerts.rules import DEFAULT_RULES, Match, Retrain, Rule
from pellucid.monitoring.watch.monitor import Monitor
from pellucid.monitoring.watch.process import connected
from pellucid.monitoring.watch.resources import WindowResult
from pellucid.settings import Settings
from pellucid.supervisor.services import api_url, on_free_ports, running
from watching.rides import FILE, TARGET, learnt, rmse, served
from watching.scale import Scale

TITLE = "A year of real drift: bike rentals by the hour"
MODEL, BATCH = "bike", 256
MONTHS = range(1, 13)
LAST = (10, 11, 12)  # months that champion and challenger both serve
_EPOCHS = 60
PLAN: dict[str, Any] = {
    "name": MODEL,
    "data": {"dataset": MODEL},
    "task": "regression",
    "model": {"kind": "mlp"},
    "split": {"kind": "random"},
}


def measure(scale: Scale) -> dict[str, Any]:
    """All services on free ports, as `pellucid up` starts them, with a home of their own."""
    if not (scale.data / FILE).exists():
        return {"absent": "the data is not at hand"}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home:
        settings = on_free_ports(Settings(home=Path(home), port=0, mlflow_port=0))
        with (
            running(settings, _say),
            Client(api_url(settings)) as client,
            connected(settings) as monitor,
        ):
            return _year(client, monitor, scale)


def promises(found: dict[str, Any]) -> Iterator[Promise]:
    months = [each for each in found["months"] if each["version"] == found["champion"]]
    yield Promise("bike: months with an alarm of covariate drift", _count(months, "drift"), 1)
    yield Promise("bike: months with an alarm of output drift", _count(months, "output"), 1)
    both = [each for each in months if each["estimated"] and each["realised"]]
    yield Promise("bike: months with estimated and realised error", len(both), len(MONTHS))
    last = found["last"]
    text = "bike: challenger's RMSE over the champion's, October to December"
    yield Promise(text, last["challenger"] / last["champion"], 1, at_most=True)


def page(found: dict[str, Any]) -> Iterator[str]:
    yield (
        "A network learns the hours of 2011; those of 2012 are sent to the API month by month, and "
        "what they were is sent back as feedback. The log stamps the time of a request, so a month "
        "is the window of the seconds in which it was sent, and is judged by the levels "
        "of windows so short, which are far stricter than those of months. Columns: the time, the "
        "year (constant in 2011) and parts of the target are left out. Each month differs from a "
        "whole year by its season, so columns drift in every month; rides grew by two thirds, "
        "which no column tells: **the estimate before labels cannot see that**, the realised error "
        "does."
    )
    yield ""
    yield "| month | version | rows | columns that drift | output | RMSE estimated | realised |"
    yield "|---|---:|---:|---|---|---:|---:|"
    for each in found["months"]:
        columns = ", ".join(each["alarms"].get("drift", [])) or "none"
        output = "alarm" if each["alarms"].get("output") else "no alarm"
        cells = " | ".join(map(_interval, (each["estimated"], each["realised"])))
        yield (
            f"| 2012-{each['month']:02d} | {each['version']} | {each['rows']} | {columns} | "
            f"{output} | {cells} |"
        )
    last, job = found["last"], found["retraining"]
    yield ""
    yield (
        f"The alert {job['alert']} had the retrain action submit a job after month "
        f"{job['after_month']}, which {job['status']} and became version {job['version']}: the "
        f"champion's plan on the {job['rows']:,} labelled rows of 2012 so far. RMSE of "
        f"October to December: champion {last['champion']:.1f}, challenger "
        f"{last['challenger']:.1f}."
    )


def _year(client: Client, monitor: Monitor, scale: Scale) -> dict[str, Any]:
    champion = _trained(client, learnt(scale.data), scale.rows(_EPOCHS, least=2))
    before = [month for month in MONTHS if month not in LAST]
    labels, months = 0, []
    for month in before:
        labels += len(served(scale.data, month))
        if month == before[-1]:
            client.alerts.set_rules([_rule(labels), *DEFAULT_RULES.rules], by="benchmark")
        months += _served(client, monitor, scale.data, month, [champion])
    job = _retrained(client) | {"after_month": before[-1]}
    versions = [champion, job["version"]]
    for month in LAST:
        months += _served(client, monitor, scale.data, month, versions)
    last = {
        name: _together([m for m in months if m["month"] in LAST and m["version"] == version])
        for name, version in zip(("champion", "challenger"), versions, strict=True)
    }
    return {"champion": champion, "months": months, "retraining": job, "last": last}


def _rule(labels: int) -> Rule:
    """Where the performance alarms and so many labels are there: on these rows alone."""
    return Rule(
        name="retrain",
        match=Match(kinds=("performance",)),
        severity="critical",
        action="retrain",
        retrain=Retrain(min_rows=labels),
    )


def _retrained(client: Client) -> dict[str, Any]:
    """What became of the action that the monitor has taken, once its job has ended."""
    alerts = client.alerts.list(MODEL, limit=200).items
    acting = [each for each in alerts if each.job_id]
    if not acting:
        told = [client.alerts.get(each.id) for each in alerts if each.kind == "performance"]
        raise TrainingFailed(f"No alert retrained the model: {told}")
    job = client.jobs.wait(str(acting[0].job_id))
    if job.model_version is None:
        raise TrainingFailed(f"The job {job.status}: {job.reason}")
    rows = client.datasets.get(job.plan["data"]["dataset"]).rows
    return {
        "alert": f"{acting[0].kind} of {acting[0].subject}",
        "status": str(job.status),
        "version": job.model_version,
        "rows": rows,
        "reason": job.reason,
    }


def _trained(client: Client, rows: pa.Table, epochs: int) -> int:
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / f"{MODEL}.parquet"
        pq.write_table(rows, file)
        client.datasets.add(file, name=MODEL, roles={TARGET: "target"})
    plan = PLAN | {"training": {"epochs": epochs, "diagnostics": False}}
    job = client.jobs.wait(client.jobs.submit(plan, idempotency_key=uuid.uuid4().hex).id)
    if job.model_version is None:
        raise TrainingFailed(f"The job {job.status}: {job.reason}")
    return job.model_version


def _served(
    client: Client, monitor: Monitor, data: Path, month: int, versions: Sequence[int]
) -> list[dict[str, Any]]:
    """A month's rows answered by versions, their labels told, the window judged."""
    rows = served(data, month)
    truth = rows[TARGET].to_numpy()
    sent = rows.drop_columns([TARGET]).to_pylist()
    start = _next_second()
    found = {}
    for version in versions:
        answers = [
            answer
            for first in range(0, len(sent), BATCH)
            for answer in client.predict(MODEL, sent[first : first + BATCH], version).predictions
        ]
        values = [float(answer.value) for answer in answers]  # type: ignore[arg-type]
        labels = {str(a.id): float(t) for a, t in zip(answers, truth, strict=True)}
        client.feedback(labels, source=FILE)
        found[version] = rmse(values, truth)
    judged = monitor.once(MODEL, start, _next_second()).results
    told = [_told(result, month, found[result.version]) for result in judged]
    _say(f"month {month}: {[(each['version'], each['alarms']) for each in told]}")
    return told


def _next_second() -> datetime:
    """Waits for it: windows are of whole seconds, and a month takes less than one."""
    time.sleep(1 - time.time() % 1)
    return datetime.now(UTC).replace(microsecond=0)


def _told(result: WindowResult, month: int, measured: float) -> dict[str, Any]:
    alarms: dict[str, list[str]] = {}
    for each in result.signals:
        if each.status is Status.ALARM:
            alarms.setdefault(each.kind, []).append(each.subject)
    return {
        "month": month,
        "version": result.version,
        "rows": result.rows,
        "alarms": alarms,
        "estimated": _error(result, "estimate"),
        "realised": _error(result, "performance"),
        "measured": measured,
    }


def _error(result: WindowResult, kind: str) -> dict[str, float | None] | None:
    """The root mean squared error that the monitor gives."""
    for each in result.signals:
        if each.kind == kind and "rmse" in each.subject and each.current is not None:
            return {"value": each.current, "low": each.low, "high": each.high}
    return None


def _interval(found: dict[str, float | None] | None) -> str:
    if found is None:
        return "none"
    if found["low"] is None:
        return f"{found['value']:.1f}"
    return f"{found['value']:.1f} ({found['low']:.1f} to {found['high']:.1f})"


def _together(months: list[dict[str, Any]]) -> float:
    """RMSE over months, from what the benchmark itself measured."""
    rows = sum(each["rows"] for each in months)
    return float((sum(each["rows"] * each["measured"] ** 2 for each in months) / rows) ** 0.5)


def _count(months: list[dict[str, Any]], kind: str) -> int:
    return sum(kind in each["alarms"] for each in months)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
