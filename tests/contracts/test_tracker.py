"""The tracker's and registry's contract, kept by the one in memory and by a real MLflow server."""

import itertools
import json
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pellucid.bundle import MANIFEST, Bundle
from pellucid.errors import NotFound
from pellucid.jobs.workspace import Metric
from pellucid.settings import Settings
from pellucid.tracking.contract import DatasetInput, Registry, Tracker
from pellucid.tracking.memory import MemoryTracker
from pellucid.tracking.mlflow import connect
from support import foreign
from support.bundles import make_bundle

_numbers = itertools.count(1)


@dataclass
class Run:
    status: str
    name: str
    params: dict[str, str]
    tags: dict[str, str]
    datasets: list[tuple[str, str]]


@dataclass
class Backend:
    """A tracker and registry, with ways to look at what they hold."""

    tracker: Tracker
    registry: Registry
    run: Callable[[str], Run]
    history: Callable[[str, str], list[Metric]]
    artifact: Callable[[str, str], bytes]
    runs_of: Callable[[str], list[str]]


@pytest.fixture(params=["memory", "mlflow"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    if request.param == "memory":
        return _in_memory(tmp_path)
    return _on_mlflow(request.getfixturevalue("mlflow_url"))


def _in_memory(directory: Path) -> Backend:
    memory = MemoryTracker(directory / "registry")

    def run(run_id: str) -> Run:
        found = memory.runs[run_id]
        datasets = [(d.name, d.digest) for d in found.datasets]
        return Run(found.status, found.name, found.params, found.tags, datasets)

    return Backend(
        memory,
        memory,
        run,
        lambda run_id, key: [m for m in memory.runs[run_id].history if m.key == key],
        lambda run_id, path: memory.runs[run_id].artifacts[path],
        lambda job: [r.id for r in memory.runs.values() if r.tags["pellucid.job_id"] == job],
    )


def _on_mlflow(url: str) -> Backend:
    tracker, registry = connect(Settings(mlflow_url=url, experiment="contract"))
    from mlflow import MlflowClient

    client = MlflowClient(url, url)

    def run(run_id: str) -> Run:
        found = client.get_run(run_id)
        datasets = [
            (i.dataset.name, json.loads(i.dataset.source)["sha256"])
            for i in found.inputs.dataset_inputs
        ]
        data = found.data
        return Run(found.info.status, found.info.run_name, data.params, data.tags, datasets)

    def history(run_id: str, key: str) -> list[Metric]:
        points = client.get_metric_history(run_id, key)
        return [Metric(p.key, p.value, p.step, p.timestamp) for p in points]

    def artifact(run_id: str, path: str) -> bytes:
        with TemporaryDirectory() as scratch:
            return Path(client.download_artifacts(run_id, path, scratch)).read_bytes()

    def runs_of(job: str) -> list[str]:
        experiment = client.get_experiment_by_name("contract")
        found = client.search_runs([experiment.experiment_id], f"tags.pellucid.job_id = '{job}'")
        return [r.info.run_id for r in found]

    return Backend(tracker, registry, run, history, artifact, runs_of)


@pytest.fixture
def job() -> str:
    return f"job-{next(_numbers)}"


@pytest.fixture
def model() -> str:
    return f"model-{next(_numbers)}"


def test_a_job_has_one_run_that_reopens(backend: Backend, job: str) -> None:
    tracker = backend.tracker
    first = tracker.open_run(job, "first", {"attempt": "1"})
    assert backend.run(first).status == "RUNNING"
    tracker.close_run(first, "FAILED")
    assert backend.run(first).status == "FAILED"

    assert tracker.open_run(job, "second", {"attempt": "2"}) == first
    run = backend.run(first)
    assert (run.status, run.name, run.tags["attempt"]) == ("RUNNING", "second", "2")
    assert backend.runs_of(job) == [first]
    tracker.close_run(first, "FINISHED")
    tracker.close_run(first, "FINISHED")
    assert backend.run(first).status == "FINISHED"


def test_other_jobs_have_other_runs(backend: Backend, job: str) -> None:
    tracker = backend.tracker
    assert tracker.open_run(job, "a", {}) != tracker.open_run(f"{job}-b", "b", {})


def test_params_and_tags(backend: Backend, job: str) -> None:
    run_id = backend.tracker.open_run(job, "run", {})
    params = {f"part.key{i}": str(i) for i in range(130)}
    for _ in range(2):
        backend.tracker.log_params(run_id, params)
        backend.tracker.set_tags(run_id, {"device": "cpu"})
    backend.tracker.set_tags(run_id, {"device": "cuda"})
    run = backend.run(run_id)
    assert run.params == params
    assert run.tags["device"] == "cuda"


def test_metrics_keep_order_and_every_point_once(backend: Backend, job: str) -> None:
    run_id = backend.tracker.open_run(job, "run", {})
    points = [Metric("train/loss", 1 / step, step, 1000 + step) for step in range(1, 1201)]
    backend.tracker.log_metrics(run_id, points)
    backend.tracker.log_metrics(run_id, points[1100:])
    assert sorted(backend.history(run_id, "train/loss"), key=lambda m: m.step) == points
    assert backend.tracker.last_steps(run_id) == {"train/loss": 1200}
    assert backend.tracker.last_steps(backend.tracker.open_run(f"{job}-new", "new", {})) == {}


def test_numbers_that_are_none_are_kept(backend: Backend, job: str) -> None:
    run_id = backend.tracker.open_run(job, "run", {})
    points = [Metric("loss", math.nan, 1, 10), Metric("loss", math.inf, 2, 20)]
    for _ in range(2):
        backend.tracker.log_metrics(run_id, points)
    not_a_number, infinite = sorted(backend.history(run_id, "loss"), key=lambda m: m.step)
    assert math.isnan(not_a_number.value)
    assert infinite.value > 1e308  # MLflow's largest number
    assert backend.tracker.last_steps(run_id) == {"loss": 2}


def test_the_data_set_is_logged_once(backend: Backend, job: str) -> None:
    run_id = backend.tracker.open_run(job, "run", {})
    digest = "0123456789abcdef" * 4
    schema = {"age": "int64", "amount": "float64", "at": "timestamp[us]", "purpose": "string"}
    dataset = DatasetInput("credit", digest, "/data/credit.parquet", schema, 1000)
    for _ in range(2):
        backend.tracker.log_dataset(run_id, dataset)
    assert backend.run(run_id).datasets == [("credit", digest)]


def test_artifacts_are_replaced(backend: Backend, job: str, tmp_path: Path) -> None:
    run_id = backend.tracker.open_run(job, "run", {})
    directory = tmp_path / "figures"
    (directory / "below").mkdir(parents=True)
    (directory / "below" / "a.txt").write_text("a")
    for text in ("old", "new"):
        (directory / "b.txt").write_text(text)
        backend.tracker.log_artifacts(run_id, directory, "figures")
    assert backend.artifact(run_id, "figures/b.txt") == b"new"
    assert backend.artifact(run_id, "figures/below/a.txt") == b"a"


def test_a_table_is_bounded_and_replaced(backend: Backend, job: str, tmp_path: Path) -> None:
    run_id = backend.tracker.open_run(job, "run", {})
    rows = 1500
    columns: dict[str, Any] = {"shap": [float(i) for i in range(rows)], "name": ["x"] * rows}
    columns["shap"][1] = math.nan
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    for _ in range(2):
        backend.tracker.log_table(run_id, tmp_path / "t.parquet", "shap_values")
    table = json.loads(backend.artifact(run_id, "shap_values.json"))
    assert table["columns"] == ["shap", "name"]
    assert len(table["data"]) == 1000
    assert table["data"][:3] == [[0.0, "x"], [None, "x"], [2.0, "x"]]


def test_a_run_has_one_version(backend: Backend, job: str, model: str, tmp_path: Path) -> None:
    run_id = backend.tracker.open_run(job, "run", {})
    bundle = make_bundle(tmp_path / "bundle", name=model)
    made = backend.registry.register(run_id, model, bundle.root, {"metric.roc_auc": "0.8"})
    again = backend.registry.register(run_id, model, bundle.root, {"metric.roc_auc": "0.8"})
    assert made == again
    assert (made.name, made.version, made.run_id) == (model, 1, run_id)
    assert made.tags == {"metric.roc_auc": "0.8"}
    assert made.created.endswith("+00:00")

    other = backend.tracker.open_run(f"{job}-2", "run", {})
    assert backend.registry.register(other, model, bundle.root, {}).version == 2
    assert [v.version for v in backend.registry.versions(model)] == [2, 1]
    assert backend.registry.version(model, 1) == made


def test_what_is_downloaded_is_the_bundle(
    backend: Backend, job: str, model: str, tmp_path: Path
) -> None:
    run_id = backend.tracker.open_run(job, "run", {})
    bundle = make_bundle(tmp_path / "bundle", name=model)
    backend.registry.register(run_id, model, bundle.root, {})
    target = tmp_path / "cache" / model / "1"
    backend.registry.download(model, 1, target)
    assert Bundle.open(target).manifest == bundle.manifest
    backend.registry.download(model, 1, target)
    assert [path.name for path in target.parent.iterdir()] == ["1"]


def test_an_onnx_file_is_a_version(backend: Backend, job: str, model: str, tmp_path: Path) -> None:
    run_id = backend.tracker.open_run(job, "run", {})
    file = foreign.write(foreign.dense(), tmp_path / "made", "elsewhere.onnx")
    made = backend.registry.register_onnx(run_id, model, file, {"owner": "risk"})
    assert made == backend.registry.register_onnx(run_id, model, file, {"owner": "risk"})
    assert (made.version, made.run_id, made.tags) == (1, run_id, {"owner": "risk"})
    backend.registry.download(model, 1, tmp_path / "to")
    (found,) = (tmp_path / "to").glob("*.onnx")
    assert onnx.load(found).graph == foreign.dense().graph
    assert not (tmp_path / "to" / MANIFEST).exists()


def test_aliases_and_tags(backend: Backend, job: str, model: str, tmp_path: Path) -> None:
    registry = backend.registry
    bundle = make_bundle(tmp_path / "bundle", name=model)
    for number in (1, 2):
        run_id = backend.tracker.open_run(f"{job}-{number}", "run", {})
        registry.register(run_id, model, bundle.root, {})
    registry.set_alias(model, "champion", 1)
    registry.set_alias(model, "challenger", 1)
    registry.set_alias(model, "champion", 2)
    registry.set_model_tag(model, "owner", "risk")
    registry.set_version_tags(model, 2, {"reason": "better", "decision": "champion"})
    found = registry.model(model)
    assert found.aliases == {"champion": 2, "challenger": 1}
    assert found.latest == 2
    assert found.tags == {"owner": "risk"}
    assert found in registry.models()
    assert registry.version(model, 2).aliases == ("champion",)
    assert registry.version(model, 2).tags == {"reason": "better", "decision": "champion"}
    assert [v.aliases for v in registry.versions(model)] == [("champion",), ("challenger",)]
    for _ in range(2):
        registry.delete_alias(model, "challenger")
        registry.delete_model_tag(model, "owner")
    assert registry.model(model).aliases == {"champion": 2}
    assert registry.model(model).tags == {}


MISSING: dict[str, Callable[[Registry, str, Path], object]] = {
    "model": lambda r, name, to: r.model("nobody"),
    "model with a quote": lambda r, name, to: r.model("it's"),
    "versions": lambda r, name, to: r.versions("nobody"),
    "versions with a quote": lambda r, name, to: r.versions("it's"),
    "version of no model": lambda r, name, to: r.version("nobody", 1),
    "version": lambda r, name, to: r.version(name, 7),
    "set_alias": lambda r, name, to: r.set_alias(name, "champion", 7),
    "set_alias of no model": lambda r, name, to: r.set_alias("nobody", "champion", 1),
    "delete_alias": lambda r, name, to: r.delete_alias("nobody", "champion"),
    "set_model_tag": lambda r, name, to: r.set_model_tag("nobody", "a", "b"),
    "delete_model_tag": lambda r, name, to: r.delete_model_tag("nobody", "a"),
    "set_version_tags": lambda r, name, to: r.set_version_tags(name, 7, {"a": "b"}),
    "download": lambda r, name, to: r.download(name, 7, to),
    "download of no name": lambda r, name, to: r.download("../up", 1, to),
}


def test_what_is_not_there_is_not_found(
    backend: Backend, job: str, model: str, tmp_path: Path
) -> None:
    run_id = backend.tracker.open_run(job, "run", {})
    bundle = make_bundle(tmp_path / "bundle", name=model)
    backend.registry.register(run_id, model, bundle.root, {})
    found = []
    for name, ask in MISSING.items():
        with suppress(NotFound):
            ask(backend.registry, model, tmp_path / "to")
            found.append(name)
    assert not found
    assert not (tmp_path / "to").exists()
