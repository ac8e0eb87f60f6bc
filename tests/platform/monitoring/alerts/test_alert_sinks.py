"""Sinks, against real servers on loopback."""

import base64
import hashlib
import hmac
import json
import logging
from email import message_from_string
from email.policy import default
from pathlib import Path

import httpx
import pytest

from pellucid.errors import Conflict, Unavailable
from pellucid.monitoring.alerts.resources import Alert
from pellucid.monitoring.alerts.sinks import Message, configured
from pellucid.monitoring.alerts.sinks.email import EmailSink
from pellucid.monitoring.alerts.sinks.log import LogSink
from pellucid.monitoring.alerts.sinks.posting import Poster
from pellucid.monitoring.alerts.sinks.slack import SlackSink
from pellucid.monitoring.alerts.sinks.trial import message as trial
from pellucid.monitoring.alerts.sinks.webhook import WebhookSink, key_of, signature
from pellucid.settings import Settings
from support.alerting import hours, http_receiver, smtp_server


def alert(subject: str = "income", **changes: object) -> Alert:
    given = {
        "id": "0abc",
        "model": "credit",
        "version": 3,
        "kind": "drift",
        "subject": subject,
        "severity": "warning",
        "state": "firing",
        "summary": "income rose by 0.4 SD.",
        "signal": {"effect": 0.4},
        "rule": "r",
        "first_seen": hours(0),
        "last_seen": hours(1),
        "silenced": False,
    }
    return Alert.model_validate(given | changes)


def message(*alerts: Alert, event: str = "firing") -> Message:
    return Message("msg_1", event, hours(1), alerts or (alert(),))


def test_a_webhook_is_signed_as_standard_webhooks_says() -> None:
    secret = "whsec_" + base64.b64encode(b"a key of thirty-two bytes exactly").decode()
    with http_receiver() as receiver:
        sink = WebhookSink(f"{receiver.url}/hook", secret, link="http://s", clock=lambda: 1.5e9)
        sink.send(message())
    ((path, headers, body),) = receiver.requests
    assert path == "/hook"
    assert headers["content-type"] == "application/json"
    assert headers["webhook-id"] == "msg_1"
    assert headers["webhook-timestamp"] == "1500000000"
    signed = b"msg_1.1500000000." + body
    key = b"a key of thirty-two bytes exactly"
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    document = json.loads(body)
    assert document["type"] == "alerts.firing"
    (told,) = document["data"]["alerts"]
    assert told["subject"] == "income"
    assert told["url"] == "http://s/v1/alerts/0abc"


def test_the_specifications_own_example_has_its_signature() -> None:
    key = key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    found = signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body)
    assert found == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_any_text_may_be_a_secret_and_none_signs_nothing() -> None:
    assert key_of("a phrase") == b"a phrase"
    assert key_of("whsec_not base64!") == b"whsec_not base64!"
    with http_receiver() as receiver:
        WebhookSink(receiver.url).send(message())
    assert "webhook-signature" not in receiver.requests[0][1]


@pytest.mark.parametrize(
    ("status", "error"),
    [(500, Unavailable), (503, Unavailable), (429, Unavailable), (400, Conflict), (302, Conflict),
     (410, Conflict), (799, Unavailable)],
)  # fmt: skip
def test_an_answer_but_success_is_an_error_and_no_redirect_is_followed(
    status: int, error: type[Exception]
) -> None:
    with http_receiver() as receiver:
        receiver.statuses.append(status)
        sink = WebhookSink(f"{receiver.url}/?token=hidden")
        with pytest.raises(error, match=str(status)) as raised:
            sink.send(message())
        assert "hidden" not in str(raised.value)
        assert len(receiver.requests) == 1
        sink.send(message())
        assert len(receiver.requests) == 2


def test_an_address_where_nobody_answers_is_unavailable() -> None:
    with http_receiver() as receiver:
        url = receiver.url
    with pytest.raises(Unavailable, match="does not answer"):
        WebhookSink(url).send(message())


