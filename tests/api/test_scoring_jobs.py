"""Scoring jobs: over real HTTP into the queue, through a worker and a real process, and back."""

import csv
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
from pellucid.errors import Conflict, NotFound, PellucidError
from pellucid.jobs.worker import Worker
from pellucid.resources.jobs import Job, JobStatus
from pellucid.tracking.imports import import_onnx
from support import dying_batch, foreign
from support.workers import at_work, wait_until

ROWS = 400
MISSING = 0.2


def table(rows: int = ROWS, **changed: Any) -> pa.Table:
    """Rows with missing values in every column, and categories that nobody has seen."""
    random = np.random.default_rng(3)
    columns = {
        "age": random.normal(40, 10, rows),
        "owner": random.random(rows) < 0.5,
        "since": pa.array(random.integers(1e9, 1.7e9, rows)).cast(pa.timestamp("s", "UTC")),
        "purpose": random.choice(["car", "boat", "kite"], rows),
    }
    holes = {
        name: pa.array(values).take(
            pa.array([None if random.random() < MISSING else i for i in range(rows)])
        )
        for name, values in columns.items()
    }
    return pa.table({"customer": [f"c{i}" for i in range(rows)], **holes, **changed})


@pytest.fixture
def client(serve, register) -> Iterator[Client]:
    register(bias=0.03)
    service = serve()
    with Client(str(service.base_url)) as found:
        found.services = service.services  # type: ignore[attr-defined]
        yield found


@contextmanager
def working(client: Client, registry: Any, **options: Any) -> Iterator[Worker]:
    """A worker on the service's database and registry."""
    services = client.services  # type: ignore[attr-defined]
    settings, queue, datasets = services.settings, services.queue, services.datasets
    with at_work(Worker(settings, queue, datasets, registry, registry, **options)) as worker:
        yield worker


def registered(client: Client, directory: Path, rows: pa.Table, name: str = "new") -> str:
    pq.write_table(rows, directory / "rows.parquet")
    dataset = client.datasets.add(directory / "rows.parquet", name=name)
    return f"{dataset.name}@{dataset.version}"


def scored(client: Client, registry: Any, *arguments: Any, **options: Any) -> Job:
    job = client.jobs.score(*arguments, **options)
    with working(client, registry):
        return client.jobs.wait(job.id)


def test_predictions_are_those_of_the_api(client, registry, tmp_path):
    reference = registered(client, tmp_path, table())
    done = scored(client, registry, "credit", reference)
    assert done.status is JobStatus.SUCCEEDED, done.reason
    assert (done.kind, done.name, done.run_id, done.model_version) == (
        "scoring", "credit", None, None,
    )  # fmt: skip
    assert done.reason == f"Scored {ROWS} rows with credit/1."
    assert done.progress["rows"] == done.progress["total"] == done.result["rows"] == ROWS
    assert registry.runs == {}

    client.jobs.download_predictions(done.id, tmp_path / "out.parquet")
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.column_names == ["customer", "label", "probability_bad", "probability_good"]
    assert found.schema.metadata == {b"model": b"credit", b"version": b"1"}
    assert found["customer"].to_pylist() == table()["customer"].to_pylist()
    rows = table().drop(["customer"]).to_pylist()
    rows = [r | {"since": r["since"] and r["since"].isoformat()} for r in rows]
    answers = client.predict("credit", rows).predictions
    assert found["label"].to_pylist() == [each.label for each in answers]
    good = [each.probabilities["good"] for each in answers]
    np.testing.assert_allclose(found["probability_good"].to_numpy(), good, rtol=0, atol=1e-6)
    kinds = [event.kind for event in client.jobs.events(done.id)]
    assert kinds[-2:] == ["result", "state"]
    assert not (client.services.settings.home / "jobs" / done.id / "checkpoint").exists()


def test_an_alias_is_settled_on_submission(client, registry, register, tmp_path):
    reference = registered(client, tmp_path, table())
    job = client.jobs.score("credit", "new", alias="champion", keep=[], idempotency_key="k")
    assert job.plan == {
        "model": "credit", "version": 1, "dataset": reference, "keep": [], "register_as": None,
    }  # fmt: skip
    assert client.jobs.score("credit", "new", alias="champion", keep=[], idempotency_key="k") == job
    register(bias=9.0)  # the champion is another now
    assert client.jobs.score("credit", "new").plan["version"] == 2
    with working(client, registry):
        done = client.jobs.wait(job.id)
    client.jobs.download_predictions(job.id, tmp_path / "out.parquet")
    assert done.reason.endswith("credit/1.")
    assert pq.read_table(tmp_path / "out.parquet").column_names[0] == "label"


