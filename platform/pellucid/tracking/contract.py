"""What we ask of a tracker and model registry.

Every call may raise `TrackerUnavailable`, and every call may be repeated after it: calls that
create something find what an earlier, unanswered call of theirs created. Nothing here is called
from a training step: metrics go to a local spool and are shipped from there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from pellucid.jobs.workspace import Metric

RunStatus = Literal["RUNNING", "FINISHED", "FAILED", "KILLED"]
CHAMPION = "champion"
CHALLENGER = "challenger"
SHADOW = "shadow"
JOB_TAG = "pellucid.job_id"  # on runs and versions: whose they are


@dataclass(frozen=True)
class DatasetInput:
    """The data set of a run. `digest` is the SHA-256 of the full content."""

    name: str
    digest: str
    source: str
    schema: Mapping[str, str]  # column -> storage type
    rows: int


@dataclass(frozen=True)
class ModelVersion:
    """A registered version; `version` counts from 1 within a model's name."""

    name: str
    version: int
    run_id: str
    created: str  # ISO 8601, UTC
    aliases: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RegisteredModel:
    """A model's name, with its aliases and its newest version.

    Attributes:
        created: milliseconds since 1970-01-01 UTC. A model that is deleted and registered again
            counts its versions from 1 again: by this they are told from the others.
    """

    name: str
    aliases: Mapping[str, int]
    latest: int | None
    created: int
    tags: Mapping[str, str] = field(default_factory=dict)


class Tracker(Protocol):
    """Runs: one per job, whatever the number of attempts."""

    def open_run(self, job_id: str, name: str, tags: Mapping[str, str]) -> str:
        """The id of the job's run, created or found by its job tag, and RUNNING."""
        ...

    def close_run(self, run_id: str, status: RunStatus) -> None:
        """Set the run's final status."""
        ...

    def log_params(self, run_id: str, params: Mapping[str, str]) -> None:
        """Log parameters; the same value again is no error."""
        ...

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Set tags, replacing their values."""
        ...

    def log_metrics(self, run_id: str, metrics: Sequence[Metric]) -> None:
        """Log points, in batches of the size that the tracker takes."""
        ...

    def last_steps(self, run_id: str) -> dict[str, int]:
        """The highest step that the tracker holds, for every key."""
        ...

    def log_dataset(self, run_id: str, dataset: DatasetInput) -> None:
        """Log the run's training data."""
        ...

    def log_artifacts(self, run_id: str, directory: Path, to: str = "") -> None:
        """Upload a directory's files; files of the same path are replaced."""
        ...

    def log_table(self, run_id: str, table: Path, name: str) -> None:
        """Log a Parquet file as a table that the tracker's UI shows."""
        ...


class Registry(Protocol):
    """Registered models, their versions and aliases."""

    def register(
        self, run_id: str, name: str, bundle: Path, tags: Mapping[str, str]
    ) -> ModelVersion:
        """The run's version of `name`: found, or made from the bundle. One per run, ever."""
        ...

    def register_onnx(
        self, run_id: str, name: str, model: Path, tags: Mapping[str, str]
    ) -> ModelVersion:
        """The run's version of `name`: found, or made from an ONNX file that was made elsewhere.

        Raises `InvalidData` where the file is no ONNX model.
        """
        ...

    def models(self) -> list[RegisteredModel]:
        """Every registered model, by name."""
        ...

    def model(self, name: str) -> RegisteredModel:
        """One model. Raises `NotFound`."""
        ...

    def versions(self, name: str) -> list[ModelVersion]:
        """Every version of a model, newest first. Raises `NotFound`."""
        ...

    def version(self, name: str, version: int) -> ModelVersion:
        """One version. Raises `NotFound`."""
        ...

    def set_alias(self, name: str, alias: str, version: int) -> None:
        """Point an alias at a version. Raises `NotFound`."""
        ...

    def delete_alias(self, name: str, alias: str) -> None:
        """Remove an alias; no error where there is none."""
        ...

    def set_model_tag(self, name: str, key: str, value: str) -> None:
        """Set a tag of the registered model. Raises `NotFound`."""
        ...

    def delete_model_tag(self, name: str, key: str) -> None:
        """Remove a tag of the registered model; no error where it has none. Raises `NotFound`."""
        ...

    def set_version_tags(self, name: str, version: int, tags: Mapping[str, str]) -> None:
        """Set tags of a version, one after the other. Raises `NotFound`."""
        ...

    def download(self, name: str, version: int, to: Path) -> None:
        """Put the version's bundle into the new directory `to`, whole or not at all.

        A bundle that lies there already is left as it is. Raises `NotFound`.
        """
        ...
