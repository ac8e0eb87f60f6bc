"""What becomes of a finished job, wherever its publication is interrupted."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pellucid.errors import Conflict, NotFound, TrackerUnavailable, TrainingFailed
from pellucid.jobs.workspace import Request, Spool, Workspace, metric_entries
from pellucid.plan import Plan
from pellucid.resources.jobs import Job, JobStatus
from pellucid.schema import Column, Role, Schema, StorageType
from pellucid.settings import Settings
from pellucid.tracking.memory import MemoryRun, MemoryTracker
from pellucid.tracking.mlflow import connect
from pellucid.tracking.publish import promote, publish, rollback
from support.bundles import make_bundle

DIGEST = "0123456789abcdef" * 4
COMPARISON = {
    "metric": "roc_auc",
    "champion": 0.8,
    "candidate": 0.9,
    "difference": 0.1,
    "low": 0.05,
    "high": 0.15,
    "rows": 20,
}


class Interrupted(Exception):
    """The worker is killed."""


class Fragile:
    """Lets a number of calls through and then kills, before or after the call's effect."""

    def __init__(self, backend: Any, calls: int, *, after: bool) -> None:
        self._backend = backend
        self._left = calls
        self._after = after

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            self._left -= 1
            if self._left == 0 and not self._after:
                raise Interrupted(name)
            answer = getattr(self._backend, name)(*arguments)
            if self._left == 0:
                raise Interrupted(name)
            return answer

        return call


@pytest.fixture
def memory(tmp_path: Path) -> MemoryTracker:
    return MemoryTracker(tmp_path / "registry")


def a_job(directory: Path, name: str, job_id: str, **gates: Any) -> tuple[Job, Workspace]:
    """A job whose training process has just succeeded."""
    spec = Plan.parse({"name": name, "data": {"dataset": "credit"}, "gates": gates})
    plan = spec.model_dump(mode="json")
    workspace = Workspace(directory / job_id)
    table = directory / "data.parquet"
    pq.write_table(pa.table({"amount": np.arange(30.0), "outcome": ["good"] * 30}), table)
    columns = (
        Column(name="amount", type=StorageType.FLOAT64),
        Column(name="outcome", type=StorageType.STRING, role=Role.TARGET),
    )
    request = Request(
        job_id=job_id,
        attempt=1,
        plan=plan,
        data_schema=Schema(columns=columns),
        data_version=DIGEST,
        data_path=str(table),
    )
    workspace.write_request(request)
    spool = Spool(workspace.metrics_path)
    for step in range(1, 6):
        spool.append(*metric_entries({"train/loss": 1 / step}, step))
    spool.append(*metric_entries({"test/roc_auc": 0.9, "test/roc_auc_low": 0.85}, 0))
    spool.close()
    make_bundle(workspace.bundle, name=name, job_id=job_id, metrics={"roc_auc": 0.9})
    for path in (workspace.figures / "roc.png", workspace.tables / "groups.parquet"):
        path.parent.mkdir()
        path.write_bytes(b"content")
    workspace.log_path.write_text("epoch 1")
    workspace.write_result(
        {
            "metrics": {"roc_auc": 0.9},
            "intervals": {"roc_auc": [0.85, 0.95]},
            "gate_metric": "roc_auc",
            "additivity_error": 1e-7,
            "epochs": 5,
            "best_epoch": 5,
            "seconds": 1.5,
        }
    )
    job = Job(
        id=job_id,
        name=name,
        status=JobStatus.RUNNING,
        reason="",
        plan=plan,
        data_version=DIGEST,
        attempt=1,
        max_attempts=5,
        cancel_requested=False,
        created_at=datetime.now(UTC),
    )
    return job, workspace


def no_comparison(champion: Path) -> dict[str, Any]:
    raise AssertionError(f"nothing to compare with {champion}")


def better(champion: Path) -> dict[str, Any]:
    assert (champion / "manifest.json").is_file()
    return COMPARISON


