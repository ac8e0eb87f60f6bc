"""The supervisor with small services: start, crash, restart, stop, and its own death."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from pellucid.errors import InvalidSettings, Unavailable
from pellucid.settings import Settings
from pellucid.supervisor import Service, Supervisor, services
from pellucid.supervisor.services import api_url, on_free_ports, running
from support.ports import free_port

SLEEP = "import time; time.sleep(600)"
STUBBORN = (
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); "
    + SLEEP
)
PARENT = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEP!r}]); {SLEEP}"


def python(name: str, code: str, health_url: str = "") -> Service:
    return Service(name, [sys.executable, "-c", code], {}, health_url)


def eventually(holds: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:  # it has ended meanwhile
        return []


@pytest.fixture
def port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


def test_services_run_until_the_end_of_the_block_with_their_children(tmp_path: Path) -> None:
    with Supervisor([python("parent", PARENT)], tmp_path, print) as supervisor:
        process = psutil.Process(supervisor.pids()["parent"])
        eventually(process.children)
        everyone = [process, *process.children()]
    assert not psutil.wait_procs(everyone, 5)[1]


def test_it_waits_for_the_health_url(tmp_path: Path) -> None:
    port = free_port()
    code = (
        "import http.server as h, time; time.sleep(1); "
        f"h.test(h.SimpleHTTPRequestHandler, port={port}, bind='127.0.0.1')"
    )
    said: list[str] = []
    with Supervisor([python("web", code, f"http://127.0.0.1:{port}/")], tmp_path, said.append):
        assert said[0].startswith("web is ready")
        assert float(said[0].split("(")[1].split()[0]) >= 1


def test_a_service_that_does_not_start_is_named_with_its_last_words(tmp_path: Path) -> None:
    fine = python("fine", SLEEP)
    broken = python("broken", "print('no such table'); exit(3)", "http://127.0.0.1:1/")
    with pytest.raises(Unavailable, match="broken stopped with code 3") as raised:
        Supervisor([fine, broken], tmp_path, print).__enter__()
    assert "no such table" in raised.value.remedy
    assert raised.value.where["log"] == str(tmp_path / "broken.log")
    ours = psutil.Process().children(recursive=True)
    assert not [p for p in ours if SLEEP in command(p)]


def test_a_crashed_service_is_started_again(tmp_path: Path) -> None:
    said: list[str] = []
    with Supervisor([python("worker", SLEEP)], tmp_path, said.append) as supervisor:
        first = supervisor.pids()["worker"]
        os.kill(first, signal.SIGKILL)
        eventually(lambda: supervisor.pids().get("worker", first) != first)
    assert "worker stopped with code -9; starting it again in 1 s" in said
    assert "worker was started again" in said


def test_a_service_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    said: list[str] = []
    with Supervisor([python("stubborn", STUBBORN)], tmp_path, said.append, grace=0.3) as supervisor:
        pid = supervisor.pids()["stubborn"]
        eventually((tmp_path / "stubborn.log").read_text)
    assert not psutil.pid_exists(pid)
    assert "stubborn did not stop in time and was killed" in said


def test_kill_9_of_the_supervisor_leaves_no_orphans(tmp_path: Path) -> None:
    code = f"""
import sys, time
from pathlib import Path
from pellucid.supervisor import Service, Supervisor
services = [Service("parent", [sys.executable, "-c", {PARENT!r}])]
with Supervisor(services, Path({str(tmp_path)!r}), print):
    time.sleep(600)
"""
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    supervisor = psutil.Process(process.pid)
    eventually(lambda: len(supervisor.children(recursive=True)) == 3)  # guard, parent, its child
    everyone = supervisor.children(recursive=True)
    process.kill()
    process.wait()
    assert not psutil.wait_procs(everyone, 10)[1]


def test_a_taken_port_is_named_with_its_setting(tmp_path: Path, port: int) -> None:
    settings = Settings(home=tmp_path, port=port, mlflow_url="http://127.0.0.1:1")
    with pytest.raises(InvalidSettings, match=f"Port {port} is taken") as raised:
        running(settings, print).__enter__()
    assert raised.value.where == {"setting": "PELLUCID_PORT"}
    assert "PELLUCID_PORT=" in raised.value.remedy


def test_free_ports_replace_only_taken_ones(port: int) -> None:
    free = free_port()
    moved = on_free_ports(Settings(port=port, mlflow_port=free))
    assert moved.port not in (port, 0)
    assert moved.mlflow_port == free


def test_an_open_door_is_refused_before_anything_starts(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with pytest.raises(InvalidSettings, match="without API keys"):
        running(Settings(home=home, host="0.0.0.0"), print).__enter__()
    assert not home.exists()


def test_mlflow_is_not_started_where_it_runs_elsewhere(tmp_path: Path) -> None:
    here = Settings(home=tmp_path)
    ours = ["api", "worker", "monitor"]
    assert [service.name for service in services.services(here)] == ["mlflow", *ours]
    elsewhere = Settings(home=tmp_path, mlflow_url="http://mlflow:5000")
    assert [service.name for service in services.services(elsewhere)] == ours


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::1", "http://[::1]:8000"),
        ("192.168.1.5", "http://192.168.1.5:8000"),
    ],
)
def test_the_api_is_asked_where_it_listens(host: str, url: str) -> None:
    assert api_url(Settings(host=host, url="https://public.example")) == url
