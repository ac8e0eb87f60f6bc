"""A million labels in one file, and labels that are not as they should be."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from explaining.bundles import packed, tumours
from explaining.served import NAME, serving
from inference.acceptance import Promise

from pellucid.client import Client
from pellucid.errors import PellucidError
from pellucid.monitoring.feedback.labelled import labelled
from pellucid.monitoring.feedback.labels import DIRECTORY
from pellucid.monitoring.log import PredictionLog
from pellucid.monitoring.profiles.windows import Window
from watching.scale import Scale

TITLE = "Feedback"
ROWS, BATCH = 1_000_000, 20_000
_ANSWERS = ("accepted", "repeated", "conflicting", "pending", "late", "refused")
_PLAN: dict[str, object] = {"model": {"kind": "mlp", "widths": [32]}}


def measure(scale: Scale) -> dict[str, Any]:
    """Predictions by the real server, their labels by `pellucid feedback FILE`, and the join."""
    rows = scale.rows(ROWS)
    with packed(tumours(), _PLAN, epochs=2) as found, serving(found, 0, 1) as server:
        names, target = found.told.columns, "target"
        table = found.fitted.examples.table
        with Client(server.url) as client:
            start = datetime.now(UTC)
            ids = _predicted(client, table.select(names), rows)
            labels = np.resize(table[target].to_numpy(), rows)
            told = _told(ids, labels, server.url)
            odd = _odd(client, str(ids[0]), int(labels[0]))
            window = Window(NAME, 1, start, datetime.now(UTC))
        began = time.perf_counter()
        joined = _joined(server.directory, window)
        told["join_seconds"] = time.perf_counter() - began
        return {"rows": rows, **told, "joined": joined, "odd": odd}


def promises(found: dict[str, Any]) -> Iterator[Promise]:
    seconds = found["seconds"] + found["join_seconds"]
    yield Promise(f"{found['rows']:,} labels in one file, joined: seconds", seconds, 60, True)
    yield Promise("labels joined, share", found["joined"] / found["rows"], 1)
    kept = all(each["answer"] == each["documented"] for each in found["odd"])
    yield Promise("unknown id, second label, wrong class: answers as documented", float(kept), 1)


def page(found: dict[str, Any]) -> Iterator[str]:
    yield (
        f"`pellucid feedback labels.parquet` with {found['rows']:,} labels of predictions that the "
        f"server has answered: {found['seconds']:.1f} s ({found['receipt']['accepted']:,} accepted)"
        f"; reading every prediction beside its label: {found['join_seconds']:.1f} s, "
        f"{found['joined']:,} joined."
    )
    yield from ("", "| label | answer | documented |", "|---|---|---|")
    for each in found["odd"]:
        yield f"| {each['label']} | {each['answer']} | {each['documented']} |"


def _predicted(client: Client, table: pa.Table, rows: int) -> np.ndarray:
    """Ids of so many predictions; the table's rows over and over."""
    sent = pa.concat_tables([table] * -(-BATCH // len(table)))
    found: list[pa.ChunkedArray] = []
    for first in range(0, rows, BATCH):
        part = sent.slice(0, min(BATCH, rows - first))
        found.append(client.predict_table(NAME, part)["prediction_id"])
    return np.concatenate([each.to_numpy() for each in found])


def _told(ids: np.ndarray, labels: np.ndarray, url: str) -> dict[str, Any]:
    """Labels as a user tells them: by the command line, from a file."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "labels.parquet"
        texts = pa.array(labels).cast(pa.string())
        pq.write_table(pa.table({"id": pa.array(ids, pa.string()), "label": texts}), file)
        command = [sys.executable, "-m", "pellucid.cli", "feedback", str(file), "--json"]
        began = time.perf_counter()
        done = subprocess.run(
            command, env=os.environ | {"PELLUCID_URL": url}, capture_output=True, text=True
        )
        seconds = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"pellucid feedback failed: {done.stderr[-1000:]}")
    receipt = json.loads(done.stdout)
    return {"seconds": seconds, "receipt": {k: v for k, v in receipt.items() if k != "notes"}}


def _odd(client: Client, known: str, label: int) -> list[dict[str, str]]:
    """What becomes of labels that are not as they should be; the first id keeps its label."""
    cases = (
        ("of an id that is not in the log", _other(known), label, "pending"),
        ("the same once more", known, label, "repeated"),
        ("a second, other one", known, 1 - label, "conflicting"),
        ("the first one again", known, label, "conflicting"),
        ("of a class that there is not", known, "purple", "refused"),
    )
    return [
        {"label": title, "answer": _answer(client, of, value), "documented": documented}
        for title, of, value, documented in cases
    ]


def _answer(client: Client, of: str, value: Any) -> str:
    try:
        receipt = client.feedback({of: value})
    except PellucidError as error:
        return "refused" if "is not one of the classes" in str(error) else str(error)
    counts = receipt.model_dump()
    return next(name for name in _ANSWERS if counts[name])


def _other(known: str) -> str:
    """An id that no prediction has: another random part."""
    return known[:-12] + "0123456789ab"


def _joined(home: Path, window: Window) -> int:
    parts = labelled(PredictionLog(home / "predictions"), home / DIRECTORY, window, ("version",))
    return sum(len(part) - part.column("label").null_count for part in parts)
