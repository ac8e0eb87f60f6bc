"""Explanation jobs: over HTTP into the queue, through a worker and a real process, and back."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pellucid.cli import app
from pellucid.client import Client
from pellucid.errors import Conflict, InvalidInput, PellucidError
from pellucid.jobs.worker import Worker
from pellucid.resources.jobs import Job, JobStatus
from pellucid.tracking.contract import CHAMPION
from support import attributed, dying_batch
from support.workers import at_work

ROWS = 400


def feed(rows: int = ROWS) -> dict[str, Any]:
    """Rows with missing values and categories that nobody has seen, as the model takes them."""
    random = np.random.default_rng(3)
    found = {
        "age": random.normal(40, 10, rows),
        "owner": random.integers(0, 2, rows).astype(float),
        "since": random.integers(1_000_000_000, 1_700_000_000, rows).astype(float),
        "purpose": random.choice(["car", "boat", "kite", ""], rows),
    }
    found["age"][random.random(rows) < 0.2] = np.nan
    return found


def table(rows: int = ROWS, **changed: Any) -> pa.Table:
    """The same rows as a data set has them, beside a customer."""
    customers = pa.table({"customer": [f"c{i}" for i in range(rows)]})
    columns = [*customers.columns, *attributed.as_table(feed(rows)).columns]
    found = pa.table(columns, ["customer", *attributed.COLUMNS])
    for name, values in changed.items():
        found = found.append_column(name, pa.array(values))
    return found


@pytest.fixture
def client(serve, registry, tmp_path) -> Iterator[Client]:
    register(registry, tmp_path)
    service = serve()
    with Client(str(service.base_url)) as found:
        found.services = service.services  # type: ignore[attr-defined]
        yield found


def register(registry: Any, directory: Path, name: str = "credit", **options: Any) -> None:
    root = directory / "bundles" / name
    attributed.make_attributed_bundle(root, **options)
    registry.set_alias(name, CHAMPION, registry.register(f"run-{name}", name, root, {}).version)


@contextmanager
def working(client: Client, registry: Any, **options: Any) -> Iterator[Worker]:
    services = client.services  # type: ignore[attr-defined]
    settings, queue, datasets = services.settings, services.queue, services.datasets
    with at_work(Worker(settings, queue, datasets, registry, registry, **options)) as worker:
        yield worker


def registered(client: Client, directory: Path, rows: pa.Table, name: str = "new") -> str:
    pq.write_table(rows, directory / "rows.parquet")
    dataset = client.datasets.add(directory / "rows.parquet", name=name)
    return f"{dataset.name}@{dataset.version}"


def done(client: Client, registry: Any, *arguments: Any, **options: Any) -> tuple[Job, pa.Table]:
    """A job that has succeeded, and what it made."""
    job = client.jobs.explain(*arguments, **options)
    with working(client, registry):
        job = client.jobs.wait(job.id)
    assert job.status is JobStatus.SUCCEEDED, job.reason
    return job, downloaded(client, job)


def downloaded(client: Client, job: Job) -> pa.Table:
    path = client.services.settings.home / f"{job.id}.parquet"  # type: ignore[attr-defined]
    client.jobs.download_explanations(job.id, path)
    return pq.read_table(path)


def values(found: pa.Table) -> Any:
    """(rows, columns)"""
    return np.stack([found[f"shap_{name}"].to_numpy() for name in attributed.COLUMNS], axis=1)


def test_the_values_of_every_row(client, registry, tmp_path):
    reference = registered(client, tmp_path, table())
    job, found = done(client, registry, "credit", reference)
    assert (job.kind, job.name, job.run_id, job.model_version) == (
        "explanation", "credit", None, None,
    )  # fmt: skip
    assert job.reason == f"Explained {ROWS} rows of credit/1: {ROWS} by deep."
    assert job.progress["rows"] == job.progress["total"] == job.result["rows"] == ROWS
    assert job.result["methods"] == {"deep": ROWS}
    assert job.result["above_tolerance"] == 0
    assert job.result["largest_gap"] < job.result["tolerance"] == attributed.TOLERANCE
    assert registry.runs == {}

    assert found.column_names == [
        *table().column_names, "row", *(f"shap_{name}" for name in attributed.COLUMNS),
        "base", "prediction", "gap", "method",
    ]  # fmt: skip
    assert found.schema.metadata == {b"model": b"credit", b"version": b"1", b"unit": b"log-odds"}
    assert found["customer"].to_pylist() == table()["customer"].to_pylist()
    assert found["row"].to_pylist() == list(range(1, ROWS + 1))
    np.testing.assert_allclose(values(found), attributed.shap_values(feed()), atol=1e-6)
    np.testing.assert_allclose(
        found["prediction"], attributed.terms(feed()).sum(axis=1), rtol=0, atol=1e-5
    )
    assert not (client.services.settings.home / "jobs" / job.id / "checkpoint").exists()


def test_permutations_give_the_same_values(client, registry, tmp_path):
    """Of a sum over the columns any permutation gives the true values."""
    reference = registered(client, tmp_path, table(20))
    job, found = done(client, registry, "credit", reference, method="permutation", permutations=2)
    assert job.reason == "Explained 20 rows of credit/1: 20 by permutation."
    assert set(found["method"].to_pylist()) == {"permutation"}
    np.testing.assert_allclose(values(found), attributed.shap_values(feed(20)), atol=1e-5)
    assert np.max(found["gap"]) < attributed.TOLERANCE


def test_rows_that_miss_their_predictions_fall_back_on_permutations(client, registry, tmp_path):
    register(registry, tmp_path, "wrong", fault=0.1)
    reference = registered(client, tmp_path, table(60))
    boats = feed(60)["purpose"] == "boat"
    job, found = done(client, registry, "wrong", reference)
    np.testing.assert_array_equal(np.array(found["method"]) == "permutation", boats)
    assert job.result["methods"] == {"deep": int((~boats).sum()), "permutation": int(boats.sum())}
    np.testing.assert_allclose(values(found), attributed.shap_values(feed(60)), atol=1e-5)

    job, found = done(client, registry, "wrong", reference, method="graph")
    assert f"{boats.sum()} miss the prediction by more than the tolerance, 0.0001" in job.reason
    assert job.result["above_tolerance"] == boats.sum()
    np.testing.assert_allclose(np.array(found["gap"])[boats], 0.1, atol=1e-5)


def test_more_steps_come_before_permutations(client, registry, tmp_path):
    """A fault that 32 steps bring below the tolerance, and one that no number of them does."""
    steps = 4 * attributed.STEPS
    register(registry, tmp_path, "coarse", fault=0.9 * attributed.TOLERANCE * steps, steps=True)
    register(registry, tmp_path, "hopeless", fault=9.0, steps=True)
    reference = registered(client, tmp_path, table(60))
    job, found = done(client, registry, "coarse", reference)
    assert job.result["methods"] == {"gradients": 60}
    boats = feed(60)["purpose"] == "boat"
    gaps = np.array(found["gap"])[boats]
    np.testing.assert_allclose(gaps, 0.9 * attributed.TOLERANCE, rtol=0.05)
    job, _ = done(client, registry, "hopeless", reference)
    assert job.result["methods"]["permutation"] == boats.sum()
    assert job.result["above_tolerance"] == 0


def test_a_sample(client, registry, tmp_path):
    reference = registered(client, tmp_path, table())
    job, found = done(client, registry, "credit", reference, rows=30, keep=["customer"])
    assert job.progress["total"] == job.result["rows"] == found.num_rows == 30
    rows = np.array(found["row"]) - 1
    assert (np.diff(rows) > 0).all()
    assert rows[-1] > 60, "they come from everywhere"
    assert found["customer"].to_pylist() == [f"c{row}" for row in rows]
    assert "age" not in found.column_names
    np.testing.assert_allclose(values(found), attributed.shap_values(feed())[rows], atol=1e-6)


def test_a_killed_process_goes_on_behind_its_last_part(client, registry, tmp_path):
    reference = registered(client, tmp_path, table())
    _, whole = done(client, registry, "credit", reference)
    job = client.jobs.explain("credit", reference)
    with working(client, registry, explaining=partial(dying_batch.command, "explaining")):
        job = client.jobs.wait(job.id)
    assert (job.status, job.attempt) == (JobStatus.SUCCEEDED, 3), job.reason
    parts = [line for line in client.jobs.logs(job.id) if ".parquet: " in line]
    assert parts == [f"{number:09d}.parquet: 50" for number in range(ROWS // 50)]
    found = downloaded(client, job)
    assert found.column_names == whole.column_names
    assert found["row"].equals(whole["row"])
    np.testing.assert_allclose(values(found), values(whole), rtol=0, atol=1e-6)


def test_the_values_become_a_data_set(client, registry, tmp_path):
    """Beside columns that are called what the values are called."""
    reference = registered(client, tmp_path, table(20, base=list(range(20)), row=["r"] * 20))
    job, _ = done(client, registry, "credit", reference, register_as="why")
    assert job.reason.endswith("The explanations are why@1.")
    assert client.datasets.lineage(reference).jobs == [job.id]
    names = client.datasets.get("why").data_schema.names
    assert {"base", "given_base", "row", "given_row", "shap_age", "method"} <= set(names)


def test_a_row_that_does_not_fit_is_told_by_its_number(client, registry, tmp_path):
    rows = table(200)
    rows = rows.set_column(2, "owner", pa.array([0, 1] * 99 + [1, 7]))
    job = client.jobs.explain("credit", registered(client, tmp_path, rows), rows=199)
    numbers = np.random.default_rng(0).choice(200, 199, replace=False)
    assert 199 in numbers
    with working(client, registry):
        job = client.jobs.wait(job.id)
    assert job.status is JobStatus.FAILED
    assert job.reason.startswith("Row 200, column 'owner': ")
    assert "Traceback" not in "".join(client.jobs.logs(job.id))


@pytest.mark.parametrize(
    ("model", "options", "said"),
    [
        ("credit", {"version": 7}, "version 7"),
        ("credit", {"keep": ["who"]}, "no column 'who'"),
        ("credit", {"method": "guess"}, "method"),
        ("credit", {"rows": 0}, "rows"),
        ("plain", {}, "cannot be explained: its bundle has no explain.onnx"),
    ],
)
def test_an_explanation_that_cannot_work_is_refused(
    client, register, tmp_path, model, options, said
):
    register("plain")
    registered(client, tmp_path, table(5))
    with pytest.raises(PellucidError, match=said):
        client.jobs.explain(model, "new", **options)
    assert client.jobs.list().items == []


def test_each_kind_of_job_has_its_own_answers(client, registry, tmp_path):
    reference = registered(client, tmp_path, table(5))
    scoring, explanation = (
        client.jobs.score("credit", reference),
        client.jobs.explain("credit", reference, idempotency_key="k"),
    )
    assert client.jobs.explain("credit", reference, idempotency_key="k") == explanation
    with pytest.raises(Conflict, match="an explanation, is queued"):
        client.jobs.download_explanations(explanation.id, tmp_path / "x")
    with working(client, registry):
        client.jobs.wait(explanation.id)
    with pytest.raises(Conflict, match="Only a scoring that has succeeded has"):
        client.jobs.download_predictions(explanation.id, tmp_path / "x")
    with pytest.raises(Conflict, match="Only an explanation"):
        client.jobs.download_explanations(scoring.id, tmp_path / "x")
    for kind, job in (("scoring", scoring), ("explanation", explanation)):
        assert [each.id for each in client.jobs.list(kind=kind).items] == [job.id]
    assert client.jobs.list(kind="training").items == []
    with pytest.raises(InvalidInput, match="kind"):
        client.jobs.list(kind="dance")  # type: ignore[arg-type]


def test_the_commands(client, registry, tmp_path, monkeypatch):
    monkeypatch.setenv("PELLUCID_URL", client.url)
    reference, out = registered(client, tmp_path, table(20)), tmp_path / "why.csv"
    arguments = ["explain", "credit@champion", "--dataset", reference, "--id", "customer"]
    with working(client, registry):
        outcome = CliRunner().invoke(app, [*arguments, "--sample", "5", "--out", str(out)])
    assert outcome.exit_code == 0, outcome.output
    assert "explains new@1" in outcome.output
    assert "5/5 rows" in outcome.output
    header, *lines = out.read_text().splitlines()
    assert len(lines) == 5
    assert header.replace('"', "").split(",")[:3] == ["customer", "row", "shap_age"]

    (job,) = client.jobs.list(kind="explanation").items
    again = tmp_path / "again.csv"
    outcome = CliRunner().invoke(app, ["jobs", "explanations", job.id, "--out", str(again)])
    assert again.read_bytes() == out.read_bytes()
    outcome = CliRunner().invoke(app, arguments)
    assert "pellucid jobs explanations" in outcome.output
    wrong = CliRunner().invoke(app, [*arguments, "--method", "guess"])
    assert isinstance(wrong.exception, InvalidInput)
    listed = CliRunner().invoke(app, ["jobs", "list", "--kind", "explanation", "--json"])
    assert job.id in listed.output
    listed = CliRunner().invoke(app, ["jobs", "list", "--kind", "scoring", "--json"])
    assert job.id not in listed.output
    assert CliRunner().invoke(app, ["jobs", "list", "--kind", "dance"]).exit_code == 2


def test_the_process_needs_neither_the_service_nor_its_libraries():
    script = """
import sys
blocked = {"fastapi", "starlette", "uvicorn", "msgspec", "grpc", "prometheus_client", "torch",
           "mlflow", "multipart", "shap"}

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"{name} is blocked")

sys.meta_path.insert(0, Blocked())
import pellucid_api.explaining
"""
    subprocess.run([sys.executable, "-c", script], check=True)
