"""After a training process has succeeded: its run is completed and its model registered.

Every step may be repeated. A worker that is killed in between leaves the rest to the next one,
and the end is the same: one run, FINISHED; one version; one decision about its alias.
"""

import logging
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import yaml

from pellucid.bundle import CARD, EXPLANATIONS, PROVENANCE
from pellucid.errors import Conflict, PellucidError, Unavailable
from pellucid.jobs.workspace import Workspace
from pellucid.plan import Plan
from pellucid.resources.jobs import Job
from pellucid.tracking.contract import (
    CHALLENGER,
    CHAMPION,
    JOB_TAG,
    DatasetInput,
    ModelVersion,
    Registry,
    Tracker,
)
from pellucid.tracking.gates import REJECTED, Decision, judge, missed_bound
from pellucid.tracking.page import flatten, note, open_run
from pellucid.tracking.promotion import promote, rollback
from pellucid.tracking.shipper import MetricFeed

__all__ = ["Compare", "Published", "promote", "publish", "rollback"]

_log = logging.getLogger(__name__)
_DECISION_TAG = "pellucid.decision"
_REASON_TAG = "pellucid.reason"
_APPLIED_TAG = "pellucid.applied"  # the alias has been set: from now on it is the users' to move
_RESULT_TAGS = ("additivity_error", "epochs", "best_epoch", "seconds", "gate_metric", "findings")

Compare = Callable[[Path], Mapping[str, Any]]
"""From the directory of the champion's bundle to the content of `comparison.json`."""


class Published(NamedTuple):
    """What became of a job: its version and the alias it was given (or None), and why."""

    run_id: str
    version: int | None
    alias: str | None
    reason: str


def publish(
    job: Job, workspace: Workspace, tracker: Tracker, registry: Registry, compare: Compare
) -> Published:
    """Complete the job's run and register its model. Repeatable after any interruption.

    A trial of a search gets no version: its search registers the best one.

    Args:
        job: whose training process has committed its result.
        workspace: the job's directory.
        tracker: holds the run; opened here again if need be, and closed FINISHED at the end.
        registry: gets the version.
        compare: asked only if the plan wants a comparison and there is a champion. An error of
            ours that it raises (but `Unavailable`) makes the versions incomparable.

    Raises:
        Conflict: the job has no committed result.
        TrackerUnavailable: publish again later.
    """
    result = workspace.read_result()
    if result is None:
        raise Conflict(f"Job {job.id} has no result to publish.", where={"job": job.id})
    run_id = open_run(tracker, job)
    MetricFeed(tracker, workspace, run_id).ship()
    _log_run(job, workspace, tracker, run_id, result)
    if job.parent_id is not None:
        return _close_trial(tracker, run_id, result)
    tags = _version_tags(job, result)
    version = registry.register(run_id, job.name, workspace.bundle, tags)
    decision = _decide(job, version, result["metrics"], registry, compare)
    _apply(version, decision, registry)
    tracker.set_tags(
        run_id,
        {
            "pellucid.model_version": f"{job.name}/{version.version}",
            _DECISION_TAG: decision.outcome,
            _REASON_TAG: decision.reason,
            "mlflow.note.content": note(job, result, version.version, decision.reason),
        },
    )
    tracker.close_run(run_id, "FINISHED")
    alias = None if decision.outcome == REJECTED else decision.outcome
    return Published(run_id, version.version, alias, decision.reason)


def _close_trial(tracker: Tracker, run_id: str, result: Mapping[str, Any]) -> Published:
    scores = ", ".join(f"{name} {value:.6g}" for name, value in result["validation"].items())
    reason = f"On the validation rows: {scores}."
    tracker.set_tags(run_id, {_REASON_TAG: reason})
    tracker.close_run(run_id, "FINISHED")
    return Published(run_id, None, None, reason)


