"""`pellucid predict --file`: a whole file through a real service, resumed and refused."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pellucid.cli import app
from pellucid.client import Client
from pellucid.client.scoring import Scoring, score
from pellucid.errors import Conflict, InvalidData, InvalidRows, NotFound, TooLarge, Unavailable
from pellucid.tracking.imports import import_onnx
from support import foreign
from support.serving import held_feed, probabilities

ROWS = 1234


def table() -> pa.Table:
    random = np.random.default_rng(3)
    return pa.table(
        {
            "customer": pa.array(range(ROWS)),
            "age": random.normal(40, 10, ROWS),
            "owner": random.random(ROWS) < 0.5,
            "since": pa.array(random.integers(1e9, 1.7e9, ROWS)).cast(pa.timestamp("s")),
            "purpose": random.choice(["car", "boat", "kite, red"], ROWS),
            "bad": random.random(ROWS) < 0.5,
        }
    )


def expected() -> Any:
    rows = table().to_pylist()
    feed = held_feed([row | {"since": f"{row['since'].isoformat()}+00:00"} for row in rows])
    return probabilities(feed, 0.03)[:, 1]


@pytest.fixture
def client(credit):
    with Client(str(credit.base_url)) as found:
        yield found


@pytest.fixture
def source(tmp_path: Path) -> Path:
    pq.write_table(table(), tmp_path / "in.parquet")
    pa.csv.write_csv(table(), tmp_path / "in.csv")
    return tmp_path


@pytest.mark.parametrize("given", ["in.parquet", "in.csv"])
@pytest.mark.parametrize("out", ["out.parquet", "out.csv"])
def test_predictions_lie_beside_the_ids(client, source, given, out):
    done: list[int] = []
    job = Scoring(source / given, source / out, "credit", 1, batch_rows=100)
    assert score(client, job, done.append) == sum(done) == ROWS
    path = source / out
    found = pq.read_table(path) if path.suffix == ".parquet" else pa.csv.read_csv(path)
    assert found.column_names == [
        "customer", "bad", "prediction_id", "label", "probability_bad", "probability_good",
    ]  # fmt: skip
    assert list(map(int, found["customer"].to_pylist())) == list(range(ROWS))
    np.testing.assert_allclose(found["probability_good"].to_numpy(), expected(), atol=1e-6)
    assert sorted(each.name for each in source.iterdir()) == sorted(["in.csv", "in.parquet", out])


class Counting(Client):
    """Breaks down after a number of batches; notes the rows of each."""

    def __init__(self, url: str, most: int) -> None:
        super().__init__(url)
        self.most, self.sent = most, []

    def predict_table(self, model: str, table: Any, *rest: Any, **options: Any) -> Any:
        if len(self.sent) >= self.most:
            raise InvalidRows("It broke down.")
        self.sent.append(table.num_rows)
        return super().predict_table(model, table, *rest, **options)


def test_what_was_interrupted_goes_on(credit, client, source):
    job = Scoring(source / "in.parquet", source / "out.parquet", "credit", 1, ("customer",), 100)
    with (
        Counting(str(credit.base_url), most=5) as broken,
        pytest.raises(InvalidRows, match="broke"),
    ):
        score(broken, job, lambda _: None)
    assert not job.out.exists()
    with Counting(str(credit.base_url), most=99) as rest:
        assert score(rest, job, lambda _: None) == ROWS
    assert len(rest.sent) == 13 - 5
    found = pq.read_table(job.out)
    assert found["customer"].to_pylist() == list(range(ROWS))
    assert "bad" not in found.column_names
    np.testing.assert_allclose(found["probability_good"].to_numpy(), expected(), atol=1e-6)


def test_another_scoring_is_not_mixed_in(credit, client, source):
    job = Scoring(source / "in.parquet", source / "out.parquet", "credit", 1, None, 100)
    with Counting(str(credit.base_url), most=1) as broken, pytest.raises(InvalidRows):
        score(broken, job, lambda _: None)
    other = Scoring(source / "in.csv", source / "out.parquet", "credit", 1, None, 100)
    with pytest.raises(Conflict, match="another scoring"):
        score(client, other, lambda _: None)


class Busy(Client):
    """Is busy at first, and takes no more than 50 rows."""

    calls = 0

    def predict_table(self, model: str, table: Any, *rest: Any, **options: Any) -> Any:
        self.calls += 1
        if self.calls == 1:
            raise Unavailable("Busy.")
        if table.num_rows > 50:
            raise TooLarge("Too many.")
        return super().predict_table(model, table, *rest, **options)


def test_a_service_that_is_busy_or_takes_less(credit, source, monkeypatch):
    monkeypatch.setattr("pellucid.client.scoring._PATIENCE", (0.01, 0.01))
    job = Scoring(source / "in.csv", source / "out.parquet", "credit", 1, None, 400)
    with Busy(str(credit.base_url)) as busy:
        assert score(busy, job, lambda _: None) == ROWS
    assert pq.read_table(job.out)["customer"].to_pylist() == [str(i) for i in range(ROWS)]


@pytest.mark.parametrize(
    ("content", "ids", "error", "said"),
    [
        (b"customer,age\n1,2\n", None, InvalidRows, "missing 'owner'"),
        (b"customer\n1\n", None, InvalidRows, "no column that the model takes"),
        (b"age,owner,since,purpose\nold,true,,car\n", None, InvalidRows, '"old" is not a finite'),
        (b"age,owner,since,purpose\n1,true,,car\n", ("who",), InvalidRows, "no column 'who'"),
        (b"age,owner,since,purpose\n", None, InvalidRows, "no rows"),
        (b"age,owner,since,purpose\n1,true\n", None, InvalidData, "Expected 4 columns"),
        (b"", None, InvalidData, "cannot be read"),
    ],
)
def test_files_that_do_not_fit_are_refused(client, tmp_path, content, ids, error, said):
    (tmp_path / "in.csv").write_bytes(content)
    job = Scoring(tmp_path / "in.csv", tmp_path / "out.csv", "credit", 1, ids)
    with pytest.raises(error, match=said):
        score(client, job, lambda _: None)
    assert not job.out.exists()


@pytest.mark.parametrize(("given", "out"), [("in.xlsx", "out.csv"), ("in.csv", "out.xlsx")])
def test_other_files_are_refused(client, source, given, out):
    with pytest.raises(InvalidData, match=r"neither \.csv nor \.parquet"):
        score(client, Scoring(source / given, source / out, "credit", 1), lambda _: None)
    with pytest.raises(InvalidData, match="cannot be read"):
        score(client, Scoring(source / "gone.csv", source / "out.csv", "credit", 1), print)


def test_the_command(credit, source, monkeypatch):
    monkeypatch.setenv("PELLUCID_URL", str(credit.base_url))
    arguments = ["--file", str(source / "in.parquet"), "--out", str(source / "out.csv")]
    for name in ("credit", "credit@champion", "credit/1"):
        outcome = CliRunner().invoke(app, ["predict", name, *arguments])
        assert outcome.exit_code == 0, outcome.output
        with (source / "out.csv").open() as file:
            assert len(list(csv.DictReader(file))) == ROWS
    outcome = CliRunner().invoke(app, ["predict", "credit@nobody", *arguments])
    assert isinstance(outcome.exception, NotFound)
    assert CliRunner().invoke(app, ["predict", *arguments]).exit_code == 2
    assert CliRunner().invoke(app, ["predict", "credit", *arguments[:2]]).exit_code == 2


def test_a_model_that_was_made_elsewhere(serve, registry, tmp_path):
    import_onnx(registry, registry, foreign.write(foreign.dense(), tmp_path), "dense", "champion")
    x = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    names = [f"x{i}" for i in range(4)]
    columns = dict(zip(names, x.T, strict=True))
    pq.write_table(pa.table({"row": range(50), **columns}), tmp_path / "in.parquet")
    with Client(str(serve().base_url)) as client:
        for out in ("out.csv", "out.parquet"):
            job = Scoring(tmp_path / "in.parquet", tmp_path / out, "dense", 1, ("row",))
            score(client, job, lambda _: None)
    flat = pa.csv.read_csv(tmp_path / "out.csv")
    assert flat.column_names == ["row", "prediction_id", "y_1", "y_2", "y_3"]
    found = np.stack([flat[f"y_{i}"].to_numpy() for i in (1, 2, 3)], axis=1)
    np.testing.assert_allclose(found, foreign.dense_answer(x), atol=1e-6)
    nested = pq.read_table(tmp_path / "out.parquet")["y"].to_pylist()
    np.testing.assert_allclose(nested, foreign.dense_answer(x), atol=1e-6)
