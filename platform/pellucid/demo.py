"""`pellucid demo`: the main job, end to end, on services of its own in the usual home.

Data set -> job -> training, explanation, export -> registry -> a prediction over HTTP, and why ->
other applicants than in training, and the monitor's alarm.
Each run registers the same data (known after the first time) and trains one more version.
"""

import json
import tempfile
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console

from pellucid.analysis.watching.signals import SignalKind
from pellucid.bundle import EXPLANATIONS, Bundle
from pellucid.cli.follow import follow
from pellucid.client import Client
from pellucid.datasets.synthetic import credit
from pellucid.db.base import now
from pellucid.errors import TrainingFailed
from pellucid.jobs.workspace import Workspace
from pellucid.monitoring.checks.verdicts import alarms, said
from pellucid.resources.datasets import Dataset
from pellucid.resources.jobs import Job
from pellucid.settings import Settings
from pellucid.supervisor.services import api_url, on_free_ports, running

NAME = "credit"
PLAN: dict[str, Any] = {
    "name": NAME,
    "data": {"dataset": NAME},
    "model": {"kind": "mlp", "widths": [64, 64]},
    "training": {"epochs": 40, "batch_size": 128, "patience": 8},
    "explanation": {"rows": 128},
    "evaluation": {"favourable": "0"},  # no default
}
_METRICS = ("roc_auc", "accuracy", "balanced_accuracy", "brier", "ece")
_GAP_METRIC = "recall"
_IMPACT_COLUMN = "sex"
_REASONS = 4
_FROZEN = ("age",)  # what no applicant can change
_OUTCOME = "default"
_APPLICANTS = 1_500
_ALARMS: tuple[SignalKind, ...] = ("drift", "output", "estimate", "performance", "bias")
_AGREEMENT = 1e-4  # what is served are 32-bit floats
_ML = "?workflowType=machine_learning"  # the MLflow UI opens on its page for agents otherwise


def run(settings: Settings, console: Console) -> None:
    """Run the demo and print what it does.

    Raises:
        TrainingFailed: the job did not succeed, or the service disagrees with the explanation.
        PellucidError: a service did not start, or answered with an error.
    """
    own = on_free_ports(settings)  # the usual ones may be taken by `pellucid up`
    say = _Story(console)
    say.title("Starting MLflow, the API, a worker and the monitor")
    with running(own, say.fact), Client(api_url(own), own.api_key) as client:
        dataset = _register(client, say)
        job = _train(client, dataset, say)
        workspace = Workspace(settings.home / "jobs" / job.id)
        _show_scores(client, workspace, job, say)
        _show_prediction(client, workspace, job, say)
        report = _show_drift(client, own, job, say)
    _show_where_to_look(settings, workspace, job, report, say)