def test_the_first_good_version_is_champion(memory: MemoryTracker, tmp_path: Path) -> None:
    job, workspace = a_job(tmp_path, "credit", "job-a", at_least={"roc_auc": 0.7})
    published = publish(job, workspace, memory, memory, no_comparison)
    assert (published.version, published.alias) == (1, "champion")
    assert memory.model("credit").aliases == {"champion": 1}
    run = memory.runs[published.run_id]
    assert run.status == "FINISHED"
    assert run.params["data.dataset"] == "credit"
    assert run.params["training.epochs"] == "100"
    assert run.params["gates.at_least.roc_auc"] == "0.7"
    assert run.tags["pellucid.data_version"] == DIGEST
    assert run.tags["pellucid.model_version"] == "credit/1"
    assert run.tags["pellucid.additivity_error"] == "1e-07"
    assert "| roc_auc | 0.9000 | 0.8500 to 0.9500 |" in run.tags["mlflow.note.content"]
    assert [m.step for m in run.history if m.key == "train/loss"] == [1, 2, 3, 4, 5]
    assert [(d.digest, d.rows) for d in run.datasets] == [(DIGEST, 30)]
    assert set(run.artifacts) == {
        "card.md",
        "plan.yaml",
        "log.txt",
        "figures/roc.png",
        "tables/groups.parquet",
        "shap_values.json",
    }
    assert Plan.from_text(run.artifacts["plan.yaml"].decode()) == Plan.parse(job.plan)
    tags = memory.version("credit", 1).tags
    assert tags["metric.roc_auc"] == "0.9"
    assert tags["pellucid.job_id"] == "job-a"
    assert tags["pellucid.decision"] == "champion"


def test_a_version_below_its_bounds_gets_no_alias(memory: MemoryTracker, tmp_path: Path) -> None:
    job, workspace = a_job(tmp_path, "credit", "job-a", at_least={"roc_auc": 0.95})
    published = publish(job, workspace, memory, memory, no_comparison)
    assert published.alias is None
    assert "0.9; the gate asks for at least 0.95" in published.reason
    assert memory.model("credit").aliases == {}
    job, workspace = a_job(tmp_path, "credit", "job-b")
    assert publish(job, workspace, memory, memory, no_comparison).alias == "champion"


@pytest.mark.parametrize(
    ("gate", "compare", "alias"),
    [
        ("never", no_comparison, "challenger"),
        ("better", better, "champion"),
        ("better", lambda champion: {"incomparable": "other rows."}, "challenger"),
    ],
)
def test_a_later_version_has_to_earn_it(
    memory: MemoryTracker, tmp_path: Path, gate: str, compare: Any, alias: str
) -> None:
    publish(*a_job(tmp_path, "credit", "job-a"), memory, memory, no_comparison)
    job, workspace = a_job(tmp_path, "credit", "job-b", promote=gate)
    published = publish(job, workspace, memory, memory, compare)
    assert (published.version, published.alias) == (2, alias)
    assert memory.model("credit").aliases[alias] == 2


def test_a_comparison_that_fails_leaves_the_champion(memory: MemoryTracker, tmp_path: Path) -> None:
    def fails(champion: Path) -> dict[str, Any]:
        raise TrainingFailed("The champion does not load.")

    publish(*a_job(tmp_path, "credit", "job-a"), memory, memory, no_comparison)
    job, workspace = a_job(tmp_path, "credit", "job-b", promote="not_worse")
    published = publish(job, workspace, memory, memory, fails)
    assert published.alias == "challenger"
    assert "does not load" in published.reason


def test_nothing_is_published_without_a_result(memory: MemoryTracker, tmp_path: Path) -> None:
    job, workspace = a_job(tmp_path, "credit", "job-a")
    workspace.result_path.unlink()
    with pytest.raises(Conflict, match="no result"):
        publish(job, workspace, memory, memory, no_comparison)
    assert memory.runs == {}


def test_people_have_the_last_word(memory: MemoryTracker, tmp_path: Path) -> None:
    job, workspace = a_job(tmp_path, "credit", "job-a")
    publish(job, workspace, memory, memory, no_comparison)
    memory.delete_alias("credit", "champion")
    publish(job, workspace, memory, memory, no_comparison)  # its worker died before it said so
    assert memory.model("credit").aliases == {}


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("gate", ["never", "better"])
def test_any_interruption_ends_the_same(tmp_path: Path, after: bool, gate: str) -> None:
    """Killed at the first call, then at the second, ...; each time published again until done."""
    expected = _published_with_interruptions(tmp_path / "whole", 0, after, gate)
    calls = 1
    while True:
        state = _published_with_interruptions(tmp_path / str(calls), calls, after, gate)
        if state is None:
            break
        assert state == expected, f"interrupted at call {calls}"
        calls += 1
    assert calls > 15


