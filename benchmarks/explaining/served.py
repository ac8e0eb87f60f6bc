"""Explanations over HTTP: how many rows a core explains, and what predictions notice of it."""

import json
import os
import random
import shutil
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from inference.ours import started
from inference.processes import ONE_THREAD, free_port, running
from inference.wrk import DONE, Measured, closed_loop

from explaining.bundles import Packed, packed, tumours
from explaining.speed import MLP
from pellucid import bundle
from pellucid_api.engine.cache import ModelCache

NAME, _START_SECONDS = "tumours", 60
_TOLERANCE = 1e-4
_SCRIPT = """\
local first, count = tonumber(FIRST), 0
local body = ""

local function another()
  count = count + 1
  return string.format("%.9f", first + 1e-6 * count)
end

function init(args)
  wrk.headers["Content-Type"] = "application/json"
  local file = assert(io.open(args[1], "rb"))
  body = file:read("*a")
  file:close()
end

function request()
  return wrk.format("POST", nil, nil, (body:gsub("@", another)))
end
"""


@dataclass(frozen=True)
class Load:
    """Requests of `rows` rows each over `connections` connections; no row is sent twice."""

    path: str
    rows: int
    connections: int

    @property
    def title(self) -> str:
        """As a table names it."""
        rows = "1 row" if self.rows == 1 else f"{self.rows} rows"
        return f"{rows}, {self.connections} connection{'s' if self.connections > 1 else ''}"


_EXPLAIN, _PREDICT = f"/v1/models/{NAME}/explain", f"/v1/models/{NAME}/predict"
EXPLANATIONS = (Load(_EXPLAIN, 1, 16), Load(_EXPLAIN, 1, 64), Load(_EXPLAIN, 64, 8))
PREDICTIONS = (Load(_PREDICT, 1, 1), Load(_PREDICT, 1, 16))
FULL = EXPLANATIONS[0]  # what goes on beside predictions


@dataclass(frozen=True)
class Server:
    """Ours, running."""

    url: str
    directory: Path
    rows: list[dict[str, float]]
    load_core: int

    def run(self, load: Load, seconds: float, may_refuse: bool = False) -> Measured:
        """A closed loop."""
        name = f"{load.path.rpartition('/')[2]}-{load.rows}-{load.connections}"
        body, script = self.directory / f"{name}.json", self.directory / f"{name}.lua"
        rows = [self.rows[i % len(self.rows)] for i in range(load.rows)]
        first = next(iter(rows[0]))
        text = ",".join(json.dumps(row | {first: "@"}).replace('"@"', "@") for row in rows)
        body.write_text(f"[{text}]", encoding="utf-8")
        start = random.SystemRandom().uniform(6, 28)  # as the column's values; no run is as another
        script.write_text(f"FIRST = {start}\n{_SCRIPT}{DONE}", encoding="utf-8")
        command = [str(script), self.url + load.path, "--", str(body)]
        cores = frozenset({self.load_core})
        return closed_loop(command, load.rows, load.connections, seconds, cores, may_refuse)


def measure(
    rounds: int, seconds: float, epochs: int, server_core: int, load_core: int
) -> dict[str, Any]:
    """Everything once in each round; whether alone or beside comes first changes.

    Returns:
        `explanations`: load -> of each round. `predictions`: load -> {alone, beside} -> of each
        round. `beside`: load of predictions -> explanations meanwhile.
    """
    told: dict[str, Any] = {"explanations": {}, "predictions": {}, "beside": {}}
    with (
        packed(tumours(), MLP, epochs) as found,
        serving(found, server_core, load_core) as server,
        ThreadPoolExecutor(1) as other,
    ):
        for load in (*PREDICTIONS, *EXPLANATIONS):  # whatever the first ones take longer for
            server.run(load, 1)
        for number in range(rounds):
            for load in EXPLANATIONS:
                _add(told["explanations"], load.title, server.run(load, seconds))
            for load in PREDICTIONS:
                kept = told["predictions"].setdefault(load.title, {})
                for which in ("alone", "beside")[:: -1 if number % 2 else 1]:
                    if which == "beside":
                        going_on = other.submit(server.run, FULL, seconds + 2, True)
                        time.sleep(1)
                    _add(kept, which, server.run(load, seconds))
                    if which == "beside":
                        _add(told["beside"], load.title, going_on.result())
            print(f"HTTP, round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    return told


def _add(kept: dict[str, Any], name: str, found: Measured) -> None:
    kept.setdefault(name, []).append(asdict(found))


@contextmanager
def serving(found: Packed, server_core: int, load_core: int) -> Iterator[Server]:
    """Our server as a user starts it, over one bundle; its answers are those of explain.onnx."""
    home = found.bundle.root.with_name(f"{found.bundle.root.name}-served")
    cache = ModelCache(home / "cache" / "models")
    shutil.copytree(found.bundle.root, cache.path(NAME, 1))
    cache.remember({NAME: 1})
    port = free_port()
    command, more = started(home, port)
    environment = os.environ | dict.fromkeys(ONE_THREAD, "1") | more
    names = found.told.columns
    table = found.fitted.examples.table.select(names).slice(0, 64)
    server = Server(f"http://127.0.0.1:{port}", home, table.to_pylist(), load_core)
    try:
        with running(command, environment, frozenset({server_core}), home / "log.txt"):
            _check(server, found)
            yield server
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _check(server: Server, found: Packed) -> None:
    """Wait until it explains, and compare what it says."""
    rows = found.fitted.examples.table.select(found.told.columns).slice(0, 8)
    expected = found.session(bundle.EXPLAINER).run(None, found.feed(rows))[-3]
    until = time.monotonic() + _START_SECONDS
    while True:
        try:
            reply = httpx.post(server.url + _EXPLAIN, json=rows.to_pylist(), timeout=30)
            if reply.status_code == 200:
                break
            told = reply.text
        except httpx.HTTPError as error:
            told = repr(error)
        if time.monotonic() > until:
            raise SystemExit(f"The server does not explain: {told}")
        time.sleep(0.5)
    values = np.zeros_like(expected[:, :, 0])
    for row, each in zip(values, reply.json()["predictions"], strict=True):
        for told in each["contributions"]:
            row[found.told.columns.index(told["column"])] = told["shap"]
    if not np.abs(values - expected[:, :, 0]).max() <= _TOLERANCE * np.abs(expected).max():
        raise SystemExit("The server explains otherwise than explain.onnx does.")