def _log_run(
    job: Job, workspace: Workspace, tracker: Tracker, run_id: str, result: dict[str, Any]
) -> None:
    tracker.log_params(run_id, flatten(job.plan))
    tracker.set_tags(
        run_id, {f"pellucid.{key}": str(result[key]) for key in _RESULT_TAGS if key in result}
    )
    tracker.log_dataset(run_id, _dataset(workspace))
    for directory in (workspace.figures, workspace.tables):
        if directory.is_dir():
            tracker.log_artifacts(run_id, directory, directory.name)
    _log_files(job, workspace, tracker, run_id)
    explanations = workspace.bundle / EXPLANATIONS
    if explanations.is_file():
        tracker.log_table(run_id, explanations, "shap_values")


def _log_files(job: Job, workspace: Workspace, tracker: Tracker, run_id: str) -> None:
    """The plan as it was run, the model card, what decided the outcome, the process's log."""
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch)
        plan = yaml.safe_dump(job.plan, sort_keys=False, allow_unicode=True)
        (directory / "plan.yaml").write_text(plan, encoding="utf-8")
        files = [workspace.bundle / name for name in (CARD, PROVENANCE)]
        files += [
            workspace.outputs / name for name in ("environment.txt", "code.diff", "findings.json")
        ]
        for source in (*files, workspace.log_path):
            if source.is_file():
                shutil.copyfile(source, directory / source.name)
        tracker.log_artifacts(run_id, directory)


def _dataset(workspace: Workspace) -> DatasetInput:
    request = workspace.read_request()
    reference = str(request.plan["data"]["dataset"])
    return DatasetInput(
        name=reference if reference != request.data_version else request.data_version[:12],
        digest=request.data_version,
        source=request.data_path,
        schema={column.name: column.type.value for column in request.data_schema.columns},
        rows=pq.read_metadata(request.data_path).num_rows,
    )


def _version_tags(job: Job, result: dict[str, Any]) -> dict[str, str]:
    metrics = {f"metric.{name}": f"{value:.6g}" for name, value in result["metrics"].items()}
    return {JOB_TAG: job.id, "pellucid.data_version": job.data_version, **metrics}


def _decide(
    job: Job,
    version: ModelVersion,
    metrics: Mapping[str, float],
    registry: Registry,
    compare: Compare,
) -> Decision:
    """The decision about a version: made once, kept in its tags, its outcome written last."""
    outcome = version.tags.get(_DECISION_TAG)
    if outcome:
        return Decision(outcome, version.tags.get(_REASON_TAG, ""))
    decision = _judge(job, version, metrics, registry, compare)
    tags = {_REASON_TAG: decision.reason, _DECISION_TAG: decision.outcome}
    registry.set_version_tags(version.name, version.version, tags)
    _log.info("%s/%d: %s. %s", version.name, version.version, *decision)
    return decision


def _judge(
    job: Job,
    version: ModelVersion,
    metrics: Mapping[str, float],
    registry: Registry,
    compare: Compare,
) -> Decision:
    gates = Plan.parse(job.plan).gates
    missed = missed_bound(gates, metrics)
    if missed:
        return Decision(REJECTED, missed)
    champion = registry.model(version.name).aliases.get(CHAMPION)
    if champion is None:
        return Decision(CHAMPION, "It is the first good version.")
    if gates.promote == "never":
        return judge(gates, champion, {})
    return judge(gates, champion, _comparison(version.name, champion, registry, compare))


def _comparison(
    name: str, champion: int, registry: Registry, compare: Compare
) -> Mapping[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        directory = Path(scratch) / "champion"
        try:
            registry.download(name, champion, directory)
            return compare(directory)
        except Unavailable:
            raise
        except PellucidError as error:
            return {"incomparable": str(error)}


def _apply(version: ModelVersion, decision: Decision, registry: Registry) -> None:
    """Move the alias, once: what people do with it later is not undone by a repetition."""
    if _APPLIED_TAG in version.tags:
        return
    if decision.outcome == CHAMPION:
        promote(registry, version.name, version.version)
    elif decision.outcome == CHALLENGER:
        registry.set_alias(version.name, CHALLENGER, version.version)
    registry.set_version_tags(version.name, version.version, {_APPLIED_TAG: "true"})
