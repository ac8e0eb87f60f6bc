"""What the command line is tested with: answers of a service, and what a call gave."""

from collections.abc import Callable
from typing import Any, NamedTuple

import httpx

NOW = "2026-01-02T03:04:05Z"
JOB = {
    "id": "j1",
    "name": "credit",
    "status": "succeeded",
    "reason": "Version 3 is champion.",
    "plan": {},
    "data_version": "a" * 64,
    "attempt": 1,
    "max_attempts": 5,
    "cancel_requested": False,
    "model_version": 3,
    "result": {"metrics": {"roc_auc": 0.8125}},
    "created_at": NOW,
}
DATASET = {
    "name": "credit",
    "version": 1,
    "sha256": "a" * 64,
    "rows": 5000,
    "bytes": 100,
    "data_schema": {"columns": [{"name": "age", "type": "int64", "role": "feature"}]},
    "source": "credit.csv",
    "created_at": NOW,
}
MODEL = {"name": "credit", "aliases": {"champion": 3}, "latest": 3, "serving": [3]}


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Outcome]
Answers = dict[tuple[str, str], Any]
Service = Callable[[Any], list[httpx.Request]]