def test_a_killed_process_goes_on_behind_its_last_part(client, registry, tmp_path):
    registered(client, tmp_path, table())
    whole = client.jobs.score("credit", "new")
    with working(client, registry):
        client.jobs.wait(whole.id)
    client.jobs.download_predictions(whole.id, tmp_path / "whole.parquet")

    job = client.jobs.score("credit", "new")
    with working(client, registry, scoring=partial(dying_batch.command, "scoring")):
        done = client.jobs.wait(job.id)
    assert (done.status, done.attempt) == (JobStatus.SUCCEEDED, 3), done.reason
    states = [event.data for event in client.jobs.events(job.id) if event.kind == "state"]
    crashes = [state["reason"] for state in states if "Scoring was killed" in state["reason"]]
    assert len(crashes) == 2
    parts = [line for line in client.jobs.logs(job.id) if ".parquet: " in line]
    assert parts == [f"{number:09d}.parquet: 50" for number in range(ROWS // 50)]
    client.jobs.download_predictions(job.id, tmp_path / "parts.parquet")
    found, wanted = (pq.read_table(tmp_path / f"{name}.parquet") for name in ("parts", "whole"))
    assert found.drop(["probability_bad", "probability_good"]).equals(
        wanted.drop(["probability_bad", "probability_good"])
    )
    for name in ("probability_bad", "probability_good"):
        np.testing.assert_allclose(found[name], wanted[name], rtol=0, atol=1e-6)


def test_a_worker_that_stops_hands_a_scoring_back(client, registry, tmp_path):
    registered(client, tmp_path, table())
    job = client.jobs.score("credit", "new")

    def hanging(_: Path) -> list[str]:
        return [sys.executable, "-c", "import time; time.sleep(600)"]

    with working(client, registry, scoring=hanging):
        wait_until(lambda: client.jobs.get(job.id).status is JobStatus.RUNNING)
    assert client.jobs.get(job.id).status is JobStatus.QUEUED
    with working(client, registry, scoring=hanging):
        wait_until(lambda: client.jobs.get(job.id).status is JobStatus.RUNNING)
        client.jobs.cancel(job.id)
        assert client.jobs.wait(job.id).status is JobStatus.CANCELED
    client.jobs.retry(job.id)
    with working(client, registry):
        assert client.jobs.wait(job.id).status is JobStatus.SUCCEEDED


def test_predictions_become_a_data_set(client, registry, tmp_path):
    """Beside a target that is called what the prediction is called."""
    truth = ["good", "bad"] * (ROWS // 2)
    reference = registered(client, tmp_path, table(label=truth))
    done = scored(client, registry, "credit", reference, register_as="answered")
    assert done.result["dataset"] == "answered@1", done.reason
    (ancestor,) = client.datasets.lineage("answered").ancestors
    assert f"{ancestor.name}@{ancestor.version}" == reference
    assert client.datasets.lineage(reference).jobs == [done.id]
    names = client.datasets.get("answered").data_schema.names
    assert names == ("customer", "given_label", "label", "probability_bad", "probability_good")


def refused(client: Client, registry: Any, directory: Path, model: str, rows: pa.Table) -> str:
    """Why a scoring has failed, which its log says as well and without a traceback."""
    done = scored(client, registry, model, registered(client, directory, rows))
    assert (done.status, done.attempt) == (JobStatus.FAILED, 1)
    log = "".join(client.jobs.logs(done.id))
    assert done.reason in log
    assert "Traceback" not in log
    with pytest.raises(Conflict, match="failed"):
        client.jobs.download_predictions(done.id, directory / "out.parquet")
    assert not list(directory.glob("out*"))
    return done.reason


def test_a_column_of_another_type_ends_the_job(client, registry, tmp_path):
    rows = table(5).drop(["purpose"]).append_column("purpose", pa.array(range(5)))
    said = refused(client, registry, tmp_path, "credit", rows)
    assert "column 'purpose': the column's type is int64; it takes a string" in said


def test_a_value_that_the_model_does_not_take_is_told_by_its_row(client, registry, tmp_path):
    import_onnx(registry, registry, foreign.write(foreign.dense(), tmp_path), "dense", "champion")
    columns: dict[str, Any] = {f"x{i}": np.zeros(70_000) for i in range(4)}
    columns["x2"][69_999] = 1e300
    said = refused(client, registry, tmp_path, "dense", pa.table(columns))
    assert said.startswith("Row 70000, column 'x2': 1e+300 is not")


def test_a_row_that_the_model_cannot_run_is_found(client, registry, tmp_path):
    lookup = foreign.lookup(size=3)
    import_onnx(registry, registry, foreign.write(lookup, tmp_path), "lookup", "champion")
    places = np.zeros(1000, np.int64)
    places[[640, 900]] = 7
    said = refused(client, registry, tmp_path, "lookup", pa.table({"place": places}))
    assert said.startswith("Row 641: the model cannot run it: ")


@pytest.mark.parametrize(
    ("model", "dataset", "options", "status", "said"),
    [
        ("nobody", "new", {}, 404, "nobody"),
        ("credit", "new", {"version": 7}, 404, "version 7"),
        ("credit", "new", {"alias": "shadow"}, 404, "no alias 'shadow'"),
        ("credit", "new", {"alias": "champion", "version": 1}, 422, "Both"),
        ("credit", "old", {}, 422, "no data set 'old'"),
        ("credit", "new", {"keep": ["who"]}, 422, "no column 'who'"),
        ("credit", "narrow", {}, 422, "missing 'owner'"),
        ("credit", "new", {"register_as": "a/b"}, 422, "register_as"),
    ],
)
def test_a_scoring_that_cannot_work_is_refused(
    client, tmp_path, model, dataset, options, status, said
):
    registered(client, tmp_path, table(5))
    registered(client, tmp_path, table(5).drop(["owner"]), "narrow")
    with pytest.raises(PellucidError, match=said) as refused:
        client.jobs.score(model, dataset, **options)
    assert (type(refused.value) is NotFound) == (status == 404)
    assert client.jobs.list().items == []


def test_a_training_and_a_scoring_under_way_have_no_predictions(client, tmp_path):
    registered(client, tmp_path, table(5))
    job = client.jobs.score("credit", "new")
    with pytest.raises(Conflict, match="a scoring, is queued"):
        client.jobs.download_predictions(job.id, tmp_path / "out.parquet")
    assert client.jobs.cancel(job.id).status is JobStatus.CANCELED
    assert client.jobs.retry(job.id).status is JobStatus.QUEUED
    with pytest.raises(NotFound):
        client.jobs.download_predictions("nobody", tmp_path / "out.parquet")


def test_a_model_that_was_made_elsewhere(client, registry, tmp_path):
    import_onnx(registry, registry, foreign.write(foreign.dense(), tmp_path), "dense", "champion")
    x = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    columns = {f"x{i}": x[:, i].astype(float) for i in range(4)}
    reference = registered(client, tmp_path, pa.table({"row": range(50), **columns}))
    done = scored(client, registry, "dense", reference, keep=["row"])
    assert done.status is JobStatus.SUCCEEDED, done.reason
    client.jobs.download_predictions(done.id, tmp_path / "out.parquet")
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.column_names == ["row", "y"]
    np.testing.assert_allclose(found["y"].to_pylist(), foreign.dense_answer(x), atol=1e-6)


def test_the_command(client, registry, tmp_path, monkeypatch):
    """A file becomes a data set, its codes strings; the predictions come back as CSV."""
    monkeypatch.setenv("PELLUCID_URL", client.url)
    rows = table().to_pylist()
    with (tmp_path / "in.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, table().column_names)
        writer.writeheader()
        writer.writerows([row | {"purpose": 7} for row in rows])
    arguments = ["predict", "credit@champion", "--file", str(tmp_path / "in.csv"), "--job"]
    with working(client, registry):
        outcome = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "out.csv")])
    assert outcome.exit_code == 0, outcome.output
    assert "scores in@1" in outcome.output
    assert f"{ROWS}/{ROWS} rows" in outcome.output
    with (tmp_path / "out.csv").open() as file:
        found = list(csv.DictReader(file))
    assert [row["customer"] for row in found] == [row["customer"] for row in rows]
    assert set(found[0]) == {"customer", "label", "probability_bad", "probability_good"}

    outcome = CliRunner().invoke(app, ["predict", "credit", "--dataset", "in@1"])
    assert "pellucid jobs predictions" in outcome.output
    (job, _) = client.jobs.list().items
    missing = CliRunner().invoke(app, ["jobs", "predictions", job.id, "--out", "x.parquet"])
    assert isinstance(missing.exception, Conflict)
    assert CliRunner().invoke(app, ["predict", "credit", "--job"]).exit_code == 2


def test_the_process_needs_neither_the_service_nor_its_libraries():
    script = """
import sys
blocked = {"fastapi", "starlette", "uvicorn", "msgspec", "grpc", "prometheus_client", "torch",
           "mlflow", "multipart"}

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in blocked:
            raise ModuleNotFoundError(f"{name} is blocked")

sys.meta_path.insert(0, Blocked())
import pellucid_api.scoring
"""
    subprocess.run([sys.executable, "-c", script], check=True)
