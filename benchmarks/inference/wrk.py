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
        script.write_text(f"HEADERS = {{{headers}}}\n{_SCRIPT}", encoding="utf-8")
        return [str(script), *paths]

    def run(self, url: str, seconds: float, cores: frozenset[int], directory: Path) -> Measured:
        """Load a server for some seconds, after a fifth of them that do not count.

        Raises:
            RuntimeError: a reply was no 2xx, or a connection broke.
        """
        script, *bodies = self.write(directory)
        target = url + self.form.path.format(model=self.network.name)
        found = {}
        for length in (max(1, seconds / 5), seconds):
            command = [
                wrk(),
                f"-t{min(len(cores), self.connections)}",
                f"-c{self.connections}",
                f"-d{length:.0f}s",
                "--timeout",
                "30s",
            ]
            done = subprocess.run(
                [*command, "-s", script, target, "--", *bodies],
                capture_output=True,
                text=True,
                preexec_fn=lambda: os.sched_setaffinity(0, cores),
            )
            line = next((x for x in done.stdout.splitlines() if x.startswith("RESULT ")), None)
            if line is None:
                raise RuntimeError(f"wrk: {done.stdout} {done.stderr}")
            found = json.loads(line.removeprefix("RESULT "))
            if found["refused"] or found["broken"] or not found["requests"]:
                raise RuntimeError(f"not all answered: {found}")
        rate = self.rows * found["requests"] / found["us"] * 1e6
        return Measured(rate, *(found[key] / 1e3 for key in ("p50", "p90", "p99")))


def wrk() -> str:
    """wrk's path."""
    found = shutil.which("wrk")
    if found is None:
        raise SystemExit("wrk is missing: apt-get install wrk, or brew install wrk")
    return found
