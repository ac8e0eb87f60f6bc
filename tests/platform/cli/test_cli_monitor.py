"""`pellucid monitor` and `pellucid monitoring`, without a service."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pellucid.cli import app
from pellucid.errors import InvalidInput, Unavailable
from pellucid.monitoring.watch import process
from pellucid.monitoring.watch.monitor import Monitor
from pellucid.monitoring.watch.results import Results
from support.watched import Watched, hour, rows, still


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    still(monkeypatch)
    found = Watched(tmp_path)
    found.version()
    found.predict(hour(0), rows(500, 1, 2.0))

    @contextmanager
    def connected(_settings: object) -> Iterator[Monitor]:
        yield found.monitor()

    monkeypatch.setattr(process, "connected", connected)
    monkeypatch.setenv("PELLUCID_DATABASE_URL", str(found.database.engine.url))
    monkeypatch.setenv("PELLUCID_HOME", str(found.settings.home))
    yield found
    found.database.close()


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["monitor", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_one_pass_prints_a_table(watched: Watched) -> None:
    assert "amount" in run("--once")
    assert run("--once") == ""


def test_a_window_of_ones_own_as_json(watched: Watched) -> None:
    start = f"{hour(0):%Y-%m-%dT%H:%M}"
    (found,) = json.loads(run("--once", "--model", "credit", "--from", start, "--json"))
    assert (found["rows"], found["status"], found["scheduled"]) == (500, "alarm", False)


def test_a_window_until_now_is_found_by_the_id_that_is_printed(watched: Watched) -> None:
    run("--once", "--model", "credit", "--from", f"{hour(0):%Y-%m-%dT%H:%M:%S}.25")
    results = Results(watched.database)
    (named,) = results.page("credit").windows
    assert results.window("credit", named.id).rows == 500


def test_the_health_check_asks_for_a_recent_pass(watched: Watched) -> None:
    with pytest.raises(Unavailable, match="has not worked yet"):
        run("--check")
    run("--once")
    run("--check")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--model", "credit"),
        ("--once", "--to", "2026-11-21"),
        ("--once", "--from", "yesterday"),
        ("--once", "--from", "2026-11-21T10:00", "--to", "2026-11-21T09:00"),
    ],
)
def test_wrong_use_is_said(watched: Watched, arguments: tuple[str, ...]) -> None:
    with pytest.raises(InvalidInput):
        run(*arguments)
