"""`pellucid explain` and `Client.explain`, against scripted answers."""

import json
from pathlib import Path
from typing import Any

import httpx
from typer.testing import CliRunner

from pellucid.cli import app
from pellucid.client import Client
from support.command_line import Service

ROW = {"age": 41, "purpose": "car"}
ANSWER: dict[str, Any] = {
    "model": "credit",
    "version": 3,
    "method": "deep",
    "unit": "log-odds",
    "background": 100,
    "tolerance": 1e-4,
    "quality": {"infidelity": 0.01},
    "predictions": [
        {
            "label": "bad",
            "probabilities": {"bad": 0.7, "good": 0.3},
            "explained": {"output": "good", "value": -0.85, "unit": "log-odds"},
            "base": 0.4,
            "contributions": [
                {"column": "purpose", "value": "car", "shap": -1.5},
                {"column": "age", "value": 41, "shap": 0.2},
            ],
            "others": {"columns": 7, "shap": 0.05},
            "gap": 1e-8,
            "within_tolerance": True,
            "method": "deep",
        }
    ],
}


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["explain", *(str(each) for each in arguments)])
    return result.exit_code, result.output


def rows_in(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text(json.dumps(rows), encoding="utf-8")
    return path


def test_contributions_are_shown_from_the_base_on(service: Service, tmp_path: Path) -> None:
    asked = service(ANSWER)
    code, text = run("credit", rows_in(tmp_path / "rows.json", ROW), "--top", 2)
    assert code == 0
    assert asked[0].url.path == "/v1/models/credit/explain"
    assert dict(asked[0].url.params) == {"top_k": "2"}
    assert json.loads(asked[0].content) == {"rows": [ROW]}
    lines = [line.split() for line in text.splitlines()]
    assert ["(base)", "0.4"] in lines
    assert ["purpose", "car", "-1.5"] in lines
    assert ["(7", "others)", "0.05"] in lines
    assert "row 1: bad; good: -0.85" in text


def test_every_option_is_sent(service: Service, tmp_path: Path) -> None:
    asked = service(ANSWER)
    reference = rows_in(tmp_path / "reference.json", {"age": 20, "purpose": None})
    options = ("--reference", reference, "--class", "good", "--contrast", "bad")
    code, text = run(
        "credit", rows_in(tmp_path / "rows.json", ROW), *options,
        "--method", "amortized", "--version", 3, "--json",
    )  # fmt: skip
    assert code == 0
    assert asked[0].url.path == "/v1/models/credit/versions/3/explain"
    assert dict(asked[0].url.params) == {
        "class": "good", "contrast": "bad", "method": "amortized",
    }  # fmt: skip
    assert json.loads(asked[0].content)["reference"] == {"age": 20, "purpose": None}
    assert json.loads(text)["predictions"][0]["contributions"][0]["column"] == "purpose"


def test_what_misses_the_tolerance_is_told(service: Service, tmp_path: Path) -> None:
    (row,) = ANSWER["predictions"]
    missed = row | {"within_tolerance": False, "gap": 0.25}
    service(ANSWER | {"predictions": [missed], "hint": "POST a job."})
    code, text = run("credit", rows_in(tmp_path / "rows.json", ROW))
    assert code == 0
    assert "0.25 is missing" in text
    assert "POST a job." in text


def test_a_reference_is_one_row(service: Service, tmp_path: Path) -> None:
    asked = service(ANSWER)
    two = rows_in(tmp_path / "two.json", ROW, ROW)
    code, _ = run("credit", two, "--reference", two)
    assert code != 0
    assert not asked


def test_nothing_to_explain_is_an_error(service: Service) -> None:
    asked = service(ANSWER)
    assert run("credit")[0] != 0
    assert not asked


def test_an_explained_prediction_is_asked_of_predict() -> None:
    asked: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json=ANSWER)

    with Client("http://service", transport=httpx.MockTransport(handle)) as client:
        found = client.explain("credit", [ROW | {"age": float("nan")}], predicting=True)
    assert found.predictions[0].others is not None
    assert asked[0].url.path == "/v1/models/credit/predict"
    assert dict(asked[0].url.params) == {"explain": "true"}
    assert json.loads(asked[0].content)["rows"][0]["age"] is None
