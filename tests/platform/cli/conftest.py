"""The command line, called as a user does, against a service of scripted answers."""

import functools
import sys
from pathlib import Path

import httpx
import pytest

import pellucid.client
from pellucid.cli import main
from support.command_line import Answers, Outcome, Run


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

    client = functools.partial(pellucid.client.Client, transport=httpx.MockTransport(answer))
    monkeypatch.setattr(pellucid.client, "Client", client)
    return found


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
