"""Runs on an MLflow server."""

import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from mlflow import MlflowClient
from mlflow.entities import Dataset, InputTag, Param, Run, RunTag, ViewType
from mlflow.entities import DatasetInput as MlflowDatasetInput
from mlflow.entities import Metric as MlflowMetric

from pellucid.errors import Conflict, NotFound
from pellucid.jobs.workspace import Metric
from pellucid.tracking.contract import JOB_TAG, DatasetInput, RunStatus
from pellucid.tracking.mlflow.failures import translated
from pellucid.tracking.tables import table_as_json

# MLflow's limits
_METRICS_PER_CALL = 1000
_ENTRIES_PER_CALL = 100
_KEY_LENGTH = 250
_PARAM_LENGTH = 6000
_TAG_LENGTH = 8000
_DIGEST_LENGTH = 36
_SCHEMA_LENGTH = 1_048_575
_NOT_IN_KEYS = re.compile(r"[^/\w.\- :]")

Item = TypeVar("Item")

_KIND = {"mlflow.experimentKind": "custom_model_development"}  # and not a GenAI application
_TABLES_TAG = "mlflow.loggedArtifacts"
_COLUMN_TYPES = {
    "int64": "long",
    "float64": "double",
    "bool": "boolean",
    "timestamp[us]": "datetime",
    "string": "string",
}


