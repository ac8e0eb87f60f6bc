"""The command line, called as a user does, against a service of scripted answers."""

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

import pellucid.client
from pellucid.cli import main
from pellucid.client import Client
from support.command_line import Answers, Outcome, Run, Service


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> Answers:
    """(method, path) -> JSON or a response; what is not there is a connection refused."""
    found: Answers = {}

    def answer(request: httpx.Request) -> httpx.Response:
        key = (request.method, request.url.path)
        if key not in found:
            raise httpx.ConnectError("Connection refused")
        value = found[key](request) if callable(found[key]) else found[key]
        return value if isinstance(value, httpx.Response) else httpx.Response(200, json=value)

    _answered_by(answer, monkeypatch)
    return found


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    """Makes a service that gives one answer, and keeps what was asked."""

    def make(answer: Any) -> list[httpx.Request]:
        asked: list[httpx.Request] = []

        def handle(request: httpx.Request) -> httpx.Response:
            asked.append(request)
            return httpx.Response(200, json=answer)

        _answered_by(handle, monkeypatch)
        return asked

    return make


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    monkeypatch.setenv("PELLUCID_HOME", str(tmp_path / "home"))

    def call(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["pellucid", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capsys.readouterr()
        return Outcome(int(ended.value.code or 0), captured.out, captured.err)

    return call


def _answered_by(
    handle: Callable[[httpx.Request], httpx.Response], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = functools.partial(Client, transport=httpx.MockTransport(handle))
    monkeypatch.setattr(pellucid.client, "Client", client)
