"""Rows through the real server: batched with others, yet answered as if they had come alone."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pellucid.settings import Settings
from pellucid.tracking.contract import CHAMPION
from pellucid.tracking.memory import MemoryTracker
from support.serving import ServiceClient, held_feed, make_bundle, serving

CLIENTS = 12
PATHS = {
    "the server's protocol": "/v1/models/credit/predict",
    "a route": "/v1/models/credit/predict?front=asgi",
}


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceClient]:
    """A service whose runs take 100 rows at most, so that requests are joined and cut."""
    root = tmp_path_factory.mktemp("narrow")
    registry = MemoryTracker(root / "registry")
    make_bundle(root / "bundle", bias=0.03)
    registry.register("run-1", "credit", root / "bundle", {})
    registry.set_alias("credit", CHAMPION, 1)
    with serving(Settings(home=root / "home", device="cpu", max_batch_rows=100), registry) as found:
        yield found


def rows_of(seed: int, count: int) -> list[dict[str, Any]]:
    random = np.random.default_rng(seed)
    return [
        {
            "age": None if random.random() < 0.1 else float(random.normal(40, 10)),
            "owner": bool(random.random() < 0.5),
            "since": f"20{random.integers(10, 25)}-05-31T12:00:{random.integers(10, 60)}",
            "purpose": str(random.choice(["car", "boat", "kite", "Grüße"])),
        }
        for _ in range(count)
    ]


def alone(client: ServiceClient, rows: list[dict[str, Any]]) -> Any:
    """The probabilities (rows, classes) by the session itself, one request at a time."""
    stamped = [{**row, "since": row["since"] + "+00:00"} for row in rows]
    feed = held_feed(stamped)
    feed["purpose"] = np.array(feed["purpose"], dtype=object)
    return client.services.pool.champion("credit").model.run(feed)["probabilities"]


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
@settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    sizes=st.lists(
        st.one_of(st.integers(1, 8), st.integers(1, 300)), min_size=CLIENTS, max_size=3 * CLIENTS
    ),
    seed=st.integers(0, 2**32 - 1),
)
def test_concurrent_requests_are_answered_as_if_alone_and_in_order(narrow, path, sizes, seed):
    asked = [rows_of(seed + i, size) for i, size in enumerate(sizes)]
    with ThreadPoolExecutor(CLIENTS) as threads:
        found = list(threads.map(lambda rows: narrow.post(path, json=rows), asked))
    identities: list[str] = []
    for rows, response in zip(asked, found, strict=True):
        assert response.status_code == 200, response.text
        predictions = response.json()["predictions"]
        shares = [[p["probabilities"][name] for name in ("bad", "good")] for p in predictions]
        assert np.array(shares) == pytest.approx(alone(narrow, rows), abs=1e-6)
        ids = [prediction["id"] for prediction in predictions]
        assert ids == sorted(ids)
        identities += ids
    assert len(set(identities)) == len(identities)


def test_requests_that_come_during_a_run_are_joined(narrow, monkeypatch):
    served = narrow.services.pool.champion("credit")
    run = served.batcher._run

    def slow(feed):
        time.sleep(0.1)  # longer than clients take to ask, on a busy machine too
        return run(feed)

    monkeypatch.setattr(served.batcher, "_run", slow)
    monkeypatch.setattr(served.batcher.cost, "of_run", lambda rows: 0.02)  # hence in the thread
    executions, rows = served.statistics.executions, served.statistics.executed_rows
    with ThreadPoolExecutor(CLIENTS) as threads:
        body = rows_of(0, 5)
        found = list(threads.map(lambda _: narrow.post(PATHS["a route"], json=body), range(120)))
    assert {response.status_code for response in found} == {200}
    assert served.statistics.executed_rows - rows == 600
    assert served.statistics.executions - executions < 60
