"""Champion against candidate on the job's test rows."""

import json
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.special import expit
from sklearn.metrics import log_loss, roc_auc_score

from pellucid.bundle import Bundle, Input
from pellucid.errors import Conflict
from pellucid.jobs.workspace import Request, Workspace
from pellucid.schema import Kind, Role
from pellucid_pipelines.compare import compare
from support.bundles import make_bundle
from support.training import a_plan, schema_of

ROWS = 300


def sealed(root, *, weight, **changes):
    """A bundle of `make_bundle` whose manifest has a whole plan, and some changes."""
    bundle = make_bundle(root, weight=weight)
    plan = a_plan(evaluation={"resamples": 200}).model_dump(mode="json")
    manifest = bundle.manifest.model_copy(update={"plan": plan, **changes})
    return Bundle.seal(root, manifest)


def held_out(seed=0):
    random = np.random.default_rng(seed)
    amount = random.normal(size=ROWS)
    purpose = random.choice(["car", "boat", "never seen"], ROWS).astype(object)
    purpose[0] = None
    good = random.random(ROWS) < expit(amount + (purpose == "car"))
    return pa.table(
        {
            "amount": amount,
            "purpose": pa.array(purpose, pa.string()),
            "outcome": np.where(good, "good", "bad"),
            "copies": pa.array(random.integers(0, 4, ROWS)),
        }
    )


@pytest.fixture
def job(tmp_path):
    """A job with a result, whose candidate has the true weight of 1."""
    return a_job(tmp_path / "job", held_out())


def a_job(root, rows, metric="log_loss", roles=None):
    workspace = Workspace(root)
    roles = {"outcome": Role.TARGET, "copies": Role.IGNORE, **(roles or {})}
    workspace.write_request(
        Request(
            job_id="j",
            attempt=1,
            plan={},
            data_schema=schema_of(rows, roles),
            data_version="0" * 64,
            data_path="",
        )
    )
    workspace.outputs.mkdir()
    pq.write_table(rows, workspace.outputs / "test_rows.parquet")
    sealed(workspace.bundle, weight=1.0)
    workspace.write_result({"gate_metric": metric})
    return workspace


def probabilities(rows, weight):
    amount, purpose = rows["amount"].to_numpy(), np.array(rows["purpose"].to_pylist())
    good = expit(weight * (amount + (purpose == "car")))
    return np.stack([1 - good, good], axis=1)


def test_a_worse_champion(job, tmp_path):
    champion = sealed(tmp_path / "champion", weight=-1.0)
    found = compare(champion, job)
    rows, truth = held_out(), held_out()["outcome"].to_pylist()
    assert found["metric"] == "log_loss"
    assert found["rows"] == ROWS
    assert found["champion"] == pytest.approx(log_loss(truth, probabilities(rows, -1)), abs=1e-5)
    assert found["candidate"] == pytest.approx(log_loss(truth, probabilities(rows, 1)), abs=1e-5)
    assert found["difference"] == pytest.approx(found["champion"] - found["candidate"])
    assert 0 < found["low"] < found["difference"] < found["high"]  # less loss is better


def test_a_better_champion(tmp_path):
    job = a_job(tmp_path / "job", held_out(), metric="roc_auc")
    sealed(tmp_path / "flipped", weight=-1.0)
    (tmp_path / "flipped").rename(tmp_path / "candidate")
    champion = sealed(tmp_path / "champion", weight=1.0)
    for file in (tmp_path / "candidate").iterdir():
        file.replace(job.bundle / file.name)
    found = compare(champion, job)
    truth = [value == "good" for value in held_out()["outcome"].to_pylist()]
    expected = roc_auc_score(truth, probabilities(held_out(), -1)[:, 1])
    assert found["candidate"] == pytest.approx(expected, abs=1e-6)
    assert found["low"] < found["difference"] < found["high"] < 0


def test_the_same_model_is_equal(job, tmp_path):
    found = compare(sealed(tmp_path / "champion", weight=1.0), job)
    assert found["difference"] == found["low"] == found["high"] == 0


def test_row_weights_count(tmp_path):
    rows = held_out()
    job = a_job(tmp_path / "job", rows, roles={"copies": Role.WEIGHT})
    found = compare(sealed(tmp_path / "champion", weight=0.3), job)
    expected = log_loss(
        rows["outcome"].to_pylist(),
        probabilities(rows, 1),
        sample_weight=rows["copies"].to_numpy(),
    )
    assert found["candidate"] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"task": "regression"}, "does regression"),
        ({"target": "income"}, "'income'"),
        ({"classes": ("bad", "good", "ugly")}, "ugly"),
        ({"positive_class": "bad"}, "positive class"),
        ({"inputs": (Input.of("height", Kind.NUMERIC),)}, "lack: height"),
        ({"inputs": (Input.of("amount", Kind.CATEGORICAL),)}, "'amount' as categorical"),
        ({"inputs": (Input.of("purpose", Kind.NUMERIC),)}, "'purpose' as numeric"),
    ],
)
def test_what_cannot_be_compared(job, tmp_path, changes, words):
    champion = sealed(tmp_path / "champion", weight=1.0, **changes)
    found = compare(champion, job)
    assert list(found) == ["incomparable"]
    assert words in found["incomparable"]


def test_a_score_that_is_not_defined(tmp_path):
    rows = held_out().set_column(2, "outcome", pa.array(["good"] * ROWS))
    job = a_job(tmp_path / "job", rows, metric="roc_auc")
    found = compare(sealed(tmp_path / "champion", weight=0.5), job)
    assert found == {"incomparable": f"roc_auc is not defined on the {ROWS} test rows."}


def test_a_job_without_a_result(job, tmp_path):
    job.result_path.unlink()
    with pytest.raises(Conflict, match="no result"):
        compare(sealed(tmp_path / "champion", weight=1.0), job)


def test_the_command_writes_the_answer(job, tmp_path):
    champion = sealed(tmp_path / "champion", weight=-1.0)
    command = [sys.executable, "-m", "pellucid_pipelines.compare", champion.root, job.root]
    subprocess.run(command, check=True, timeout=120)
    answer = json.loads((job.outputs / "comparison.json").read_bytes())
    expected = compare(champion, job)
    assert answer.pop("importance") == expected.pop("importance")
    assert answer == pytest.approx(expected)


def test_it_tells_how_importance_moved(job, tmp_path):
    same = compare(sealed(tmp_path / "champion", weight=1.0), job)["importance"]
    assert same["moved"] == 0
    assert same["columns"] == [{"column": "amount", "champion": 1.0, "candidate": 1.0}]
