"""`pellucid predict`, against scripted answers."""

import json
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from support.command_line import Answers, Run


def predictions(request: httpx.Request) -> dict[str, Any]:
    rows = json.loads(request.content)
    one = {"id": "p1", "label": "good", "probabilities": {"bad": 0.25, "good": 0.75}}
    return {"model": "credit", "version": 3, "predictions": [one for _ in rows]}


@pytest.mark.parametrize(
    ("name", "text", "rows"),
    [
        ("one.json", '{"age": 41, "since": null}', 1),
        ("list.json", '[{"age": 41}, {"age": 20}]', 2),
        ("rows.json", '{"rows": [{"age": 41}]}', 1),
        ("rows.csv", "age,purpose,since\n41,car,2024-05-31\n,,\n", 2),
    ],
)
def test_predict_reads_rows(
    run: Run, answers: Answers, tmp_path: Path, name: str, text: str, rows: int
) -> None:
    file = tmp_path / name
    file.write_text(text)
    sent: list[Any] = []

    def answer(request: httpx.Request) -> dict[str, Any]:
        sent.extend(json.loads(request.content))
        return predictions(request)

    answers["POST", "/v1/models/credit/predict"] = answer
    outcome = run("predict", "credit", file)
    assert outcome.code == 0
    assert "p(good)" in outcome.out
    assert outcome.out.count("0.75") == rows
    assert len(json.loads(run("predict", "credit", file, "--json").out)["predictions"]) == rows
    assert sent[0]["age"] == 41
    if file.suffix == ".csv":
        assert sent[0]["since"] == "2024-05-31"
        assert sent[1] == {"age": None, "purpose": None, "since": None}


def test_predict_reads_parquet(run: Run, answers: Answers, tmp_path: Path) -> None:
    sent: list[Any] = []

    def answer(request: httpx.Request) -> dict[str, Any]:
        sent.extend(json.loads(request.content))
        return predictions(request)

    answers["POST", "/v1/models/credit/predict"] = answer
    table = pa.table({"photo": [b"\x89PN"], "load": [[1.5, None]], "review": ["fine"]})
    pq.write_table(table, tmp_path / "rows.parquet")
    assert run("predict", "credit", tmp_path / "rows.parquet").code == 0
    assert sent == [{"photo": "iVBO", "load": [1.5, None], "review": "fine"}]


def of_one_input(answers: Answers, kind: str) -> list[Any]:
    """The service has a model of one input; what is sent to it."""
    sent: list[Any] = []

    def answer(request: httpx.Request) -> dict[str, Any]:
        sent.extend(json.loads(request.content))
        return predictions(request)

    detail = {
        "name": "credit", "version": 3, "run_id": "r", "created": "", "aliases": [], "tags": {},
        "inputs": [{"name": "it", "kind": kind}], "outputs": [], "classes": [], "metrics": {},
        "data_version": "", "job_id": "",
    }  # fmt: skip
    summary = {"name": "credit", "aliases": {"champion": 3}, "latest": 3}
    answers["GET", "/v1/models/credit"] = summary
    answers["GET", "/v1/models/credit/versions/3"] = detail
    answers["POST", "/v1/models/credit/predict"] = answer
    return sent


def test_predict_takes_image_files(run: Run, answers: Answers, tmp_path: Path) -> None:
    sent = of_one_input(answers, "image")
    (tmp_path / "a.png").write_bytes(b"\x89PN")
    photo = tmp_path / "a.png"
    assert run("predict", "credit", "--image", photo, "--image", photo).code == 0
    assert sent == [{"it": "iVBO"}, {"it": "iVBO"}]
    assert "cannot be read" in run("predict", "credit", "--image", tmp_path / "b.png").err
    assert "does not take one text" in run("predict", "credit", "--text", "fine").err


def test_predict_takes_texts(run: Run, answers: Answers) -> None:
    sent = of_one_input(answers, "text")
    assert run("predict", "credit", "--text", "fine", "--text", "not so").code == 0
    assert sent == [{"it": "fine"}, {"it": "not so"}]


def test_a_forecast_is_shown_in_a_row(run: Run, answers: Answers, tmp_path: Path) -> None:
    answers["POST", "/v1/models/load/predict"] = {
        "model": "load", "version": 1, "predictions": [{"id": "p1", "value": [1.5, 2.0]}],
    }  # fmt: skip
    file = tmp_path / "rows.json"
    file.write_text('{"load": [1, 2]}')
    assert "1.5, 2" in run("predict", "load", file).out
    assert "nothing to predict" in run("predict", "load").err
    assert "more than one kind" in run("predict", "load", file, "--text", "x").err


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("broken.json", b"{"),
        ("number.json", b"3"),
        ("mixed.json", b"[{}, 3]"),
        ("latin.json", b'[{"a": "\xe9"}]'),
        ("empty.csv", b""),
        ("ragged.csv", b"a,b\n1\n"),
        ("missing.json", None),
    ],
)
def test_rows_that_cannot_be_read_name_the_file(
    run: Run, answers: Answers, tmp_path: Path, name: str, content: bytes | None
) -> None:
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
    outcome = run("predict", "credit", file)
    assert outcome.code == 1
    assert outcome.err.startswith("Error: ")
    assert f"file {file}" in outcome.err
