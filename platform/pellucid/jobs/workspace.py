"""A job's directory: the whole conversation between the worker and the training process.

    request.json      what to do: `Request`
    metrics.jsonl     append-only: key, value, step, time (the spool that is shipped to MLflow)
    events.jsonl      append-only: progress, stages, findings
    log.txt           stdout and stderr of the training process
    checkpoint/       the last committed state, replaced atomically
    placement         whether the rows are in memory or streamed, as the first attempt decided
    scratch/          what an attempt needs only while it runs
    initial/          the bundle of the version that training starts from, where the plan names one
    outputs/          bundle/, figures/, tables/, result.json: written last, its presence is success
    error.json        a `TrainingFailed` or an invalid input: another attempt would not help

A scoring has the same directory: `BatchRequest` in request.json, the parts that are done in
checkpoint/, the bundle that it scores with in initial/, and outputs/predictions.parquet. So has an
explanation, with outputs/explanations.parquet.

The training process knows neither the database nor MLflow: it reads and writes only here. All
attempts of a job share the directory, so the spools hold every attempt in order; a step that a
resumed attempt repeats is dropped by the shipper, by (key, step).
"""

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict

from pellucid.errors import PellucidError
from pellucid.plan.batch import BatchPlan
from pellucid.schema import Schema

AnyPlan = TypeVar("AnyPlan", bound=BatchPlan)


class Request(BaseModel):
    """What the worker asks of a training process."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    job_id: str
    attempt: int
    plan: dict[str, Any]  # resolved
    data_schema: Schema  # with final roles
    data_version: str
    data_path: str  # the Parquet file
    weights_path: str | None = None  # of the version to start from
    trial: bool = False  # of a search: train and validate only
    study: dict[str, Any] | None = None  # of a search whose winner this is; see `search.records`


class BatchRequest(BaseModel, Generic[AnyPlan]):
    """What the worker asks of a process that scores or explains."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    plan: AnyPlan
    data_path: str  # the Parquet file
    device: str  # as `Settings.device`


class Metric(NamedTuple):
    """One point of a curve. `time` is milliseconds since the epoch."""

    key: str
    value: float
    step: int
    time: int


class Workspace:
    """Paths of a job's directory, and its small files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.request_path = root / "request.json"
        self.metrics_path = root / "metrics.jsonl"
        self.events_path = root / "events.jsonl"
        self.log_path = root / "log.txt"
        self.checkpoint = root / "checkpoint"
        self.placement_path = root / "placement"
        self.scratch = root / "scratch"
        self.initial = root / "initial"
        self.outputs = root / "outputs"
        self.bundle = self.outputs / "bundle"
        self.figures = self.outputs / "figures"
        self.tables = self.outputs / "tables"
        self.result_path = self.outputs / "result.json"
        self.error_path = root / "error.json"

    def write_request(self, request: Request | BatchRequest[AnyPlan]) -> None:
        """Say what the next attempt is to do; what an earlier attempt failed on is forgotten."""
        self.root.mkdir(parents=True, exist_ok=True)
        self.error_path.unlink(missing_ok=True)
        write_atomically(self.request_path, request.model_dump_json(indent=2).encode())

    def read_request(self) -> Request:
        """What this attempt of a training is to do."""
        return Request.model_validate_json(self.request_path.read_bytes())

    def read_batch(self, plan: type[AnyPlan]) -> BatchRequest[AnyPlan]:
        """What this attempt of a scoring or an explanation is to do."""
        request = BatchRequest[plan]  # type: ignore[valid-type]
        return request.model_validate_json(self.request_path.read_bytes())

    def answers(self, plan: BatchPlan | type[BatchPlan]) -> Path:
        """The predictions of a scoring, or the SHAP values of an explanation."""
        return self.outputs / f"{plan.answers}.parquet"

    def inherit(self, other: "Workspace") -> None:
        """Go on from what another job of the same plan left: its checkpoint and its curves."""
        for mine, its in (
            (self.metrics_path, other.metrics_path),
            (self.checkpoint, other.checkpoint),
            (self.placement_path, other.placement_path),
        ):
            if its.exists() and not mine.exists():
                new = mine.with_name(f".{mine.name}.new")
                if its.is_dir():
                    shutil.rmtree(new, ignore_errors=True)
                    shutil.copytree(its, new)
                else:
                    shutil.copyfile(its, new)
                new.replace(mine)

    def write_result(self, result: dict[str, Any]) -> None:
        """Commit the outputs: after this the attempt has succeeded."""
        self.outputs.mkdir(parents=True, exist_ok=True)
        write_atomically(self.result_path, json.dumps(result, indent=2).encode())

    def read_result(self) -> dict[str, Any] | None:
        """The committed result, or None."""
        return _read(self.result_path)

    def write_error(self, error: PellucidError) -> None:
        """Say why no attempt can succeed."""
        write_atomically(self.error_path, json.dumps(error.as_dict(), default=str).encode())

    def read_error(self) -> dict[str, Any] | None:
        """Why no attempt can succeed, or None."""
        return _read(self.error_path)


class Spool:
    """An append-only file of JSON lines, written by one process.

    A line torn by a crash is completed by a newline before the next append, and skipped by
    readers. Lines survive the death of the process (they are flushed), not of the machine.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")
        if self._file.tell() and not _ends_with_newline(path):
            self._file.write(b"\n")

    def append(self, *entries: dict[str, Any]) -> None:
        """Append the entries in one write."""
        lines = b"".join(json.dumps(entry).encode() + b"\n" for entry in entries)
        self._file.write(lines)
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def metric_entries(values: dict[str, float], step: int) -> list[dict[str, Any]]:
    """Lines of the metric spool for values measured now."""
    now = time.time_ns() // 1_000_000
    return [
        {"key": key, "value": value, "step": step, "time": now} for key, value in values.items()
    ]


def read_spool(path: Path, offset: int = 0) -> Iterator[tuple[int, dict[str, Any]]]:
    """The complete lines from a byte offset on, each with the offset behind it."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        file.seek(offset)
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            try:
                entry = json.loads(line)
            except ValueError:  # torn by a crash, completed by the next attempt
                continue
            if isinstance(entry, dict):
                yield offset, entry


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file so that a reader, or a crash, sees the old or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _read(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    return value if isinstance(value, dict) else None
