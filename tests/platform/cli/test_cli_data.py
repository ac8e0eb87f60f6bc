"""`pellucid data`, against scripted answers."""

import json
from pathlib import Path
from typing import Any

import httpx

from support.command_line import DATASET, Answers, Run


def test_add_uploads_with_types_and_roles(run: Run, answers: Answers, tmp_path: Path) -> None:
    file = tmp_path / "credit.csv"
    file.write_text("age,bad\n41,0\n")
    bodies: list[bytes] = []

    def answer(request: httpx.Request) -> dict[str, Any]:
        bodies.append(request.content)
        return DATASET

    answers["POST", "/v1/datasets"] = answer
    options = ("--type", "age=float64", "--role", "bad=target", "--role", "a=b=sensitive")
    outcome = run("data", "add", file, *options, "--json")
    assert json.loads(outcome.out)["sha256"] == "a" * 64
    assert b'{"age": "float64"}' in bodies[0]
    assert b'{"bad": "target", "a=b": "sensitive"}' in bodies[0]
    assert b'name="name"\r\n\r\ncredit\r\n' in bodies[0]
    assert run("data", "add", file, "--role", "bad").code == 2


def test_images_and_lists_are_shown_in_words(run: Run, answers: Answers) -> None:
    plain = {"role": "feature", "rows": 9, "missing": 0, "distinct": 9}
    side = {"minimum": 28, "median": 28, "maximum": 28}
    images = {"formats": {"PNG": 9}, "height": side, "width": side, "bytes": side}
    lengths = {"minimum": 3, "median": 4, "maximum": 24}
    answers["GET", "/v1/datasets/credit/lineage"] = {
        "dataset": DATASET,
        **{key: [] for key in ("ancestors", "descendants", "jobs", "models")},
    }
    answers["GET", "/v1/datasets/credit/profile"] = [
        plain | {"name": "scan", "type": "binary", "kind": "image", "images": images},
        plain | {"name": "wave", "type": "list<float64>", "kind": "sequence", "lengths": lengths},
    ]
    shown = " ".join(run("data", "show", "credit").out.split())
    assert "PNG, 28 x 28 pixels" in shown
    assert "3 to 24 numbers" in shown
    row = {"scan": "PNG, 28 x 28 pixels, 300 bytes", "wave": [0.5, None, "..."]}
    answers["GET", "/v1/datasets/credit/preview"] = [row]
    assert "0.5, , ..." in run("data", "preview", "credit").out
    assert json.loads(run("data", "preview", "credit", "--json").out) == [row]
