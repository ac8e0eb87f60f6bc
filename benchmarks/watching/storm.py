"""A signal that alarms ten thousand times, and a webhook that is down for ten minutes."""

import json
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

from inference.acceptance import Promise
from inference.processes import free_port

from pellucid.analysis.watching.signals import Signal, Status
from pellucid.db.session import Database
from pellucid.db.upgrade import upgrade
from pellucid.monitoring.alerts.engine import evaluate, sweep
from pellucid.monitoring.alerts.outbox import deliver
from pellucid.monitoring.alerts.sinks import Sink
from pellucid.monitoring.alerts.sinks.webhook import WebhookSink
from watching.scale import Scale

TITLE = "Alerts"
EVALUATIONS, ALERTS = 10_000, 100
_START = datetime(2026, 1, 1, tzinfo=UTC)
_WINDOW, _DOWN, _PAUSE = timedelta(minutes=1), timedelta(minutes=10), timedelta(seconds=5)
_NO_REST = 100  # evaluations between two deliveries of the storm


class Receiver:
    """A webhook's other end, over HTTP on loopback, that can be down. `got`: (type, subject)."""

    def __init__(self) -> None:
        self.port = free_port()
        self.got: list[tuple[str, str]] = []
        self.sink: Sink = WebhookSink(f"http://127.0.0.1:{self.port}/", "secret")

    @contextmanager
    def up(self) -> Iterator[None]:
        """Answering until the end of the block."""
        got = self.got

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                got.extend((told["type"], each["subject"]) for each in told["data"]["alerts"])
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_arguments: Any) -> None:
                """Say nothing."""

        with HTTPServer(("127.0.0.1", self.port), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, args=(0.05,))
            thread.start()
            try:
                yield
            finally:
                server.shutdown()
                thread.join()


def measure(scale: Scale) -> dict[str, Any]:
    """Notifications of the storm; of the outage. The monitor's clock is simulated."""
    evaluations = scale.rows(EVALUATIONS, least=200)
    with database() as found:
        storm = _storm(found, evaluations)
    with database() as found:
        outage = _outage(found)
    return {"evaluations": evaluations, "storm": storm, "alerts": ALERTS, "outage": outage}


def promises(found: dict[str, Any]) -> Iterator[Promise]:
    title = f"{found['evaluations']:,} firing evaluations"
    yield Promise(f"{title}: notifications", found["storm"].get("alerts.firing", 0), 1, True)
    yield Promise(f"{title}: resolutions told", found["storm"].get("alerts.resolved", 0), 1, True)
    title = f"webhook down for 10 minutes, {found['alerts']} alerts"
    yield Promise(f"{title}: received once", found["outage"]["once"], found["alerts"])
    yield Promise(f"{title}: received twice", found["outage"]["more"], 0, at_most=True)


def page(found: dict[str, Any]) -> Iterator[str]:
    storm, outage = found["storm"], found["outage"]
    told = ", ".join(f"{count} {event}" for event, count in storm.items())
    yield (
        f"{found['evaluations']:,} windows in which the same output alarms, then one that is ok; "
        f"the webhook, over HTTP, got: {told}."
    )
    yield ""
    yield (
        f"{found['alerts']} alerts fire while the webhook does not answer for ten minutes of the "
        f"monitor's clock. Received by then: {outage['meanwhile']}; within ten minutes after: "
        f"{outage['once']} once, {outage['more']} more than once."
    )


def _storm(found: Database, evaluations: int) -> dict[str, int]:
    receiver = Receiver()
    with receiver.up():
        for number in range(evaluations + 1):
            now = _START + number * _WINDOW
            status = Status.ALARM if number < evaluations else Status.OK
            evaluate(found, "model", 1, now, [_signal("outputs.value", status)], now=now)
            if number % _NO_REST == 0 or number == evaluations:
                sweep(found, now)
                deliver(found, {"webhook": receiver.sink}, now)
    return dict(Counter(event for event, _ in receiver.got))


def _outage(found: Database) -> dict[str, int]:
    receiver, now = Receiver(), _START
    pause = _DOWN / ALERTS
    for number in range(ALERTS):
        now += pause
        evaluate(found, "model", 1, now, [_signal(f"outputs.{number}", Status.ALARM)], now=now)
        _step(found, receiver, now)
    meanwhile = len(receiver.got)
    with receiver.up():
        for _ in range(int(_DOWN / _PAUSE)):
            now += _PAUSE
            _step(found, receiver, now)
    times = Counter(receiver.got)
    once, more = (sum(test(n) for n in times.values()) for test in ((1).__eq__, (1).__lt__))
    return {"meanwhile": meanwhile, "once": once, "more": more}


def _step(found: Database, receiver: Receiver, now: datetime) -> None:
    sweep(found, now)
    deliver(found, {"webhook": receiver.sink}, now)


def _signal(subject: str, status: Status) -> Signal:
    return Signal(
        kind="output", subject=subject, status=status, summary="Simulated.", statistic="ks",
        effect=0.3 if status is Status.ALARM else 0.01, threshold=0.05,
    )  # fmt: skip


@contextmanager
def database() -> Iterator[Database]:
    """An empty one, in a file that is removed in the end."""
    with tempfile.TemporaryDirectory() as directory:
        url = f"sqlite:///{Path(directory) / 'pellucid.db'}"
        upgrade(url)
        found = Database(url)
        try:
            yield found
        finally:
            found.close()
