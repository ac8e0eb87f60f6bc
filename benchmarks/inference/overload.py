"""An open loop: requests arrive when they arrive, whether or not the ones before are answered.

Arrivals are a Poisson process. A latency is from the arrival to the whole answer, so that what had
to wait for a free connection counts as waiting. What arrives in the first two seconds
is not counted: a service may let a burst wait, and needs a moment to see that this is none.
"""

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import uvloop

from inference.formats import Format, Message
from inference.models import Network

_CONNECTIONS = 2000
_TICK = 5e-4  # seconds
_SETTLING = 2.0  # seconds; then what arrives is counted
_GRACE = 15.0  # seconds for the last answers


@dataclass
class Outcome:
    """Latencies in seconds; rates in requests per second."""

    wanted: float
    offered: float = 0.0
    accepted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)  # 429 or 503
    unsent: int = 0  # arrived, and found no free connection to the end
    broken: int = 0  # anything else, and what was never answered

    def as_dict(self) -> dict[str, float]:
        """In milliseconds."""
        return {
            "wanted_per_s": self.wanted,
            "offered_per_s": self.offered,
            "accepted": len(self.accepted),
            "refused": len(self.refused),
            "unsent": self.unsent,
            "broken": self.broken,
            "accepted_p50": _percentile(self.accepted, 50),
            "accepted_p99": _percentile(self.accepted, 99),
            "refused_p50": _percentile(self.refused, 50),
            "refused_p99": _percentile(self.refused, 99),
        }


def offer(
    url: str, network: Network, form: Format, rows: int, rate: float, seconds: float
) -> Outcome:
    """Offer `rate` requests a second, of so many rows each, for some seconds and two more."""
    host, port = url.removeprefix("http://").split(":")
    path = form.path.format(model=network.name)
    messages = [form.write(network.rows(rows, seed)) for seed in range(8)]
    requests = [_request(host, path, message) for message in messages]
    return uvloop.run(_offer(host, int(port), requests, rate, seconds))


def _request(host: str, path: str, message: Message) -> bytes:
    headers = {"Host": host, "Content-Length": str(len(message.body))} | message.headers
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + message.body


async def _offer(
    host: str, port: int, requests: list[bytes], rate: float, seconds: float
) -> Outcome:
    loop = asyncio.get_running_loop()
    outcome, settling = Outcome(rate), Outcome(rate)
    idle: deque[_Connection] = deque()
    for _ in range(_CONNECTIONS):
        _, one = await loop.create_connection(lambda: _Connection(idle), host, port)
        idle.append(one)
    generator = np.random.default_rng(0)
    gaps = generator.exponential(1 / rate, int(rate * (_SETTLING + seconds) * 1.2) + 100)
    arrivals = deque((time.perf_counter() + np.cumsum(gaps)).tolist())
    settled = time.perf_counter() + _SETTLING
    waiting: deque[float] = deque()
    number = counted = 0
    while (now := time.perf_counter()) < settled + seconds:
        while arrivals and arrivals[0] <= now:
            waiting.append(arrivals.popleft())
        while waiting and idle:
            arrival = waiting.popleft()
            counts = arrival > settled
            idle.pop().send(
                requests[number % len(requests)], arrival, outcome if counts else settling
            )
            number += 1
            counted += counts
        await asyncio.sleep(_TICK)
    outcome.offered, outcome.unsent = counted / seconds, len(waiting)
    until = time.perf_counter() + _GRACE
    while len(outcome.accepted) + len(outcome.refused) + outcome.broken < counted:
        if time.perf_counter() > until:
            outcome.broken = counted - len(outcome.accepted) - len(outcome.refused)
            break
        await asyncio.sleep(0.01)
    return outcome


class _Connection(asyncio.Protocol):
    """One request after the other."""

    _outcome: Outcome

    def __init__(self, idle: "deque[_Connection]") -> None:
        self._idle = idle
        self._received = b""
        self._busy = False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport  # uvloop's is no asyncio.Transport

    def send(self, request: bytes, arrival: float, outcome: Outcome) -> None:
        self._arrival, self._outcome, self._busy = arrival, outcome, True
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        length = head.lower().partition(b"content-length: ")[2].split(b"\r\n", 1)[0]
        if len(body) < int(length):
            return
        seconds = time.perf_counter() - self._arrival
        status = head[9:12]
        self._received, self._busy = b"", False
        if status == b"200":
            self._outcome.accepted.append(seconds)
        elif status in (b"429", b"503"):
            self._outcome.refused.append(seconds)
        else:
            self._outcome.broken += 1
        self._idle.append(self)

    def connection_lost(self, _: Exception | None) -> None:
        if self._busy:
            self._outcome.broken += 1
        if self in self._idle:
            self._idle.remove(self)


def _percentile(seconds: list[float], share: int) -> float:
    return float(1e3 * np.percentile(seconds, share)) if seconds else float("nan")
