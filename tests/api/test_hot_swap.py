"""Promotions, rollbacks and canaries under load: no request fails, no answer mixes versions."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pellucid.tracking.traffic import lineup_of
from support import load
from support.serving import ROW, held_feed
from support.workers import wait_until

PATH = "/v1/models/credit/predict"
ROWS = [ROW, {**ROW, "age": 20, "purpose": "boat"}]


@contextmanager
def loaded(client: Any, connections: int) -> Iterator[list[tuple[dict[str, Any], int]]]:
    """Load until the end of the block; the answers, with how often each came, follow then."""
    command = [sys.executable, str(Path(load.__file__)), client.base_url.host]
    command += [str(client.base_url.port), PATH, str(connections)]
    answers: list[tuple[dict[str, Any], int]] = []
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps(ROWS))
        process.stdin.close()
        try:
            assert process.stdout.readline() == "ready\n"
            yield answers
        finally:
            process.terminate()
            text = process.stdout.read()
    answers += [tuple(each) for each in json.loads(text)]


def expected(client: Any, version: int) -> Any:
    """The probabilities (rows, classes) by the version's own session."""
    feed = held_feed(ROWS)
    feed["purpose"] = np.array(feed["purpose"], dtype=object)
    return client.services.pool.version("credit", version).model.run(feed)["probabilities"]


def followed(client: Any) -> bool:
    """Whether the service does what the registry says."""
    wanted = lineup_of(client.services.registry.model("credit"))
    found = client.services.pool.champion("credit")
    contenders = {each.version for each in found.trial.contenders} if found.trial else set()
    named = {each.version for each in (wanted.challenger, wanted.shadow) if each}
    return (found.version, contenders) == (wanted.champion, named)


@pytest.mark.parametrize(
    ("seconds", "connections"), [(3, 16), pytest.param(60, 64, marks=pytest.mark.slow)]
)
def test_swaps_under_load_fail_no_request_and_mix_no_versions(
    serve, register, seconds, connections
):
    versions = [register(bias=float(bias), alias=None) for bias in range(3)]
    client = serve(max_queue_seconds=30)
    promote, traffic = "/v1/models/credit/promote", "/v1/models/credit/traffic"
    assert client.post(promote, json={"version": 1}).status_code == 200
    client.services.pool.refresh()
    canary = {"challenger": {"version": 3, "share": 0.5}}
    steps = cycle(
        [
            lambda: client.post(promote, json={"version": 2}),
            lambda: client.post("/v1/models/credit/rollback"),
            lambda: client.put(traffic, json=canary),
            lambda: client.delete(traffic),
            lambda: client.put(traffic, json=canary | {"shadow": {"version": 2, "share": 1}}),
            lambda: client.post(promote, json={}),
            lambda: client.post(promote, json={"version": 1}),
        ]
    )
    with loaded(client, connections) as answers:
        end, done = time.monotonic() + seconds, 0
        while time.monotonic() < end or done < 7:  # each of them once, however long that takes
            response = next(steps)()
            assert response.status_code == 200, response.text
            wait_until(lambda: followed(client))
            time.sleep(0.15)
            done += 1
    wrong = [answer for answer, _ in answers if answer.get("status") != 200]
    assert not wrong
    results = {version: expected(client, version) for version in versions}
    for answer, _ in answers:
        found = answer["answer"]
        shares = [[p["probabilities"][c] for c in ("bad", "good")] for p in found["predictions"]]
        assert np.array(shares) == pytest.approx(results[found["version"]], abs=1e-6)
    assert {answer["answer"]["version"] for answer, _ in answers} == set(versions)
    assert sum(count for _, count in answers) > 100
