"""The command line against scripted answers: output, exit codes, and what it imports."""

import functools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pellucid.client
from pellucid.cli import main

NOW = "2026-01-02T03:04:05Z"
JOB = {
    "id": "j1",
    "name": "credit",
    "status": "succeeded",
    "reason": "Version 3 is champion.",
    "plan": {},
    "data_version": "a" * 64,
    "attempt": 1,
    "max_attempts": 5,
    "cancel_requested": False,
    "model_version": 3,
    "result": {"metrics": {"roc_auc": 0.8125}},
    "created_at": NOW,
}
DATASET = {
    "name": "credit",
    "version": 1,
    "sha256": "a" * 64,
    "rows": 5000,
    "bytes": 100,
    "data_schema": {"columns": [{"name": "age", "type": "int64", "role": "feature"}]},
    "source": "credit.csv",
    "created_at": NOW,
}
MODEL = {"name": "credit", "aliases": {"champion": 3}, "latest": 3, "serving": [3]}


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Outcome]
Answers = dict[tuple[str, str], Any]


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


def test_add_uploads_with_types_and_roles(run: Run, answers: Answers, tmp_path: Path) -> None:
    file = tmp_path / "credit.csv"
    file.write_text("age,bad\n41,0\n")
    bodies: list[bytes] = []

    def answer(request: httpx.Request) -> dict[str, Any]:
        bodies.append(request.content)
        return DATASET

    answers["POST", "/v1/datasets"] = answer
    options = ("--type", "age=float64", "--role", "bad=target", "--role", "a=b=sensitive")
    outcome = run("data", "add", file, *options, "--json")
    assert json.loads(outcome.out)["sha256"] == "a" * 64
    assert b'{"age": "float64"}' in bodies[0]
    assert b'{"bad": "target", "a=b": "sensitive"}' in bodies[0]
    assert b'name="name"\r\n\r\ncredit\r\n' in bodies[0]
    assert run("data", "add", file, "--role", "bad").code == 2


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


def test_images_and_lists_are_shown_in_words(run: Run, answers: Answers) -> None:
    plain = {"role": "feature", "rows": 9, "missing": 0, "distinct": 9}
    side = {"minimum": 28, "median": 28, "maximum": 28}
    images = {"formats": {"PNG": 9}, "height": side, "width": side, "bytes": side}
    lengths = {"minimum": 3, "median": 4, "maximum": 24}
    answers["GET", "/v1/datasets/credit/lineage"] = {
        "dataset": DATASET,
        **{key: [] for key in ("ancestors", "descendants", "jobs", "models")},
    }
    answers["GET", "/v1/datasets/credit/profile"] = [
        plain | {"name": "scan", "type": "binary", "kind": "image", "images": images},
        plain | {"name": "wave", "type": "list<float64>", "kind": "sequence", "lengths": lengths},
    ]
    shown = " ".join(run("data", "show", "credit").out.split())
    assert "PNG, 28 x 28 pixels" in shown
    assert "3 to 24 numbers" in shown
    row = {"scan": "PNG, 28 x 28 pixels, 300 bytes", "wave": [0.5, None, "..."]}
    answers["GET", "/v1/datasets/credit/preview"] = [row]
    assert "0.5, , ..." in run("data", "preview", "credit").out
    assert json.loads(run("data", "preview", "credit", "--json").out) == [row]


def test_lists_that_are_empty_say_what_to_do(run: Run, answers: Answers) -> None:
    answers["GET", "/v1/datasets"] = {"items": []}
    outcome = run("data", "list")
    assert outcome.out == ""
    assert "pellucid data add" in outcome.err
    assert json.loads(run("data", "list", "--json").out)["items"] == []


def test_the_next_page_is_named(run: Run, answers: Answers) -> None:
    answers["GET", "/v1/jobs"] = {"items": [JOB], "next_cursor": "abc"}
    assert "--cursor abc" in run("jobs", "list").err


