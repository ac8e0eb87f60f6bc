"""Alerts over HTTP and by the client: looked at, acknowledged, silenced; and their rules."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pellucid.client import Client
from pellucid.errors import InvalidInput, NotFound
from pellucid.monitoring.alerts.engine import evaluate
from pellucid.monitoring.alerts.rules import DEFAULT_RULES, Rule
from support.alerting import hours, signal


@pytest.fixture
def library(client):
    with Client(str(client.base_url)) as found:
        yield found


def fire(client, *subjects: str, model: str = "credit", at: float = 1, status: str = "alarm"):
    found = [signal(status, subject=subject) for subject in subjects or ("roc_auc",)]
    evaluate(client.services.database, model, 1, hours(at), found, now=hours(at))


def test_alerts_are_listed_page_by_page(client, library) -> None:
    assert library.alerts.list().items == []
    for number in range(5):
        fire(client, f"metric {number}", at=number)
    fire(client, model="fraud", at=6)
    fire(client, "metric 0", status="ok", at=7)
    seen, cursor = [], None
    while True:
        page = library.alerts.list("credit", cursor=cursor, limit=2)
        seen += [alert.subject for alert in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == [f"metric {number}" for number in (4, 3, 2, 1, 0)]
    assert [a.subject for a in library.alerts.list(state="resolved").items] == ["metric 0"]
    assert len(library.alerts.list("fraud", "firing").items) == 1


def test_an_alert_tells_its_history_and_who_did_what(client, library) -> None:
    fire(client)
    (alert,) = library.alerts.list().items
    seen = library.alerts.acknowledge(alert.id, "ada@example.com", "The feed is late.")
    assert (seen.acknowledged_by, seen.note) == ("ada@example.com", "The feed is late.")
    silence = library.alerts.silence("bob", "a release", timedelta(hours=2), model="cred*")
    library.alerts.lift(silence.id, "eve")
    found = library.alerts.get(alert.id)
    assert [(event.kind, event.by) for event in found.events] == [
        ("opened", ""),
        ("fired", ""),
        ("acknowledged", "ada@example.com"),
        ("silenced", "bob"),
        ("unsilenced", ""),
    ]
    assert [event.seq for event in found.events] == [1, 2, 3, 4, 5]


def test_silences_are_kept_after_their_end(library) -> None:
    made = library.alerts.silence("bob", "a release", timedelta(hours=2), kinds=("drift",))
    assert [each.id for each in library.alerts.silences().items] == [made.id]
    assert made.match.kinds == ("drift",)
    lifted = library.alerts.lift(made.id, "eve")
    assert lifted.lifted_by == "eve"
    assert library.alerts.silences().items == []
    assert library.alerts.silences(every=True).items == [lifted]


def test_rules_are_the_defaults_until_somebody_sets_others(library) -> None:
    found = library.alerts.rules()
    assert tuple(found.rules) == DEFAULT_RULES.rules
    assert found.by == ""
    rules = [Rule(name="loud", severity="critical"), Rule(name="rest", sinks=("log",))]
    assert library.alerts.set_rules(rules, "ada").rules == rules
    assert library.alerts.rules().by == "ada"
    assert library.alerts.set_rules([], "ada").rules == []


def test_what_is_not_there_is_not_found(library) -> None:
    with pytest.raises(NotFound, match="no alert 'nope'"):
        library.alerts.get("nope")
    with pytest.raises(NotFound):
        library.alerts.acknowledge("nope", "ada")
    with pytest.raises(NotFound):
        library.alerts.lift("nope", "ada")


def test_a_silence_that_ends_in_the_past_or_never_is_refused(library) -> None:
    for duration in (timedelta(0), timedelta(days=400)):
        with pytest.raises(InvalidInput, match="within 366 days"):
            library.alerts.silence("bob", "why", duration)


LATER = (datetime.now(UTC) + timedelta(hours=1)).isoformat()


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/silences", {"by": "a", "reason": "r"}),
        ("POST", "/v1/silences", {"by": "a", "reason": "r", "until": "2027-01-01T00:00:00"}),
        ("POST", "/v1/silences", {"by": "a", "reason": "r", "until": "9999-12-31T23:59:59-14:00"}),
        ("POST", "/v1/silences", {"by": "a", "reason": "r", "until": "0001-01-01T00:00:00+14:00"}),
        ("POST", "/v1/silences", {"by": "", "reason": "r", "until": LATER}),
        ("POST", "/v1/silences", {"by": "a", "reason": "", "until": LATER}),
        ("POST", "/v1/silences", {"by": "a", "reason": "r", "until": LATER, "match": {"x": 1}}),
        ("PUT", "/v1/alert-rules", {"rules": []}),
        ("PUT", "/v1/alert-rules", {"rules": [{"name": "r"}, {"name": "r"}], "by": "a"}),
        ("PUT", "/v1/alert-rules", {"rules": [{"name": "r", "severity": "loud"}], "by": "a"}),
        ("PUT", "/v1/alert-rules", {"rules": [{"name": "r", "min_effect": 1e999}], "by": "a"}),
        ("PUT", "/v1/alert-rules", {"rules": [], "by": "\0"}),
        ("POST", "/v1/alerts/x/acknowledge", {"by": "\0\0"}),
        ("DELETE", "/v1/silences/x?by=%00", None),
        ("POST", "/v1/alerts/x/acknowledge", {"note": "by nobody"}),
        ("DELETE", "/v1/silences/x", None),
        ("GET", "/v1/alerts?state=loud", None),
    ],
)
def test_what_makes_no_sense_is_a_problem(client, method: str, path: str, body: Any) -> None:
    content = None if body is None else json.dumps(body).encode()
    answer = client.request(
        method, path, content=content, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 422, answer.text
    assert answer.json()["code"] == "invalid_input"


def test_a_nul_character_is_kept_out(client, library) -> None:
    library.alerts.silence("a\0b", "c\0d", timedelta(hours=1))
    (silence,) = library.alerts.silences().items
    assert (silence.by, silence.reason) == ("ab", "cd")


def test_what_a_database_would_spoil_is_refused(client, library) -> None:
    """Kept without its NUL it would be no rule any more, and nobody would be told anything."""
    before = library.alerts.rules()
    for names in (["\0"], ["a", "a\0"]):
        body = {"rules": [{"name": name} for name in names], "by": "ada"}
        assert client.put("/v1/alert-rules", json=body).status_code == 422
    for match in ({"model": "\0"}, {"subject": "\0"}):
        body = {"match": match, "by": "ada", "reason": "a release", "until": LATER}
        assert client.post("/v1/silences", json=body).status_code == 422
        body = {"rules": [{"name": "a", "match": match}], "by": "ada"}
        assert client.put("/v1/alert-rules", json=body).status_code == 422
    assert library.alerts.rules() == before
    assert library.alerts.silences().items == []


TEXTS = st.text(max_size=12)
WORDS = st.sampled_from(["name", "match", "model", "kinds", "severity", "by", "until", "reason"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.datetimes().map(str),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=10,
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(body=VALUES, rule=VALUES, by=TEXTS)
def test_no_body_is_our_fault(credit, body: Any, rule: Any, by: str) -> None:
    for method, path, value in (
        ("POST", "/v1/silences", body),
        ("POST", "/v1/silences", {"match": body, "by": by, "reason": by, "until": LATER}),
        ("PUT", "/v1/alert-rules", {"rules": [rule], "by": by}),
        ("PUT", "/v1/alert-rules", {"rules": [{"name": by, "match": rule}], "by": by}),
        ("POST", "/v1/alerts/x/acknowledge", body),
    ):
        content = json.dumps(value).encode()
        answer = credit.request(
            method, path, content=content, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code in (200, 201, 404, 422), answer.text
    for path in ("/v1/silences?all=true", "/v1/alert-rules"):
        assert credit.get(path).status_code == 200
