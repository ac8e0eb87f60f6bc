"""A tracker and registry in memory, for tests: it behaves as MLflow does, outages included."""

import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from pellucid.bundle import MANIFEST, Bundle
from pellucid.errors import NotFound, TrackerUnavailable
from pellucid.jobs.workspace import Metric
from pellucid.tracking.contract import (
    JOB_TAG,
    DatasetInput,
    ModelVersion,
    RegisteredModel,
    RunStatus,
)
from pellucid.tracking.tables import table_as_json


@dataclass
class MemoryRun:
    """What is known of a run. `history` holds every point once, in the order of arrival."""

    id: str
    name: str
    status: RunStatus = "RUNNING"
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    history: list[Metric] = field(default_factory=list)
    datasets: list[DatasetInput] = field(default_factory=list)
    artifacts: dict[str, bytes] = field(default_factory=dict)


class MemoryTracker:
    """A `Tracker` and a `Registry`. While `down` is true every call is unavailable.

    Args:
        directory: where the registered bundles are kept.
    """

    def __init__(self, directory: Path) -> None:
        self.down = False
        self.runs: dict[str, MemoryRun] = {}
        self._directory = directory
        self._versions: dict[str, list[ModelVersion]] = {}
        self._aliases: dict[str, dict[str, int]] = {}
        self._model_tags: dict[str, dict[str, str]] = {}
        self._lock = threading.RLock()

    def open_run(self, job_id: str, name: str, tags: Mapping[str, str]) -> str:
        """The id of the job's run, created or found by its job tag, and RUNNING."""
        with self._answering():
            run = next((r for r in self.runs.values() if r.tags.get(JOB_TAG) == job_id), None)
            if run is None:
                run = MemoryRun(id=f"run-{len(self.runs) + 1}", name=name)
                self.runs[run.id] = run
            run.status, run.name = "RUNNING", name
            run.tags |= {JOB_TAG: job_id, **tags}
            return run.id

    def close_run(self, run_id: str, status: RunStatus) -> None:
        """Set the run's final status; a run that was deleted meanwhile needs none."""
        with self._answering():
            if run_id in self.runs:
                self.runs[run_id].status = status

    def log_params(self, run_id: str, params: Mapping[str, str]) -> None:
        """Log parameters; the same value again is no error."""
        with self._answering():
            self._run(run_id).params |= params

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags, replacing their values."""
        with self._answering():
            self._run(run_id).tags |= tags

    def log_metrics(self, run_id: str, metrics: Sequence[Metric]) -> None:
        """Log points; one copy is kept of a point that comes twice, time included."""
        with self._answering():
            run = self._run(run_id)
            run.history = list(dict.fromkeys([*run.history, *metrics]))

    def last_steps(self, run_id: str) -> dict[str, int]:
        """The highest step that the tracker holds, for every key."""
        with self._answering():
            steps: dict[str, int] = {}
            for metric in self._run(run_id).history:
                steps[metric.key] = max(steps.get(metric.key, metric.step), metric.step)
            return steps

    def log_dataset(self, run_id: str, dataset: DatasetInput) -> None:
        """Log the run's training data."""
        with self._answering():
            datasets = self._run(run_id).datasets
            if dataset not in datasets:
                datasets.append(dataset)

    def log_artifacts(self, run_id: str, directory: Path, to: str = "") -> None:
        """Keep a directory's files; files of the same path are replaced."""
        with self._answering():
            artifacts = self._run(run_id).artifacts
            for file in directory.rglob("*"):
                if file.is_file():
                    path = Path(to) / file.relative_to(directory)
                    artifacts[path.as_posix()] = file.read_bytes()

    def log_table(self, run_id: str, table: Path, name: str) -> None:
        """Keep a Parquet file's first rows as JSON."""
        with self._answering():
            self._run(run_id).artifacts[f"{name}.json"] = table_as_json(table).encode()

    def register(
        self, run_id: str, name: str, bundle: Path, tags: Mapping[str, str]
    ) -> ModelVersion:
        """The run's version of `name`: found, or made from the bundle. One per run, ever."""

        def put(to: Path) -> None:
            Bundle.open(bundle)
            shutil.copytree(bundle, to)

        return self._register(run_id, name, tags, put)

    def register_onnx(
        self, run_id: str, name: str, model: Path, tags: Mapping[str, str]
    ) -> ModelVersion:
        """The run's version of `name`: found, or made from an ONNX file that was made elsewhere."""

        def put(to: Path) -> None:
            to.mkdir(parents=True)
            shutil.copyfile(model, to / model.name)

        return self._register(run_id, name, tags, put)

    def models(self) -> list[RegisteredModel]:
        """Every registered model, by name."""
        with self._answering():
            return [self.model(name) for name in sorted(self._versions)]

    def model(self, name: str) -> RegisteredModel:
        """One model. Raises `NotFound`."""
        with self._answering():
            if name not in self._versions:
                raise NotFound(f"There is no model {name!r}.", where={"model": name})
            return RegisteredModel(
                name=name,
                aliases=dict(self._aliases.get(name, {})),
                latest=len(self._versions[name]) or None,
                created=_milliseconds(self._versions[name][0].created),
                tags=dict(self._model_tags.get(name, {})),
            )

    def versions(self, name: str) -> list[ModelVersion]:
        """Every version of a model, newest first. Raises `NotFound`."""
        with self._answering():
            aliases = self.model(name).aliases
            return [
                replace(v, aliases=tuple(sorted(a for a, at in aliases.items() if at == v.version)))
                for v in reversed(self._versions[name])
            ]

    def version(self, name: str, version: int) -> ModelVersion:
        """One version. Raises `NotFound`."""
        for found in self.versions(name):
            if found.version == version:
                return found
        raise NotFound(f"Model {name!r} has no version {version}.", where={"model": name})

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias at a version. Raises `NotFound`."""
        with self._answering():
            self.version(name, version)
            self._aliases.setdefault(name, {})[alias] = version

    def delete_alias(self, name: str, alias: str) -> None:
        """Remove an alias; no error where there is none."""
        with self._answering():
            self.model(name)
            self._aliases.get(name, {}).pop(alias, None)

    def set_model_tag(self, name: str, key: str, value: str) -> None:
        """Set a tag of the registered model. Raises `NotFound`."""
        with self._answering():
            self.model(name)
            self._model_tags.setdefault(name, {})[key] = value

    def delete_model_tag(self, name: str, key: str) -> None:
        """Remove a tag of the registered model; no error where it has none. Raises `NotFound`."""
        with self._answering():
            self.model(name)
            self._model_tags.get(name, {}).pop(key, None)

    def set_version_tags(self, name: str, version: int, tags: Mapping[str, str]) -> None:
        """Set tags of a version. Raises `NotFound`."""
        with self._answering():
            found = self.version(name, version)
            index = version - 1
            self._versions[name][index] = replace(found, aliases=(), tags={**found.tags, **tags})

    def download(self, name: str, version: int, to: Path) -> None:
        """Put the version's bundle into the new directory `to`."""
        with self._answering():
            self.version(name, version)
            if not (to / MANIFEST).is_file():
                shutil.copytree(self._path(name, version), to)

    def _register(
        self, run_id: str, name: str, tags: Mapping[str, str], put: Callable[[Path], None]
    ) -> ModelVersion:
        with self._answering():
            versions = self._versions.setdefault(name, [])
            found = next((v for v in versions if v.run_id == run_id), None)
            if found is None:
                found = ModelVersion(
                    name=name,
                    version=len(versions) + 1,
                    run_id=run_id,
                    created=datetime.now(UTC).isoformat(),
                    tags=dict(tags),
                )
                put(self._path(name, found.version))
                versions.append(found)
            return self.version(name, found.version)

    def _answering(self) -> threading.RLock:
        """The lock to work under, if the tracker is up."""
        if self.down:
            raise TrackerUnavailable("The tracker is down.")
        return self._lock

    def _run(self, run_id: str) -> MemoryRun:
        if run_id not in self.runs:
            raise NotFound(f"There is no run {run_id!r}.")
        return self.runs[run_id]

    def _path(self, name: str, version: int) -> Path:
        return self._directory / name / str(version)


def _milliseconds(moment: str) -> int:
    return round(1000 * datetime.fromisoformat(moment).timestamp())
