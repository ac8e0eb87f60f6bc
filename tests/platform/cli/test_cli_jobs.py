"""`pellucid train` and `pellucid jobs`, against scripted answers."""

import json
from pathlib import Path
from typing import Any

import httpx

import pellucid.client
from support.command_line import JOB, NOW, Answers, Run


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


def test_the_schema_of_plans_is_printed(run: Run) -> None:
    schema = json.loads(run("train", "--schema").out)
    assert schema["properties"]["training"]["default"]["epochs"] == 100


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
