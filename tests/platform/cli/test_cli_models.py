"""`pellucid models`, against scripted answers."""

import json
from typing import Any

import httpx

from support.command_line import MODEL, NOW, Answers, Run


def test_promote_and_rollback(run: Run, answers: Answers) -> None:
    bodies: list[bytes] = []

    def answer(request: httpx.Request) -> dict[str, Any]:
        bodies.append(request.content)
        return MODEL

    answers["POST", "/v1/models/credit/promote"] = answer
    answers["POST", "/v1/models/credit/rollback"] = answer
    assert "champion = 3" in run("models", "promote", "credit", 3).out
    assert json.loads(run("models", "rollback", "credit", "--json").out) == MODEL
    assert json.loads(bodies[0]) == {"version": 3}


def test_stats_are_a_line_for_each_version(answers: Answers, run: Run) -> None:
    times = {"p50": 0.0001, "p90": 0.0025, "p99": 0.1}
    version = {
        "version": 3, "loaded": True, "since": NOW, "requests": 7, "succeeded": 5,
        "errors": {"invalid": 2}, "rows": 40, "runs": 4, "rows_per_run": 10.0,
        "latency": times, "queue": None, "compute": times,
    }  # fmt: skip
    fresh = version | {"version": 4, "requests": 0, "latency": None, "compute": None}
    answers["GET", "/v1/models/credit/stats"] = {"model": "credit", "versions": [version, fresh]}
    found = run("models", "stats", "credit")
    assert found.code == 0
    assert "0.1 / 2.5 / 100" in found.out
    assert json.loads(run("models", "stats", "credit", "--json").out)["versions"][0]["rows"] == 40