def test_a_slow_answer_is_unavailable() -> None:
    def hang(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("slow", request=request)

    with pytest.raises(Unavailable, match="ReadTimeout"):
        Poster("http://x", "webhook", httpx.MockTransport(hang)).post(b"{}", {})


def test_slack_gets_text_and_blocks_that_mention_nobody() -> None:
    many = [alert(f"<!channel> {n}", severity="info") for n in range(30)]
    with http_receiver() as receiver:
        SlackSink(receiver.url, link="http://s").send(
            message(*many, alert("rare", severity="critical", summary="x" * 9000))
        )
    document = json.loads(receiver.requests[0][2])
    text = json.dumps(document["blocks"][1:])
    assert "<!channel>" not in document["text"] + text
    assert "&lt;!channel&gt; 0" in text
    assert "rare" in document["text"]
    assert "rare" in document["blocks"][1]["text"]["text"]  # the most urgent first
    assert document["blocks"][-1]["text"]["text"] == "and 21 more"
    for block in document["blocks"]:
        assert len(block["text"]["text"]) <= (150 if block["type"] == "header" else 3000)


def test_slack_takes_what_escaping_has_made_longer() -> None:
    odd = alert("&" * 300, summary="<&>" * 3000)
    with http_receiver() as receiver:
        SlackSink(receiver.url, link="http://s").send(message(odd))
    (_, section) = json.loads(receiver.requests[0][2])["blocks"]
    assert len(section["text"]["text"]) <= 3000
    assert f"|{odd.id}>" in section["text"]["text"]


def test_an_email_is_plain_text_and_html() -> None:
    with smtp_server() as box:
        url = f"smtp://ada:p%40ss@127.0.0.1:{box.port}"
        sink = EmailSink(url, ["a@x.org", "b@x.org"], "pellucid@x.org", link="http://s")
        sink.send(message(alert("a\r\nBcc: evil@x.org"), alert("<b>bold</b>")))
    plain = base64.b64encode(b"\0ada\0p@ss").decode()
    assert f"AUTH PLAIN {plain}" in box.commands
    assert [c for c in box.commands if c.lower().startswith("rcpt")] == [
        "rcpt TO:<a@x.org>",
        "rcpt TO:<b@x.org>",
    ]
    mail = message_from_string(box.mails[0], policy=default)
    subject = "[Pellucid] Alert (warning): credit/3: drift of a Bcc: evil@x.org and 1 more"
    assert mail["Subject"].strip() == subject
    assert mail["Bcc"] is None
    assert mail["To"] == "a@x.org, b@x.org"
    assert mail["Message-ID"] == "<msg_1@pellucid.invalid>"
    text, html = (part.get_content() for part in mail.iter_parts())
    assert "income rose by 0.4 SD." in text
    assert "http://s/v1/alerts/0abc" in text
    assert "&lt;b&gt;bold&lt;/b&gt;" in html


@pytest.mark.parametrize(
    ("command", "answer", "error"),
    [
        ("RCPT", "550 unknown", Conflict),
        ("DATA", "554 no", Conflict),
        ("DATA", "451 busy", Unavailable),
        ("AUTH", "535 wrong", Conflict),
        ("MAIL", "421 closing", Unavailable),
    ],
)
def test_what_a_mail_server_refuses_is_an_error(
    command: str, answer: str, error: type[Exception]
) -> None:
    with smtp_server() as box:
        box.answers[command] = answer
        sink = EmailSink(f"smtp://u:p@127.0.0.1:{box.port}", ["a@x.org"], "p@x.org")
        with pytest.raises(error):
            sink.send(message())


def test_no_mail_server_is_unavailable() -> None:
    with smtp_server() as box:
        port = box.port
    with pytest.raises(Unavailable, match="does not answer"):
        EmailSink(f"smtp://127.0.0.1:{port}", ["a@x.org"], "p@x.org").send(message())


def test_a_password_is_not_sent_in_clear_text_to_another_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with smtp_server() as box:
        sink = EmailSink(f"smtp://u:p@localhost:{box.port}", ["a@x.org"], "p@x.org")
        monkeypatch.setattr("pellucid.monitoring.alerts.sinks.email._HOMES", set())
        with pytest.raises(Conflict, match="no encryption"):
            sink.send(message())
    assert not any(command.startswith("AUTH") for command in box.commands)


def test_an_email_is_encrypted_where_the_server_offers_it(tmp_path: Path) -> None:
    with smtp_server(tmp_path) as box:
        url, to = f"smtp://ada:secret@localhost:{box.port}", ["a@x.org"]
        with pytest.raises(Unavailable, match="certificate"):
            EmailSink(url, to, "p@x.org").send(message())
        assert not any(command.startswith("AUTH") for command in box.commands)
        box.encrypted = False
        EmailSink(url, to, "p@x.org", context=box.trusting).send(message())
    assert box.encrypted
    assert len(box.mails) == 1
    assert box.commands.index("STARTTLS") < [c[:4] for c in box.commands].index("AUTH")


def test_the_log_has_a_line_for_each_alert(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "pellucid.alerts")
    LogSink().send(message(alert(severity="critical"), alert("a\nFORGED line")))
    LogSink().send(message(event="resolved"))
    assert [record.levelname for record in caplog.records] == ["CRITICAL", "WARNING", "INFO"]
    assert all("\n" not in record.getMessage() for record in caplog.records)


def test_settings_name_the_sinks() -> None:
    assert list(configured(Settings())) == ["log"]
    settings = Settings(
        alert_webhook_url="https://example.com/hook",
        alert_slack_url="https://example.com/slack",
        alert_smtp_url="smtp://localhost:25",
        alert_email_to="a@x.org, b@x.org",
    )
    assert list(configured(settings)) == ["log", "webhook", "slack", "email"]


def test_a_trial_says_that_it_is_one() -> None:
    assert "Test, no alert" in trial().title
