"""`kill -9` of a service under load: what it answered a second before is in the log, once."""

import http.client
import json
import random
import threading
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pellucid.monitoring.log import PredictionLog
from support.serving import ROW
from support.serving_process import serving_process

ROUNDS = 5
CLIENTS = 6
START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


@dataclass
class Load:
    """Clients that send until nothing answers, and what they were told when."""

    port: int
    answered: list[tuple[float, str]] = field(default_factory=list)

    def run(self, seed: int) -> None:
        chance = random.Random(seed)
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            while True:
                body = json.dumps([ROW] * chance.choice((1, 1, 1, 20)))
                connection.request("POST", "/v1/models/credit/predict", body)
                reply = json.loads(connection.getresponse().read())
                now = time.monotonic()
                self.answered.extend((now, each["id"]) for each in reply["predictions"])
        except (OSError, http.client.HTTPException, ValueError):
            connection.close()


@pytest.mark.slow
def test_answers_outlive_the_process(tmp_path: Path) -> None:
    chance = random.Random(0)
    owed: set[uuid.UUID] = set()
    given: set[uuid.UUID] = set()
    for _ in range(ROUNDS):
        with serving_process(tmp_path) as (process, port):
            load = Load(port)
            threads = [threading.Thread(target=load.run, args=(seed,)) for seed in range(CLIENTS)]
            for thread in threads:
                thread.start()
            time.sleep(chance.uniform(1.5, 4.0))
            process.kill()
            killed = time.monotonic()
            process.wait()
            for thread in threads:
                thread.join()
        given |= {uuid.UUID(identity) for _, identity in load.answered}
        owed |= {uuid.UUID(identity) for at, identity in load.answered if at < killed - 1}
        _check(tmp_path, owed, given)
    with serving_process(tmp_path) as (process, _):
        _wait_for_recovery(tmp_path)
        _check(tmp_path, owed, given)
    assert len(owed) > 1000


def _check(home: Path, owed: set[uuid.UUID], given: set[uuid.UUID]) -> None:
    rows = PredictionLog(home / "predictions").window("credit", START, END, columns=["id"])
    counts = Counter(uuid.UUID(bytes=each) for each in rows.read_all()["id"].to_pylist())
    assert not owed - counts.keys()
    assert set(counts.values()) == {1}
    # At most what was on its way to each client was recorded and never heard of.
    assert len(counts.keys() - given) <= ROUNDS * CLIENTS * 20


def _wait_for_recovery(home: Path) -> None:
    deadline = time.monotonic() + 60
    while any((home / "predictions" / "spools").rglob("*.arrow")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
