"""One line for each request, whatever front answered it; written in bulk, and none lost."""

import io
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from select import PIPE_BUF

import httpx
import pytest

from pellucid.db.upgrade import upgrade
from pellucid.settings import Settings
from pellucid_api.access import AccessLog, Entry
from support.ports import free_port
from support.serving import ROW

PREDICT = "/v1/models/credit/predict"


def entry(number=0, path=b"/v1/jobs"):
    now = time.perf_counter()
    return Entry(now - 0.0015, now, b"GET", path, 200, b"r%d" % number, ("::1", 99), 12)


def noted(caplog):
    """The lines; a route's is written after its response."""
    deadline = time.monotonic() + 60
    while True:
        found = [r.getMessage() for r in caplog.records if r.name == "pellucid_api.access"]
        if found or time.monotonic() > deadline:
            return found
        time.sleep(0.01)


@pytest.mark.parametrize("path", [PREDICT, PREDICT + "?trace=1"])
def test_both_fronts_log_a_request(credit, caplog, path):
    with caplog.at_level(logging.INFO, "pellucid_api.access"):
        response = credit.post(path, json=[ROW], headers={"x-request-id": "mine"})
        (line,) = noted(caplog)
    size = len(response.content)
    pattern = rf"POST {PREDICT} 200 \d+\.\d ms {size} B 127\.0\.0\.1 mine"
    assert re.fullmatch(pattern, line)


def test_what_is_no_request_is_logged_too(credit, caplog):
    with caplog.at_level(logging.INFO, "pellucid_api.access"):
        response = httpx.get(
            credit.base_url, headers={"Content-Length": "0", "Transfer-Encoding": "chunked"}
        )
        (line,) = noted(caplog)
    assert response.status_code == 400
    assert line.startswith("- /")


def test_lines_are_json_with_a_time_of_now():
    stream = io.StringIO()
    log = AccessLog("json", stream)
    log.start()
    log.note(entry(path=b'/a"\xff'))
    log.stop()
    line = json.loads(stream.getvalue())
    assert abs(time.time() - _seconds(line.pop("time"))) < 60
    assert line.pop("seconds") == pytest.approx(0.0015, abs=1e-5)
    assert line == {
        "level": "info", "logger": "pellucid_api.access", "method": "GET", "path": '/a"\\xff',
        "status": 200, "bytes": 12, "client": "::1", "request_id": "r0",
    }  # fmt: skip


def _seconds(text):
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp()


def test_text_lines_look_like_those_of_other_loggers():
    stream = io.StringIO()
    log = AccessLog("text", stream)
    log.note(entry())
    log.start()
    log.stop()
    pattern = (
        r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO    pellucid_api\.access: "
        r"GET /v1/jobs 200 1\.5 ms 12 B ::1 r0\n"
    )
    assert re.fullmatch(pattern, stream.getvalue())


def test_many_entries_are_written_in_order():
    stream = io.StringIO()
    log = AccessLog("json", stream)
    log.start()
    for number in range(10_000):
        log.note(entry(number))
    log.stop()
    identities = [json.loads(line)["request_id"] for line in stream.getvalue().splitlines()]
    assert identities == [f"r{number}" for number in range(10_000)]
    assert log.lost == 0


def test_lines_of_several_processes_do_not_mix():
    """A pipe takes so much in one piece; a longer line alone may be cut."""
    pieces = []

    class Pipe(io.StringIO):
        def write(self, text):
            pieces.append(text)

    log = AccessLog("text", Pipe())
    for number in range(300):
        log.note(entry(number, path=b"/" + b"x" * (number if number != 150 else 9_000)))
    log.start()
    log.stop()
    assert len(pieces) > 10
    assert all(len(piece) <= PIPE_BUF or piece.count("\n") == 1 for piece in pieces)
    assert all(piece.endswith("\n") for piece in pieces)
    lines = "".join(pieces).splitlines()
    assert [line.rpartition(" ")[2] for line in lines] == [f"r{number}" for number in range(300)]


def test_what_cannot_be_kept_is_counted():
    log = AccessLog("text", io.StringIO(), limit=3)
    for _ in range(5):
        log.note(entry())
    assert log.lost == 2


def test_a_stream_that_fails_loses_lines_and_nothing_else():
    class Full(io.StringIO):
        def write(self, text):
            raise OSError(28, "No space left on device")

    log = AccessLog("text", Full())
    log.note(entry())
    log.start()
    log.stop()
    assert log.lost == 1


@pytest.mark.parametrize("kept", [True, False])
def test_the_server_writes_every_line_before_it_ends(tmp_path, kept):
    settings = Settings(
        home=tmp_path, port=free_port(), mlflow_port=free_port(), log_format="json",
        access_log=kept,
    )  # fmt: skip
    upgrade(settings.resolved_database_url)
    path = tmp_path / "api.log"
    with (
        path.open("wb") as log,
        subprocess.Popen(
            [sys.executable, "-m", "pellucid.cli", "api"],
            env=os.environ | settings.environment(),
            stderr=log,
        ) as server,
        httpx.Client(base_url=settings.resolved_url) as client,
    ):
        while server.poll() is None:
            try:
                client.get("/health/live")
                break
            except httpx.TransportError:
                time.sleep(0.05)
        for number in range(20):
            client.get("/v1/jobs", headers={"x-request-id": f"r{number}"})
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=60)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    found = [line["request_id"] for line in lines if line["logger"] == "pellucid_api.access"]
    assert found == [f"r{number}" for number in range(20)] * kept