def _published_with_interruptions(
    directory: Path, calls: int, after: bool, gate: str
) -> dict[str, Any] | None:
    directory.mkdir()
    memory = MemoryTracker(directory / "registry")
    publish(*a_job(directory, "credit", "job-a"), memory, memory, no_comparison)
    job, workspace = a_job(directory, "credit", "job-b", promote=gate)

    def compare(champion: Path) -> dict[str, Any]:
        assert "champion" in memory.version("credit", 1).aliases, "decided after the alias moved"
        return COMPARISON

    fragile = Fragile(memory, calls, after=after)
    try:
        publish(job, workspace, fragile, fragile, compare)
        if calls:
            return None
    except Interrupted:
        publish(job, workspace, memory, memory, compare)
    return {
        "model": replace(memory.model("credit"), created=0),
        "versions": [(v.version, v.aliases, v.tags) for v in memory.versions("credit")],
        "runs": [_state_of(run) for run in memory.runs.values()],
    }


def _state_of(run: MemoryRun) -> tuple[Any, ...]:
    points = [(m.key, m.step, m.value) for m in run.history]
    digests = [dataset.digest for dataset in run.datasets]
    return run.status, run.tags, run.params, points, digests, run.artifacts


def test_promote_and_rollback(memory: MemoryTracker, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        job, workspace = a_job(tmp_path, "credit", f"job-{number}")
        publish(job, workspace, memory, memory, no_comparison)
    assert memory.model("credit").aliases == {"champion": 1, "challenger": 3}
    promote(memory, "credit", 3)
    assert memory.model("credit").aliases == {"champion": 3}
    promote(memory, "credit", 3)
    promote(memory, "credit", 2)
    assert rollback(memory, "credit") == 3
    assert rollback(memory, "credit") == 1
    assert memory.model("credit").aliases == {"champion": 1}
    with pytest.raises(Conflict, match="no earlier champion"):
        rollback(memory, "credit")
    with pytest.raises(NotFound):
        promote(memory, "credit", 9)
    with pytest.raises(NotFound):
        rollback(memory, "nobody")


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("calls", [1, 2, 3, 4])
def test_an_interrupted_promotion_is_repeated(
    memory: MemoryTracker, tmp_path: Path, calls: int, after: bool
) -> None:
    for number in (1, 2):
        job, workspace = a_job(tmp_path, "credit", f"job-{number}")
        publish(job, workspace, memory, memory, no_comparison)
    try:
        promote(Fragile(memory, calls, after=after), "credit", 2)  # type: ignore[arg-type]
    except Interrupted:
        promote(memory, "credit", 2)
    assert memory.model("credit").aliases["champion"] == 2
    assert rollback(memory, "credit") == 1
    with pytest.raises(Conflict):
        rollback(memory, "credit")


@pytest.mark.parametrize("call", ["log_params", "register", "set_version_tags", "close_run"])
def test_on_mlflow_an_interrupted_publication_is_repeated(
    mlflow_url: str, tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The request is carried out, the answer is lost; then the tracker is found down once more."""
    tracker, registry = connect(Settings(mlflow_url=mlflow_url, experiment="publish"))
    owner = registry if hasattr(registry, call) else tracker
    name = f"credit-{call}"
    job, workspace = a_job(tmp_path, name, f"job-{call}")
    whole = getattr(owner, call)

    def unanswered(*arguments: Any) -> None:
        whole(*arguments)
        raise TrackerUnavailable("No answer.")

    with monkeypatch.context() as patch:
        patch.setattr(owner, call, unanswered)
        with pytest.raises(TrackerUnavailable):
            publish(job, workspace, tracker, registry, no_comparison)
    published = publish(job, workspace, tracker, registry, no_comparison)
    assert (published.version, published.alias) == (1, "champion")
    assert [v.aliases for v in registry.versions(name)] == [("champion",)]
    client = tracker._client
    experiment = client.get_experiment_by_name("publish").experiment_id
    runs = client.search_runs([experiment], f"tags.pellucid.job_id = '{job.id}'")
    assert [run.info.status for run in runs] == ["FINISHED"]
    assert len(client.get_metric_history(published.run_id, "test/roc_auc")) == 1
    models = client.search_logged_models([experiment], f"source_run_id = '{published.run_id}'")
    assert [str(model.status) for model in models] == ["READY"]
    assert json.loads(runs[0].data.tags["mlflow.loggedArtifacts"]) == [
        {"path": "shap_values.json", "type": "table"}
    ]
