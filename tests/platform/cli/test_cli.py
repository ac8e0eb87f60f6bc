"""The command line as a whole: output, exit codes, and what it imports."""

import json
import subprocess
import sys
from typing import Any

import httpx
import pytest

from support.command_line import DATASET, JOB, MODEL, Answers, Outcome, Run


def problem(status: int, **fields: Any) -> httpx.Response:
    return httpx.Response(status, json=fields)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['pellucid', '--help']\n"
        "from pellucid.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    heavy = {"mlflow", "torch", "duckdb", "pyarrow", "numpy", "sqlalchemy", "fastapi", "httpx"}
    assert "Commands:" in done.stdout
    assert "pellucid.cli" in loaded
    assert not heavy & loaded


def test_every_command_has_help(run: Run) -> None:
    for command in (
        *(("data", name) for name in ("add", "list", "show", "preview", "demo")),
        *(
            ("jobs", name)
            for name in (
                "list",
                "show",
                "trials",
                "cancel",
                "retry",
                "logs",
                "follow",
                "predictions",
            )
        ),
        *(
            ("models", name)
            for name in ("list", "show", "card", "stats", "promote", "rollback", "import")
        ),
        *(("traffic", name) for name in ("show", "set", "abort", "compare")),
        *(("db", name) for name in ("upgrade", "current")),
        ("predictions", "show"),
        *((name,) for name in ("train", "predict", "up", "api", "worker", "demo", "settings")),
    ):
        outcome = run(*command, "--help")
        assert outcome.code == 0
        assert outcome.out.startswith("Usage: pellucid " + " ".join(command))


def test_a_service_that_is_not_there(run: Run, answers: Answers) -> None:
    outcome = run("jobs", "list")
    assert outcome.code == 1
    assert outcome.out == ""
    assert outcome.err.splitlines() == [
        "Error: No answer from the service: Connection refused.",
        "  where: url http://127.0.0.1:8000",
        "  remedy: Start it with `pellucid up`, or set PELLUCID_URL to where it runs.",
    ]


def test_a_problem_is_printed_with_its_place_and_remedy(run: Run, answers: Answers) -> None:
    answers["GET", "/v1/datasets/crdit/preview"] = problem(
        404,
        code="not_found",
        detail="There is no data set 'crdit'.",
        where={"dataset": "crdit"},
        remedy="Near it: credit.",
    )
    outcome = run("data", "preview", "crdit", "--json")
    assert outcome == Outcome(
        1,
        "",
        "Error: There is no data set 'crdit'.\n"
        "  where: dataset crdit\n"
        "  remedy: Near it: credit.\n",
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("nonsense",),
        ("data", "add", "no-such-file.csv"),
        ("jobs", "list", "--status", "happy"),
        ("jobs", "list", "--limit", "0"),
        ("train",),
        ("data", "demo", "nothing"),
        ("models", "promote", "credit", "zero"),
    ],
)
def test_wrong_usage_is_code_2(run: Run, arguments: tuple[str, ...]) -> None:
    outcome = run(*arguments)
    assert outcome.code == 2
    assert "Usage: pellucid" in outcome.err
    assert "Traceback" not in outcome.err


def test_wrong_settings_are_told_without_a_traceback(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PELLUCID_PORT", "eighty")
    outcome = run("data", "list")
    assert outcome.code == 1
    assert "Error: PELLUCID_PORT" in outcome.err


@pytest.mark.parametrize(
    ("path", "command", "answer"),
    [
        ("/v1/datasets", ("data", "list"), {"items": [DATASET]}),
        ("/v1/datasets/credit/preview", ("data", "preview", "credit"), [{"age": 41}]),
        ("/v1/jobs", ("jobs", "list"), {"items": [JOB]}),
        ("/v1/jobs/j1", ("jobs", "show", "j1"), JOB),
        ("/v1/models", ("models", "list"), {"items": [MODEL]}),
    ],
)
def test_read_commands_speak_to_people_and_machines(
    run: Run, answers: Answers, path: str, command: tuple[str, ...], answer: Any
) -> None:
    answers["GET", path] = answer
    text = run(*command)
    assert text.code == 0
    assert "credit" in text.out or "41" in text.out
    machine = run(*command, "--json")
    assert machine.code == 0
    assert machine.err == ""
    parsed = json.loads(machine.out)
    wanted = answer["items"][0] if isinstance(answer, dict) and "items" in answer else answer
    found = parsed.get("items", parsed) if isinstance(parsed, dict) else parsed
    found = found[0] if isinstance(found, list) and isinstance(wanted, dict) else found
    if isinstance(wanted, dict):
        assert wanted.items() <= found.items() or found["name"] == wanted["name"]
    else:
        assert found == wanted


def test_lists_that_are_empty_say_what_to_do(run: Run, answers: Answers) -> None:
    answers["GET", "/v1/datasets"] = {"items": []}
    outcome = run("data", "list")
    assert outcome.out == ""
    assert "pellucid data add" in outcome.err
    assert json.loads(run("data", "list", "--json").out)["items"] == []


def test_the_next_page_is_named(run: Run, answers: Answers) -> None:
    answers["GET", "/v1/jobs"] = {"items": [JOB], "next_cursor": "abc"}
    assert "--cursor abc" in run("jobs", "list").err


def test_logs_and_cards_are_printed_as_they_are(run: Run, answers: Answers) -> None:
    answers["GET", "/v1/jobs/j1/logs"] = httpx.Response(200, text="[red]one\ntwo\n")
    answers["GET", "/v1/models/credit/card"] = httpx.Response(200, text="# credit [x]")
    assert run("jobs", "logs", "j1").out == "[red]one\ntwo\n"
    assert run("models", "card", "credit").out == "# credit [x]\n"


def test_a_missing_extra_says_which_to_install(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import pellucid.cli.terminal as commands

    monkeypatch.setattr(commands, "find_spec", lambda _: None)
    for command, extra in (("api", "api"), ("worker", "pipelines"), ("up", "api")):
        outcome = run(command)
        assert outcome.code == 1
        assert f"pip install 'pellucid[{extra}]'" in outcome.err


def test_secrets_are_not_shown(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PELLUCID_API_KEYS", "topsecret")
    outcome = run("settings", "--json")
    assert json.loads(outcome.out)["PELLUCID_API_KEYS"] == "(set)"
    assert "topsecret" not in outcome.out


def test_the_database_is_upgraded_and_checked(run: Run) -> None:
    before = run("db", "current", "--json")
    assert before.code == 1
    assert json.loads(before.out)["current"] is None
    assert "pellucid db upgrade" in before.err
    assert run("db", "upgrade").code == 0
    after = run("db", "current", "--json")
    assert after.code == 0
    found = json.loads(after.out)
    assert found["current"] == found["head"]


def test_an_interrupted_pipe_is_no_error() -> None:
    command = (
        f"{sys.executable} -m pellucid.cli train --schema | head -n 1; exit ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.stdout == "{\n"
    assert "Traceback" not in done.stderr
