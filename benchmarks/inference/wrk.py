"""Load by wrk: as many requests as the connections can have answered, one after the other."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from inference.formats import Format
from inference.models import Network

_BODIES = 8  # different requests, in turn: no server may learn one by heart
_SCRIPT = """\
local requests, turn = {}, 0

function init(args)
  for name, value in pairs(HEADERS) do wrk.headers[name] = value end
  for i, path in ipairs(args) do
    local file = assert(io.open(path, "rb"))
    requests[i] = wrk.format("POST", nil, nil, file:read("*a"))
    file:close()
  end
end

function request()
  turn = turn % #requests + 1
  return requests[turn]
end
"""
DONE = """
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    "RESULT {\\"requests\\": %d, \\"us\\": %d, \\"p50\\": %d, \\"p90\\": %d, \\"p99\\": %d, " ..
    "\\"mean\\": %.1f, \\"refused\\": %d, \\"broken\\": %d}\\n",
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(90),
    latency:percentile(99), latency.mean, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout))
end
"""


@dataclass(frozen=True)
class Measured:
    """What one run came to; latencies in milliseconds, of whole requests."""

    rows_per_s: float
    p50: float
    p90: float
    p99: float


@dataclass(frozen=True)
class Load:
    """Requests of `rows` rows over `connections` kept-alive connections."""

    network: Network
    form: Format
    rows: int
    connections: int

    def write(self, directory: Path) -> list[str]:
        """Write the script and the bodies; gives wrk's arguments for them."""
        messages = [self.form.write(self.network.rows(self.rows, seed)) for seed in range(_BODIES)]
        paths = []
        for i, message in enumerate(messages):
            path = directory / f"body-{i}"
            path.write_bytes(message.body)
            paths.append(str(path))
        # The header's length is part of a binary body; all bodies of one case have the same.
        headers = ", ".join(f'["{name}"]="{value}"' for name, value in messages[0].headers.items())
        script = directory / "load.lua"
        script.write_text(f"HEADERS = {{{headers}}}\n{_SCRIPT}{DONE}", encoding="utf-8")
        return [str(script), *paths]

    def run(self, url: str, seconds: float, cores: frozenset[int], directory: Path) -> Measured:
        """Load a server for some seconds, after a fifth of them that do not count.

        Raises:
            RuntimeError: a reply was no 2xx, or a connection broke.
        """
        script, *bodies = self.write(directory)
        target = url + self.form.path.format(model=self.network.name)
        command = [script, target, "--", *bodies]
        closed_loop(command, self.rows, self.connections, max(1, seconds / 5), cores)
        return closed_loop(command, self.rows, self.connections, seconds, cores)


def closed_loop(
    script: list[str],
    rows: int,
    connections: int,
    seconds: float,
    cores: frozenset[int],
    may_refuse: bool = False,
) -> Measured:
    """As many requests as the connections can have answered.

    Args:
        script: a file that ends as `DONE`, and wrk's arguments after it.
        rows: of each request.
        connections: kept alive.
        seconds: that it lasts.
        cores: of the load.
        may_refuse: a server may say that it has too much to do.

    Raises:
        RuntimeError: a reply was no 2xx, or a connection broke.
    """
    command = [
        wrk(),
        f"-t{min(len(cores), connections)}",
        f"-c{connections}",
        f"-d{seconds:.0f}s",
        "--timeout",
        "30s",
    ]
    done = subprocess.run(
        [*command, "-s", *script],
        capture_output=True,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, cores),
    )
    line = next((x for x in done.stdout.splitlines() if x.startswith("RESULT ")), None)
    if line is None:
        raise RuntimeError(f"wrk: {done.stdout} {done.stderr}")
    found = json.loads(line.removeprefix("RESULT "))
    refused = 0 if may_refuse else found["refused"]
    if refused or found["broken"] or not found["requests"]:
        raise RuntimeError(f"not all answered: {found}")
    rate = rows * (found["requests"] - found["refused"]) / found["us"] * 1e6
    return Measured(rate, *(found[key] / 1e3 for key in ("p50", "p90", "p99")))


def wrk() -> str:
    """wrk's path."""
    found = shutil.which("wrk")
    if found is None:
        raise SystemExit("wrk is missing: apt-get install wrk, or brew install wrk")
    return found
