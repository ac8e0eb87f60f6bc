"""The parent: ports, starts that fail, processes that end."""

import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from pellucid.errors import InvalidSettings, Unavailable
from pellucid.settings import Settings
from pellucid_api.processes.parent import Parent
from pellucid_api.processes.slot import reserve, share
from support.children import deaf, fail, serve_once

SPAWN = multiprocessing.get_context("spawn")


def starting(target):
    def start(number):
        ours, theirs = SPAWN.Pipe()
        process = SPAWN.Process(target=target, args=(theirs,))
        process.start()
        theirs.close()
        return process, ours

    return start


def test_without_one_that_serves_the_parent_gives_up():
    with pytest.raises(Unavailable, match="code 3"):
        Parent(starting(fail), 2).run()


def test_one_that_ended_is_started_again(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv("CRASHED", str(tmp_path / "crashed"))
    Parent(starting(serve_once), 1).run()
    assert "ended with code 5" in caplog.text


def test_a_reserved_port_is_shared_with_those_that_ask_alone():
    with reserve("127.0.0.1", 0, "port") as held:
        port = held.getsockname()[1]
        with pytest.raises(InvalidSettings, match="PELLUCID_PORT"):
            reserve("127.0.0.1", port, "port")
        with socket.socket() as stranger:
            stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with pytest.raises(OSError, match="in use"):
                stranger.bind(("127.0.0.1", port))
        with share("127.0.0.1", port) as one, share("127.0.0.1", port) as other:
            one.listen()
            other.listen()
            with pytest.raises(InvalidSettings, match=f"port {port}"):
                reserve("127.0.0.1", port, "port")


def test_the_command_names_a_port_that_is_taken(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        settings = Settings(home=tmp_path, port=taken.getsockname()[1], api_processes=2)
        done = subprocess.run(
            [sys.executable, "-m", "pellucid.cli", "api"],
            env=os.environ | settings.environment(), capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert "PELLUCID_PORT" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_second_signal_ends_all_at_once(tmp_path, monkeypatch):
    monkeypatch.setenv("READY", str(tmp_path / "ready"))
    parent = Parent(starting(deaf), 1, grace=250)

    def interrupt():
        while not (tmp_path / "ready").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)
        while not parent._asked:  # two signals at once may be one
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=interrupt)
    thread.start()
    started = time.monotonic()
    parent.run()
    thread.join()
    assert time.monotonic() - started < 200, "it waited for the grace"