class MlflowTracker:
    """A `Tracker`. What was created by a call without an answer is found by the job's tag."""

    def __init__(self, client: MlflowClient, experiment: str) -> None:
        self._client = client
        self._experiment = experiment

    @translated()
    def open_run(self, job_id: str, name: str, tags: Mapping[str, str]) -> str:
        """The id of the job's run, created or found by its job tag, and RUNNING."""
        experiment = self._experiment_id()
        if not self._runs(experiment, job_id):
            self._client.create_run(experiment, run_name=name, tags={JOB_TAG: job_id})
        run_id = self._only_run(experiment, job_id)
        self._client.update_run(run_id, status="RUNNING", name=name)
        self.set_tags(run_id, tags)
        return run_id

    @translated()
    def close_run(self, run_id: str, status: RunStatus) -> None:
        """Set the run's final status; a run that was deleted meanwhile needs none."""
        try:
            with translated():
                run = self._client.get_run(run_id)
        except NotFound:
            return
        if run.info.lifecycle_stage == "deleted":
            return
        self._only_run(run.info.experiment_id, run.data.tags.get(JOB_TAG, ""))
        self._client.set_terminated(run_id, status)

    @translated()
    def log_params(self, run_id: str, params: Mapping[str, str]) -> None:
        """Log parameters, cut to MLflow's limits; the same value again is no error."""
        entries = [Param(key, value) for key, value in fitting_params(params).items()]
        for batch in _batches(entries, _ENTRIES_PER_CALL):
            self._client.log_batch(run_id, params=batch)

    @translated()
    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags, replacing their values."""
        entries = [RunTag(key, value) for key, value in _fitting(tags, _TAG_LENGTH).items()]
        for batch in _batches(entries, _ENTRIES_PER_CALL):
            self._client.log_batch(run_id, tags=batch)

    @translated()
    def log_metrics(self, run_id: str, metrics: Sequence[Metric]) -> None:
        """Log points. MLflow keeps one copy of a point that comes twice, time included."""
        for batch in _batches(metrics, _METRICS_PER_CALL):
            points = [MlflowMetric(_key(m.key), m.value, m.time, m.step) for m in batch]
            self._client.log_batch(run_id, metrics=points)

    @translated()
    def last_steps(self, run_id: str) -> dict[str, int]:
        """The highest step that the tracker holds, for every key."""
        return {metric.key: metric.step for metric in latest_metrics(self._client.get_run(run_id))}

    @translated()
    def log_dataset(self, run_id: str, dataset: DatasetInput) -> None:
        """Log the run's training data, under the first 36 digits of its digest."""
        columns = [
            {"name": name, "type": _COLUMN_TYPES.get(kind, "string")}
            for name, kind in dataset.schema.items()
        ]
        schema = json.dumps({"mlflow_colspec": columns})
        entity = Dataset(
            name=dataset.name,
            digest=dataset.digest[:_DIGEST_LENGTH],
            source_type="pellucid",
            source=json.dumps({"uri": dataset.source, "sha256": dataset.digest}),
            schema=schema if len(schema) <= _SCHEMA_LENGTH else None,
            profile=json.dumps({"num_rows": dataset.rows, "num_columns": len(columns)}),
        )
        tags = [InputTag("mlflow.data.context", "training"), InputTag("sha256", dataset.digest)]
        self._client.log_inputs(run_id, [MlflowDatasetInput(entity, tags)])

    @translated()
    def log_artifacts(self, run_id: str, directory: Path, to: str = "") -> None:
        """Upload a directory's files; files of the same path are replaced."""
        self._client.log_artifacts(run_id, str(directory), to or None)

    @translated()
    def log_table(self, run_id: str, table: Path, name: str) -> None:
        """Log a Parquet file's first rows as `name`.json, which the UI shows as a table.

        MLflow's own `log_table` appends to what is there; this one replaces it.
        """
        file_name = f"{name}.json"
        with tempfile.TemporaryDirectory() as directory:
            path = Path(directory) / file_name
            path.write_text(table_as_json(table), encoding="utf-8")
            self._client.log_artifact(run_id, str(path))
        known = json.loads(self._client.get_run(run_id).data.tags.get(_TABLES_TAG, "[]"))
        entry = {"path": file_name, "type": "table"}
        if entry not in known:
            self._client.set_tag(run_id, _TABLES_TAG, json.dumps([*known, entry]))

    def _experiment_id(self) -> str:
        """The experiment's id: found, restored from the trash, or created."""
        experiment = self._client.get_experiment_by_name(self._experiment)
        if experiment is None:
            try:
                with translated():
                    return str(self._client.create_experiment(self._experiment, tags=_KIND))
            except Conflict:  # somebody else made it just now
                experiment = self._client.get_experiment_by_name(self._experiment)
        if experiment is None:
            raise NotFound(f"MLflow has no experiment {self._experiment!r}.")
        if experiment.lifecycle_stage == "deleted":
            self._client.restore_experiment(experiment.experiment_id)
        return str(experiment.experiment_id)

    def _runs(self, experiment: str, job_id: str) -> list[Run]:
        found = self._client.search_runs(
            [experiment], f"tags.`{JOB_TAG}` = '{job_id}'", run_view_type=ViewType.ACTIVE_ONLY
        )
        return sorted(found, key=lambda run: (run.info.start_time, run.info.run_id))

    def _only_run(self, experiment: str, job_id: str) -> str:
        """The job's oldest run; others, which late or unanswered calls made, are deleted."""
        runs = self._runs(experiment, job_id)
        if not runs:
            raise NotFound(f"The run of job {job_id} was deleted just now.")
        for run in runs[1:]:
            self._client.set_terminated(run.info.run_id, "KILLED")
            self._client.delete_run(run.info.run_id)
        return str(runs[0].info.run_id)


def latest_metrics(run: Run) -> list[Any]:
    """For every key of a run the point of the highest step.

    MLflow sends the steps along, but its public `run.data.metrics` leaves them out; asking for
    the history instead would cost one request per key.
    """
    return list(run.data._metric_objs)


def fitting_params(params: Mapping[str, str]) -> dict[str, str]:
    """Parameters with keys and values that MLflow takes."""
    return _fitting(params, _PARAM_LENGTH)


def _key(name: str) -> str:
    return _NOT_IN_KEYS.sub("_", name)[:_KEY_LENGTH]


def _fitting(entries: Mapping[str, str], length: int) -> dict[str, str]:
    return {_key(key): _cut(str(value), length) for key, value in entries.items()}


def _cut(value: str, length: int) -> str:
    return value if len(value) <= length else value[: length - 1] + "…"


def _batches(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    return (items[start : start + size] for start in range(0, len(items), size))
