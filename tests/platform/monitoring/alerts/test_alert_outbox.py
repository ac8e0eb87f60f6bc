"""Delivery: once, in order, however long a sink is down."""

from datetime import timedelta

import pytest

from pellucid.db.session import Database
from pellucid.errors import DatabaseUnavailable
from pellucid.monitoring.alerts import history, outbox
from pellucid.monitoring.alerts.engine import evaluate, sweep
from pellucid.monitoring.alerts.outbox import deliver
from support.alerting import DOWN, REFUSED, FakeSink, seconds, signal


def alarm(database: Database, second: float, *subjects: str, status: str = "alarm") -> None:
    found = [signal(status, subject=subject) for subject in subjects]
    evaluate(database, "credit", 1, seconds(second), found, now=seconds(second))


def events_of(database: Database) -> list[str]:
    (alert,) = history.listed(database).items
    return [event.kind for event in history.get(database, alert.id).events]


def test_a_sink_that_was_down_for_ten_minutes_gets_everything_once_and_in_order(
    database: Database,
) -> None:
    down, up = FakeSink(DOWN), FakeSink()
    sinks = {"webhook": down, "slack": up}
    alarm(database, 0, "auc")
    for second in range(0, 900, 5):  # the monitor's passes
        if second == 300:
            alarm(database, second, "recall")
        if second == 400:
            alarm(database, second, "auc", status="ok")
        down.error = DOWN if second < 600 else None
        sweep(database, seconds(second))
        deliver(database, sinks, seconds(second))
    expected = [("firing", ("auc",)), ("firing", ("recall",)), ("resolved", ("auc",))]
    assert down.told == up.told == expected
    assert down.tried - len(down.taken) < 15  # rests grow
    assert len({message.id for message in down.taken}) == 3


def test_a_message_that_is_tried_again_has_the_same_id(database: Database) -> None:
    sent = []

    class Slow(FakeSink):
        def send(self, message):  # type: ignore[no-untyped-def]
            sent.append(message)
            if len(sent) == 1:
                raise DOWN  # it took the message, and then answered too late

    alarm(database, 0, "auc", "recall")
    sink = Slow()
    assert deliver(database, {"webhook": sink}, seconds(0)) == 0
    assert deliver(database, {"webhook": sink}, seconds(1)) == 0  # it rests
    assert deliver(database, {"webhook": sink}, seconds(6)) == 1
    assert sent[0] == sent[1]
    assert len(sent[0].alerts) == 2


def test_a_sender_that_died_on_the_way_is_replaced(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    alarm(database, 0, "auc")
    sink = FakeSink()

    def die(*_: object) -> None:
        raise DatabaseUnavailable("gone")

    monkeypatch.setattr(outbox, "_finish", die)
    with pytest.raises(DatabaseUnavailable):
        deliver(database, {"webhook": sink}, seconds(0))
    monkeypatch.undo()
    assert deliver(database, {"webhook": sink}, seconds(60)) == 0
    assert deliver(database, {"webhook": sink}, seconds(121)) == 1
    assert sink.taken[0] == sink.taken[1]  # at least once, with the same id


def test_a_slow_pass_sends_nothing_that_another_sends(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    past = 0.0
    monkeypatch.setattr(outbox, "monotonic", lambda: past)
    other = FakeSink()

    class Slow(FakeSink):
        def send(self, message):  # type: ignore[no-untyped-def]
            nonlocal past
            past += 70
            deliver(database, {"webhook": other}, seconds(past))
            super().send(message)

    for second, subject in enumerate(("auc", "recall", "f1")):
        alarm(database, second, subject)
    slow = Slow()
    assert deliver(database, {"webhook": slow}, seconds(3)) == 3
    assert (len(slow.taken), other.taken) == (3, [])


def test_a_rest_begins_when_the_sink_has_failed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    past = 0.0
    monkeypatch.setattr(outbox, "monotonic", lambda: past)

    class Hangs(FakeSink):
        def send(self, message):  # type: ignore[no-untyped-def]
            nonlocal past
            past += 60
            super().send(message)

    alarm(database, 0, "auc")
    sink = Hangs(DOWN)
    deliver(database, {"webhook": sink}, seconds(0))
    deliver(database, {"webhook": sink}, seconds(61))
    assert sink.tried == 1


def test_a_clock_that_is_set_back_holds_up_nothing(database: Database) -> None:
    tomorrow = 86400
    alarm(database, tomorrow, "auc")
    sink = FakeSink(DOWN)
    deliver(database, {"webhook": sink}, seconds(tomorrow))
    sink.error = None
    alarm(database, tomorrow, "recall")
    assert deliver(database, {"webhook": sink}, seconds(1)) == 2


def test_a_message_that_is_refused_is_given_up_and_those_behind_it_are_not(
    database: Database,
) -> None:
    alarm(database, 0, "auc")
    sink = FakeSink(REFUSED)
    for second in range(0, 600, 5):
        deliver(database, {"webhook": sink}, seconds(second))
    assert sink.tried == 6
    assert events_of(database) == ["opened", "fired", "undelivered"]
    sink.error = None
    alarm(database, 700, "auc", status="ok")
    deliver(database, {"webhook": sink}, seconds(700))
    assert sink.told == []  # who never heard of an alert does not hear of its end
    alarm(database, 800, "recall")
    deliver(database, {"webhook": sink}, seconds(800))
    assert sink.told == [("firing", ("recall",))]


def test_a_sink_that_is_down_for_days_is_given_up(database: Database) -> None:
    alarm(database, 0, "auc")
    sink = FakeSink(DOWN)
    for day in range(5):
        deliver(database, {"webhook": sink}, seconds(86400 * day))
    assert sink.tried == 5  # the fifth, after four days, was the last
    assert events_of(database)[-1] == "undelivered"


def test_a_sinks_bug_stops_no_other_sink(database: Database) -> None:
    alarm(database, 0, "auc")
    broken, fine = FakeSink(KeyError("a bug")), FakeSink()
    assert deliver(database, {"webhook": broken, "slack": fine}, seconds(0)) == 1
    assert fine.told == [("firing", ("auc",))]


def test_what_waits_for_a_sink_without_settings_is_dropped(database: Database) -> None:
    alarm(database, 0, "auc")
    deliver(database, {}, seconds(0))
    late = FakeSink()
    assert deliver(database, {"webhook": late}, seconds(10)) == 0


def test_the_history_says_who_was_told_what(database: Database) -> None:
    alarm(database, 0, "auc")
    deliver(database, {"webhook": FakeSink(), "slack": FakeSink()}, seconds(1))
    (alert,) = history.listed(database).items
    found = [event for event in history.get(database, alert.id).events if event.kind == "notified"]
    assert [(e.data["sink"], e.data["of"]) for e in found] == [
        ("webhook", "firing"),
        ("slack", "firing"),
    ]


def test_rests_double_up_to_five_minutes() -> None:
    for attempts, longest in ((1, 5), (2, 10), (5, 80), (7, 300), (1000, 300)):
        for _ in range(20):
            assert longest / 2 <= outbox.rest(attempts) / timedelta(seconds=1) <= longest
