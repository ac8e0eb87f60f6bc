"""`pellucid alerts`, against scripted answers, and its test of real sinks."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pellucid.cli import app
from pellucid.errors import InvalidInput, Unavailable
from support.alerting import http_receiver
from support.command_line import Service

ALERT = {
    "id": "0abc",
    "model": "credit",
    "version": 3,
    "kind": "drift",
    "subject": "income",
    "severity": "warning",
    "state": "firing",
    "summary": "income rose.",
    "signal": {},
    "rule": "important columns",
    "first_seen": "2026-11-01T00:00:00Z",
    "last_seen": "2026-11-01T02:00:00Z",
    "silenced": True,
}
EVENT = {"seq": 1, "time": "2026-11-01T00:00:00Z", "kind": "fired", "by": "", "data": {"a": 1}}
SILENCE = {
    "id": "0def",
    "match": {"model": "credit", "kinds": ["drift"], "subject": "*"},
    "until": "2026-11-02T00:00:00Z",
    "by": "ada",
    "reason": "a release",
    "created_at": "2026-11-01T00:00:00Z",
}
RULES = {
    "rules": [
        {
            "name": "loud",
            "severity": "critical",
            "min_effect": 0.03,
            "min_importance": 0.1,
            "for_windows": 3,
            "for_seconds": 7200,
        }
    ],
    "by": "ada",
    "since": "2026-11-01T00:00:00Z",
}


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["alerts", *arguments])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


def test_alerts_are_listed(service: Service) -> None:
    asked = service({"items": [ALERT], "next_cursor": None})
    told = run("list", "--model", "credit", "--state", "firing")
    assert dict(asked[0].url.params) == {"model": "credit", "state": "firing", "limit": "50"}
    assert "drift of income" in told
    assert "firing (silenced)" in told
    assert json.loads(run("list", "--json"))["items"][0]["id"] == "0abc"


def test_an_alert_is_shown_and_acknowledged(service: Service) -> None:
    service({"alert": ALERT, "events": [EVENT]})
    told = run("show", "0abc")
    assert "warning, by the rule 'important columns'" in told
    assert "fired" in told
    asked = service(ALERT | {"acknowledged_by": "ada", "note": "Looking."})
    told = run("acknowledge", "0abc", "--by", "ada", "--note", "Looking.")
    assert json.loads(asked[0].content) == {"by": "ada", "note": "Looking."}
    assert "ada: Looking." in told


def test_a_silence_is_made_listed_and_lifted(service: Service) -> None:
    asked = service(SILENCE)
    told = run("silence", "--model", "credit", "--kind", "drift", "--reason", "r", "--by", "ada")
    body = json.loads(asked[0].content)
    assert body["match"] == {"model": "credit", "kinds": ["drift"], "subject": "*"}
    assert "0def" in told
    run("lift", "0def", "--by", "ada")
    assert asked[1].method == "DELETE"
    service({"items": [SILENCE], "next_cursor": None})
    assert "a release" in run("silences", "--all")


def test_rules_are_shown_and_set(service: Service, tmp_path: Path) -> None:
    asked = service(RULES)
    told = run("rules")
    assert "loud" in told
    assert "effect >= 0.03, importance >= 0.1, 3 windows, 7,200 s" in told
    file = tmp_path / "rules.yaml"
    file.write_text("rules:\n- name: loud\n  severity: critical\n")
    run("rules", str(file), "--by", "ada")
    assert json.loads(asked[1].content)["rules"][0]["severity"] == "critical"
    file.write_text(run("rules", "--json"))
    run("rules", str(file), "--by", "grace")
    assert json.loads(asked[3].content)["by"] == "grace"
    assert json.loads(asked[3].content)["rules"][0]["min_effect"] == 0.03


@pytest.mark.parametrize("text", ["rules: [{name: r, colour: red}]", "5", "rules: [[]]"])
def test_a_wrong_file_of_rules_names_its_place(tmp_path: Path, text: str) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(text)
    with pytest.raises(InvalidInput) as raised:
        run("rules", str(file))
    assert raised.value.where == {"file": str(file)}


def test_a_file_of_rules_that_is_no_yaml_is_named(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text("- a: [")
    with pytest.raises(InvalidInput, match=r"rules\.yaml is neither YAML nor JSON"):
        run("rules", str(file))


def test_a_test_message_goes_by_the_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PELLUCID_HOME", str(tmp_path))
    with http_receiver() as receiver:
        monkeypatch.setenv("PELLUCID_ALERT_WEBHOOK_URL", receiver.url)
        assert run("test") == "log  took it\nwebhook  took it\n"
        assert json.loads(receiver.requests[0][2])["type"] == "alerts.test"
        receiver.statuses.append(503)
        with pytest.raises(Unavailable):
            run("test", "webhook")
    with pytest.raises(InvalidInput, match="no settings for 'slack'"):
        run("test", "slack")


def test_a_state_or_kind_that_is_none_is_refused(service: Service) -> None:
    service({})
    for arguments in (["list", "--state", "loud"], ["silence", "--reason", "r", "--kind", "x"]):
        assert CliRunner().invoke(app, ["alerts", *arguments]).exit_code == 2