def test_a_plan_is_checked_before_it_is_sent(run: Run, tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text("name: credit\ndata: {dataset: credit}\ntraining: {epochs: -1, epoch: 2}\n")
    outcome = run("train", plan)
    assert outcome.code == 1
    assert f"file {plan}" in outcome.err
    assert "training.epochs" in outcome.err
    assert "training.epoch: unknown key" in outcome.err
    plan.write_bytes(b"\xff\xfe")
    assert "not UTF-8" in run("train", plan).err


def test_only_what_the_plan_says_is_sent(run: Run, answers: Answers, tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text("name: credit\ndata: {dataset: credit}\ntraining: {epochs: 3}\n")
    sent: list[Any] = []

    def answer(request: httpx.Request) -> dict[str, Any]:
        sent.append((request.headers["idempotency-key"], json.loads(request.content)))
        return JOB | {"status": "queued"}

    answers["POST", "/v1/jobs"] = answer
    outcome = run("train", plan, "--key", "once", "--detach")
    assert outcome.code == 0
    assert "pellucid jobs follow j1" in outcome.err
    wanted = {"name": "credit", "data": {"dataset": "credit"}, "training": {"epochs": 3}}
    assert sent == [("once", wanted)]


def stream(*events: tuple[str, dict[str, Any]]) -> httpx.Response:
    lines = [
        f"data: {json.dumps({'seq': seq, 'time': NOW, 'kind': kind, 'data': data})}\n\n"
        for seq, (kind, data) in enumerate(events, 1)
    ]
    return httpx.Response(200, text="".join(lines))


def follow_answers(status: str) -> Answers:
    def events(request: httpx.Request) -> httpx.Response:
        if request.headers["last-event-id"] != "0":
            return stream()
        losses = {"train_loss": 0.5, "validation_loss": 0.625, "eta_seconds": 4}
        return stream(
            ("state", {"status": "running", "reason": "Worker w took it."}),
            ("stage", {"stage": "training"}),
            ("progress", {"epoch": 1, "epochs": 2, **losses}),
            ("state", {"status": status, "reason": "It ended."}),
        )

    job = JOB | {"status": status, "reason": "It ended."}
    return {("GET", "/v1/jobs/j1/events"): events, ("GET", "/v1/jobs/j1"): job}


def test_following_shows_progress_and_the_result(run: Run, answers: Answers) -> None:
    answers.update(follow_answers("succeeded"))
    outcome = run("jobs", "follow", "j1")
    assert outcome.code == 0
    assert "running: Worker w took it." in outcome.err
    assert "epoch 1/2  train 0.5000  validation 0.6250  4 s left" in outcome.err
    assert "roc_auc" in outcome.out
    assert "0.8125" in outcome.out


def test_following_a_job_that_fails_is_a_failure(run: Run, answers: Answers) -> None:
    answers.update(follow_answers("failed"))
    outcome = run("jobs", "follow", "j1", "--json")
    assert outcome.code == 1
    assert json.loads(outcome.out)["status"] == "failed"
    assert "Error: The job failed: It ended." in outcome.err
    assert "pellucid jobs logs j1" in outcome.err


def test_the_bar_of_a_terminal_shows_the_same() -> None:
    from rich.console import Console

    from pellucid.cli.follow import follow

    scripted = follow_answers("succeeded")

    def answer(request: httpx.Request) -> httpx.Response:
        value = scripted[request.method, request.url.path]
        value = value(request) if callable(value) else value
        return value if isinstance(value, httpx.Response) else httpx.Response(200, json=value)

    console = Console(force_terminal=True, width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    with pellucid.client.Client("http://x", transport=httpx.MockTransport(answer)) as client:
        assert follow(client, "j1", console).status == "succeeded"
    console.file.close()
    shown = console.export_text()
    assert "1/2" in shown
    assert "train 0.5000" in shown


def predictions(request: httpx.Request) -> dict[str, Any]:
    rows = json.loads(request.content)
    one = {"id": "p1", "label": "good", "probabilities": {"bad": 0.25, "good": 0.75}}
    return {"model": "credit", "version": 3, "predictions": [one for _ in rows]}


@pytest.mark.parametrize(
    ("name", "text", "rows"),
    [
        ("one.json", '{"age": 41, "since": null}', 1),
        ("list.json", '[{"age": 41}, {"age": 20}]', 2),
        ("rows.json", '{"rows": [{"age": 41}]}', 1),
        ("rows.csv", "age,purpose,since\n41,car,2024-05-31\n,,\n", 2),
    ],
)
def test_predict_reads_rows(
    run: Run, answers: Answers, tmp_path: Path, name: str, text: str, rows: int
) -> None:
    file = tmp_path / name
    file.write_text(text)
    sent: list[Any] = []

    def answer(request: httpx.Request) -> dict[str, Any]:
        sent.extend(json.loads(request.content))
        return predictions(request)

    answers["POST", "/v1/models/credit/predict"] = answer
    outcome = run("predict", "credit", file)
    assert outcome.code == 0
    assert "p(good)" in outcome.out
    assert outcome.out.count("0.75") == rows
    assert len(json.loads(run("predict", "credit", file, "--json").out)["predictions"]) == rows
    assert sent[0]["age"] == 41
    if file.suffix == ".csv":
        assert sent[0]["since"] == "2024-05-31"
        assert sent[1] == {"age": None, "purpose": None, "since": None}


def test_predict_reads_parquet(run: Run, answers: Answers, tmp_path: Path) -> None:
    sent: list[Any] = []

    def answer(request: httpx.Request) -> dict[str, Any]:
        sent.extend(json.loads(request.content))
        return predictions(request)

    answers["POST", "/v1/models/credit/predict"] = answer
    table = pa.table({"photo": [b"\x89PN"], "load": [[1.5, None]], "review": ["fine"]})
    pq.write_table(table, tmp_path / "rows.parquet")
    assert run("predict", "credit", tmp_path / "rows.parquet").code == 0
    assert sent == [{"photo": "iVBO", "load": [1.5, None], "review": "fine"}]


def of_one_input(answers: Answers, kind: str) -> list[Any]:
    """The service has a model of one input; what is sent to it."""
    sent: list[Any] = []

    def answer(request: httpx.Request) -> dict[str, Any]:
        sent.extend(json.loads(request.content))
        return predictions(request)

    detail = {
        "name": "credit", "version": 3, "run_id": "r", "created": "", "aliases": [], "tags": {},
        "inputs": [{"name": "it", "kind": kind}], "outputs": [], "classes": [], "metrics": {},
        "data_version": "", "job_id": "",
    }  # fmt: skip
    summary = {"name": "credit", "aliases": {"champion": 3}, "latest": 3}
    answers["GET", "/v1/models/credit"] = summary
    answers["GET", "/v1/models/credit/versions/3"] = detail
    answers["POST", "/v1/models/credit/predict"] = answer
    return sent


def test_predict_takes_image_files(run: Run, answers: Answers, tmp_path: Path) -> None:
    sent = of_one_input(answers, "image")
    (tmp_path / "a.png").write_bytes(b"\x89PN")
    photo = tmp_path / "a.png"
    assert run("predict", "credit", "--image", photo, "--image", photo).code == 0
    assert sent == [{"it": "iVBO"}, {"it": "iVBO"}]
    assert "cannot be read" in run("predict", "credit", "--image", tmp_path / "b.png").err
    assert "does not take one text" in run("predict", "credit", "--text", "fine").err


def test_predict_takes_texts(run: Run, answers: Answers) -> None:
    sent = of_one_input(answers, "text")
    assert run("predict", "credit", "--text", "fine", "--text", "not so").code == 0
    assert sent == [{"it": "fine"}, {"it": "not so"}]


def test_a_forecast_is_shown_in_a_row(run: Run, answers: Answers, tmp_path: Path) -> None:
    answers["POST", "/v1/models/load/predict"] = {
        "model": "load", "version": 1, "predictions": [{"id": "p1", "value": [1.5, 2.0]}],
    }  # fmt: skip
    file = tmp_path / "rows.json"
    file.write_text('{"load": [1, 2]}')
    assert "1.5, 2" in run("predict", "load", file).out
    assert "nothing to predict" in run("predict", "load").err
    assert "more than one kind" in run("predict", "load", file, "--text", "x").err


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("broken.json", b"{"),
        ("number.json", b"3"),
        ("mixed.json", b"[{}, 3]"),
        ("latin.json", b'[{"a": "\xe9"}]'),
        ("empty.csv", b""),
        ("ragged.csv", b"a,b\n1\n"),
        ("missing.json", None),
    ],
)
def test_rows_that_cannot_be_read_name_the_file(
    run: Run, answers: Answers, tmp_path: Path, name: str, content: bytes | None
) -> None:
    file = tmp_path / name
    if content is not None:
        file.write_bytes(content)
    outcome = run("predict", "credit", file)
    assert outcome.code == 1
    assert outcome.err.startswith("Error: ")
    assert f"file {file}" in outcome.err


def test_promote_and_rollback(run: Run, answers: Answers) -> None:
    bodies: list[bytes] = []

    def answer(request: httpx.Request) -> dict[str, Any]:
        bodies.append(request.content)
        return MODEL

    answers["POST", "/v1/models/credit/promote"] = answer
    answers["POST", "/v1/models/credit/rollback"] = answer
    assert "champion = 3" in run("models", "promote", "credit", 3).out
    assert json.loads(run("models", "rollback", "credit", "--json").out) == MODEL
    assert json.loads(bodies[0]) == {"version": 3}


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


def test_the_schema_of_plans_is_printed(run: Run) -> None:
    schema = json.loads(run("train", "--schema").out)
    assert schema["properties"]["training"]["default"]["epochs"] == 100


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


SEARCH = JOB | {"kind": "search", "winner": "t1", "progress": {"metric": "loss"}}
TRIALS = [
    JOB
    | {
        "id": f"t{number}",
        "parent_id": "j1",
        "trial": number,
        "params": {"optimizer.lr": 0.5 * number},
        "result": {"validation": {"loss": 0.25 - 0.125 * number}},
        "model_version": None,
    }
    for number in (1, 0)
]


def test_trials_are_listed_with_their_values(run: Run, answers: Answers) -> None:
    answers["GET", "/v1/jobs/j1"] = SEARCH
    answers["GET", "/v1/jobs/j1/trials"] = {"items": TRIALS, "next_cursor": None}
    lines = run("jobs", "trials", "j1").out.splitlines()
    assert lines[0].split()[:4] == ["trial", "job", "status", "loss"]
    assert "(best)" in lines[1]
    assert "0.125" in lines[1]
    assert "optimizer.lr = 0.5" in lines[1]
    listed = json.loads(run("jobs", "trials", "j1", "--json").out)
    assert [job["trial"] for job in listed["items"]] == [1, 0]


def test_following_a_search_tells_of_its_trials(run: Run, answers: Answers) -> None:
    standing = {"trials": 2, "ended": 1, "running": 1, "pruned": 0, "failed": 0, "metric": "loss"}
    told = [
        ("trial", {"trial": 0, "job": "t0", "status": "queued", "params": {"optimizer.lr": 0.1}}),
        ("trial", {"trial": 0, "job": "t0", "status": "succeeded", "value": 0.25, "reason": ""}),
        ("progress", standing | {"best": {"trial": 0, "value": 0.25, "params": {}}}),
        ("state", {"status": "succeeded", "reason": "Registered.", "attempt": 1}),
    ]
    stream = "".join(
        f"id: {i}\nevent: {kind}\n"
        f"data: {json.dumps({'seq': i, 'time': NOW, 'kind': kind, 'data': data})}\n\n"
        for i, (kind, data) in enumerate(told, start=1)
    )
    answers["GET", "/v1/jobs/j1"] = SEARCH
    sent = iter([stream])
    answers["GET", "/v1/jobs/j1/events"] = lambda _: httpx.Response(200, text=next(sent, ""))
    said = run("jobs", "follow", "j1").err
    assert "trial 0 queued: optimizer.lr = 0.1" in said
    assert "trial 0 succeeded: 0.25" in said
    assert "1/2 trials  best loss 0.25 (trial 0)  1 running" in said


def test_stats_are_a_line_for_each_version(answers: Answers, run: Run) -> None:
    times = {"p50": 0.0001, "p90": 0.0025, "p99": 0.1}
    version = {
        "version": 3, "loaded": True, "since": NOW, "requests": 7, "succeeded": 5,
        "errors": {"invalid": 2}, "rows": 40, "runs": 4, "rows_per_run": 10.0,
        "latency": times, "queue": None, "compute": times,
    }  # fmt: skip
    fresh = version | {"version": 4, "requests": 0, "latency": None, "compute": None}
    answers["GET", "/v1/models/credit/stats"] = {"model": "credit", "versions": [version, fresh]}
    found = run("models", "stats", "credit")
    assert found.code == 0
    assert "0.1 / 2.5 / 100" in found.out
    assert json.loads(run("models", "stats", "credit", "--json").out)["versions"][0]["rows"] == 40