class _Story:
    """Numbered titles, and facts below them."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._steps = 0

    def title(self, text: str) -> None:
        self._steps += 1
        self.console.print(f"\n{self._steps}. {text}", style="bold")

    def fact(self, text: str) -> None:
        self.console.print(f"   {text}", soft_wrap=True)


def _register(client: Client, say: _Story) -> Dataset:
    say.title("Registering synthetic credit applications")
    table, roles = credit()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, f"{NAME}.parquet")
        pq.write_table(table, file)
        named = {column: role.value for column, role in roles.items()}
        dataset = client.datasets.add(file, name=NAME, roles=named)
    say.fact(f"{dataset.name}@{dataset.version}: {dataset.rows:,} rows, SHA-256 {dataset.sha256}")
    for column in dataset.data_schema.columns:
        if column.role != "feature":
            say.fact(f"{column.role}: {column.name}")
    return dataset


def _train(client: Client, dataset: Dataset, say: _Story) -> Job:
    say.title("Training a network on it")
    plan = PLAN | {"data": {"dataset": dataset.sha256}}
    job = client.jobs.submit(plan, idempotency_key=f"demo-{uuid.uuid4()}")
    say.fact(f"job {job.id}")
    job = follow(client, job.id, say.console)
    if job.status != "succeeded":
        raise TrainingFailed(
            f"The job {job.status}: {job.reason}",
            where={"job": job.id},
            remedy="Its log.txt and the services' logs say more, below the home directory.",
        )
    return job


def _show_scores(client: Client, workspace: Workspace, job: Job, say: _Story) -> None:
    say.title("Scores on rows that training never saw (95 % intervals)")
    result = workspace.read_result() or {}
    for name in _METRICS:
        low, high = result["intervals"][name]
        say.fact(f"{name:<18} {result['metrics'][name]:.3f}  [{low:.3f}, {high:.3f}]")
    groups = pq.read_table(workspace.tables / "groups.parquet").to_pylist()
    rows = [row for row in groups if row["metric"] == _GAP_METRIC]
    for column in dict.fromkeys(row["column"] for row in rows):
        found = sorted((r for r in rows if r["column"] == column), key=lambda r: float(r["value"]))
        gap = found[-1]["value"] - found[0]["value"]
        each = ", ".join(f"{row['group']} {row['value']:.3f}" for row in found)
        say.fact(f"{_GAP_METRIC} by {column}: {each}; gap {gap:.3f}")
    for line in pq.read_table(workspace.tables / "impact_ratios.parquet").to_pylist():
        if line["column"] == _IMPACT_COLUMN and line["category"] != line["highest"]:
            say.fact(
                f"impact ratio of {line['category']} to {line['highest']}: {line['impact']:.3f}  "
                f"[{line['impact_low']:.3f}, {line['impact_high']:.3f}], verdict {line['status']}"
            )
    aliases = client.models.get(NAME).aliases
    held = [alias for alias, version in aliases.items() if version == job.model_version]
    say.fact(f"registered as {NAME} version {job.model_version}, alias {', '.join(held) or 'none'}")
    say.fact(job.reason)


def _show_prediction(client: Client, workspace: Workspace, job: Job, say: _Story) -> None:
    say.title("Asking the service about one of those rows, and why")
    bundle = Bundle.open(workspace.bundle)
    row, log_odds = _held_out(bundle)
    say.fact(json.dumps(row))
    answer = client.explain(NAME, [row], job.model_version, top_k=_REASONS, predicting=True)
    (found,) = answer.predictions
    target, positive = bundle.manifest.target, str(bundle.manifest.positive_class)
    probability = (found.probabilities or {})[positive]
    _require_agreement(found.explained.value, log_odds)
    say.fact(f"{target} = {found.label}, with P({target} = {positive}) = {probability:.4f}")
    say.fact(f"prediction {found.id} by {answer.model} version {answer.version}")
    say.fact(f"Why: SHAP values, in {answer.unit} of {target} = {positive}")
    say.fact(f"{found.base:+7.3f}  in general")
    for each in found.contributions:
        say.fact(f"{each.shap:+7.3f}  {each.column} = {each.value}")
    if found.others is not None:
        say.fact(f"{found.others.shap:+7.3f}  the other {found.others.columns} columns")
    say.fact(f"{found.explained.value:+7.3f}  together, which is the probability above")
    _show_counterfactual(client, job, row, say)


def _show_counterfactual(client: Client, job: Job, row: dict[str, Any], say: _Story) -> None:
    answer = client.counterfactuals(NAME, [row], job.model_version, frozen=_FROZEN)
    (found,) = answer.rows
    if not found.counterfactuals:
        say.fact(f"No small change decides otherwise: {found.reason}")
        return
    (smallest,) = found.counterfactuals
    changes = ", ".join(f"{c.column} {c.before} -> {c.after}" for c in smallest.changes)
    say.fact(f"It would be {smallest.prediction.label} with: {changes}")


def _show_drift(client: Client, settings: Settings, job: Job, say: _Story) -> Path:
    """Applicants that training did not see the like of; the report on them."""
    from pellucid.monitoring.watch.process import connected

    say.title("Months later: the model is asked about other applicants than it was trained on")
    start = now() - timedelta(hours=1)  # the last hour, as a window is
    table, _ = credit(_APPLICANTS, seed=2, covariate_drift=1.0)
    asked = table.drop_columns(["application", _OUTCOME])
    answers = client.predict_table(NAME, asked, job.model_version)
    ids = answers.column("prediction_id").to_pylist()
    told = client.feedback(pa.table({"id": ids, "label": table.column(_OUTCOME)}))
    say.fact(f"{len(ids):,} predictions, and {told.accepted:,} outcomes sent to /v1/feedback")
    with connected(settings) as monitor:
        (found,) = [
            each
            for each in monitor.once(NAME, start, telling=False).results
            if each.version == job.model_version
        ]
        report = monitor.report(found)
    say.fact(f"The monitor: {found.verdict}")
    worst = {each.kind: each for each in reversed(alarms(found.signals))}
    for kind in _ALARMS:
        if kind in worst:
            say.fact(f"- {said(worst[kind])}")
    return report


def _held_out(bundle: Bundle) -> tuple[dict[str, Any], float]:
    """A row that was explained after training, and its log-odds."""
    table = pq.read_table(bundle.root / EXPLANATIONS)
    (first,) = table.slice(0, 1).to_pylist()
    return {each.name: first[each.name] for each in bundle.manifest.inputs}, first["prediction"]


def _require_agreement(served: float, trained: float) -> None:
    """The served model must be the one that was explained."""
    if abs(served - trained) > _AGREEMENT:
        raise TrainingFailed(
            f"The service explains {served:.6f} where training gave {trained:.6f}.",
            where={"model": NAME},
            remedy="Please report this: the served model is not the explained one.",
        )


def _show_where_to_look(
    settings: Settings, workspace: Workspace, job: Job, report: Path, say: _Story
) -> None:
    url, mlflow = api_url(settings), settings.resolved_mlflow_url
    say.title("Where to look: `make up` starts the same services and leaves them running")
    say.fact(f"API documentation  {url}/docs")
    say.fact(f"model card         {url}/v1/models/{NAME}/card?version={job.model_version}")
    say.fact(f"the run            {mlflow}/#/runs/{job.run_id}{_ML}")
    say.fact(f"registered model   {mlflow}/#/models/{NAME}/versions/{job.model_version}{_ML}")
    say.fact(f"monitoring report  {report}")
    say.fact(f"the ONNX bundle    {workspace.bundle}")
    say.fact(f"figures            {workspace.figures}")
