"""Alerts fire, resolve, escalate and expire as windows and time say."""

from datetime import datetime, timedelta
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pellucid.db.session import Database
from pellucid.db.upgrade import upgrade
from pellucid.monitoring.alerts import history, rulebook, silences
from pellucid.monitoring.alerts.engine import evaluate, sweep
from pellucid.monitoring.alerts.outbox import deliver
from pellucid.monitoring.alerts.resources import (
    Alert,
    WantedAcknowledgement,
    WantedRules,
    WantedSilence,
)
from pellucid.monitoring.alerts.rules import Escalation, Match, Rule
from support.alerting import FakeSink, hours, seconds, signal


class Watch:
    """A model that is watched: windows of an hour, and a sink that takes everything."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.sink = FakeSink()
        self.hour = 0

    def rule(self, **rule: Any) -> None:
        rulebook.replace(self.database, WantedRules(rules=(Rule(name="r", **rule),), by="ada"))

    def window(self, *signals: Any, hour: int | None = None) -> None:
        self.hour = self.hour + 1 if hour is None else hour
        found = [signal(each) if isinstance(each, str) else each for each in signals]
        moment = hours(self.hour)
        evaluate(self.database, "credit", 1, moment, found, now=moment)
        self.deliver(moment)

    def deliver(self, moment: datetime) -> None:
        sweep(self.database, moment)
        deliver(self.database, {"log": self.sink}, moment)

    @property
    def alerts(self) -> list[Alert]:
        return history.listed(self.database, limit=500).items

    @property
    def states(self) -> list[str]:
        return [alert.state for alert in self.alerts]

    @property
    def events(self) -> list[str]:
        return [event for event, _ in self.sink.told]

    def kinds(self) -> list[str]:
        return [e.kind for e in history.get(self.database, self.alerts[0].id).events]


@pytest.fixture
def watch(database: Database) -> Watch:
    return Watch(database)


def test_an_alarm_fires_and_an_ok_window_resolves(watch: Watch) -> None:
    watch.window("ok")
    assert watch.alerts == []
    watch.window("alarm")
    (alert,) = watch.alerts
    assert (alert.state, alert.severity, alert.rule) == ("firing", "critical", "performance")
    assert alert.first_seen == alert.last_seen == hours(2)
    assert alert.signal["effect"] == 0.09
    watch.window("ok")
    assert watch.states == ["resolved"]
    assert watch.events == ["firing", "resolved"]
    assert watch.kinds() == ["opened", "fired", "notified", "resolved", "notified"]


@pytest.mark.parametrize("silent", ["unclear", "absent"])
def test_windows_that_cannot_tell_neither_fire_nor_resolve(watch: Watch, silent: str) -> None:
    watch.window(silent)
    assert watch.alerts == []
    watch.window("alarm")
    watch.window(silent)
    watch.window()  # the signal is not there at all
    assert watch.states == ["firing"]
    watch.window("ok")
    assert watch.states == ["resolved"]


def test_an_alert_may_need_windows_in_a_row(watch: Watch) -> None:
    watch.rule(for_windows=3, resolve_after=2)
    watch.window("alarm")
    watch.window("alarm")
    assert watch.states == ["pending"]
    watch.window("ok")
    assert watch.alerts == []  # it never fired: no trace
    for status in ("alarm", "unclear", "alarm", "alarm"):
        watch.window(status)
    assert watch.states == ["firing"]
    watch.window("ok")
    watch.window("alarm")
    watch.window("ok")
    assert watch.states == ["firing"]
    watch.window("ok")
    assert watch.states == ["resolved"]
    assert watch.events == ["firing", "resolved"]


def test_an_alert_may_need_time(watch: Watch) -> None:
    watch.rule(for_seconds=2 * 3600)
    watch.window("alarm")
    watch.window("alarm")
    assert watch.states == ["pending"]
    watch.window("alarm")
    assert watch.states == ["firing"]


def test_the_next_alarm_after_a_resolution_is_another_alert(watch: Watch) -> None:
    for status in ("alarm", "ok", "alarm"):
        watch.window(status)
    assert watch.states == ["firing", "resolved"]
    assert watch.events == ["firing", "resolved", "firing"]


def test_a_storm_is_one_notification_and_one_resolution(watch: Watch) -> None:
    for number in range(300):
        evaluate(watch.database, "credit", 1, seconds(number), [signal()], now=seconds(number))
    watch.deliver(seconds(300))
    watch.hour = 1
    watch.window("ok")
    assert watch.events == ["firing", "resolved"]
    assert len(watch.alerts) == 1


@pytest.mark.slow
def test_a_storm_of_ten_thousand(watch: Watch) -> None:
    for number in range(10_000):
        evaluate(watch.database, "credit", 1, seconds(number), [signal()], now=seconds(number))
        if number % 100 == 0:
            watch.deliver(seconds(number))
    watch.hour = 3
    watch.window("ok")
    assert watch.events == ["firing", "resolved"]


def test_a_window_told_twice_counts_once_and_a_late_one_not_at_all(watch: Watch) -> None:
    watch.rule(for_windows=2)
    watch.window("alarm", hour=5)
    watch.window("alarm", hour=5)
    watch.window("alarm", hour=4)
    assert watch.states == ["pending"]
    watch.window("alarm", hour=6)
    watch.window("ok", hour=3)
    assert watch.states == ["firing"]


@pytest.mark.parametrize("unclear", ["unclear", "absent"])
def test_a_window_that_is_unclear_in_between_counts_once(watch: Watch, unclear: str) -> None:
    watch.rule(for_windows=2, resolve_after=2)
    for status in ("alarm", unclear, "alarm"):
        watch.window(status, hour=1)
    assert watch.states == ["pending"]
    watch.window("alarm", hour=2)
    assert watch.states == ["firing"]
    for status in ("ok", unclear, "ok"):
        watch.window(status, hour=3)
    assert watch.states == ["firing"]
    watch.window("ok", hour=4)
    assert watch.states == ["resolved"]


def test_a_window_that_is_unclear_at_first_counts_when_it_is_not(watch: Watch) -> None:
    watch.rule(for_windows=2)
    watch.window("alarm", hour=1)
    for status in ("unclear", "alarm"):
        watch.window(status, hour=2)
    assert watch.states == ["firing"]


def test_alarms_of_one_window_are_one_message(watch: Watch) -> None:
    watch.window(*(signal(subject=f"metric {number}") for number in range(50)))
    ((event, subjects),) = watch.sink.told
    assert event == "firing"
    assert len(set(subjects)) == 50


def test_several_tests_of_a_subject_are_one_alert(watch: Watch) -> None:
    watch.window(signal("ok", statistic="ks"), signal(statistic="wasserstein"), signal("unclear"))
    assert watch.states == ["firing"]


def test_versions_alarm_by_themselves(watch: Watch) -> None:
    for version in (1, 2):
        evaluate(watch.database, "credit", version, hours(1), [signal()], now=hours(1))
    evaluate(watch.database, "credit", 2, hours(2), [signal("ok")], now=hours(2))
    assert {alert.version: alert.state for alert in watch.alerts} == {1: "firing", 2: "resolved"}


def test_a_signal_that_no_rule_fits_raises_nothing(watch: Watch) -> None:
    watch.rule(match=Match(kinds=("bias",)))
    watch.window("alarm")
    assert watch.alerts == []


def test_an_effect_that_grows_raises_the_severity_once(watch: Watch) -> None:
    rules = (
        Rule(name="large", min_effect=0.5, severity="critical"),
        Rule(name="small", severity="warning"),
    )
    rulebook.replace(watch.database, WantedRules(rules=rules, by="ada"))
    for effect in (0.1, 0.6, 0.1, 0.7):
        watch.window(signal(effect=effect))
    (alert,) = watch.alerts
    assert (alert.severity, alert.rule) == ("critical", "large")
    assert watch.events == ["firing", "raised-critical"]


def silence(watch: Watch, until: float, **match: Any) -> str:
    wanted = WantedSilence(match=Match(**match), until=hours(until), by="ada", reason="a release")
    return silences.add(watch.database, wanted, hours(watch.hour)).id


def test_a_silenced_alert_is_kept_and_told_after_the_silence(watch: Watch) -> None:
    silence(watch, 3)
    watch.window("alarm")
    assert watch.alerts[0].silenced
    assert watch.states == ["firing"]
    assert watch.events == []
    watch.deliver(hours(3.5))
    assert not watch.alerts[0].silenced
    assert watch.events == ["firing"]
    assert watch.kinds() == ["opened", "fired", "silenced", "unsilenced", "notified"]


def test_what_fires_and_resolves_within_a_silence_is_never_told(watch: Watch) -> None:
    silence(watch, 3)
    watch.window("alarm")
    watch.window("ok")
    watch.deliver(hours(4))
    assert watch.states == ["resolved"]
    assert watch.events == []


def test_a_silence_of_something_else_changes_nothing(watch: Watch) -> None:
    silence(watch, 3, kinds=("bias",))
    silence(watch, 3, model="fraud")
    watch.window("alarm")
    assert watch.events == ["firing"]


def test_what_was_told_before_a_silence_is_resolved_aloud(watch: Watch) -> None:
    watch.window("alarm")
    silence(watch, 5)
    watch.window("ok")
    assert watch.events == ["firing", "resolved"]


def test_a_lifted_silence_tells_at_once(watch: Watch) -> None:
    identity = silence(watch, 100)
    watch.window("alarm")
    lifted = silences.lift(watch.database, identity, "bob", hours(1))
    assert (lifted.lifted_by, lifted.lifted_at) == ("bob", hours(1))
    watch.deliver(hours(1))
    assert watch.events == ["firing"]
    again = silences.lift(watch.database, identity, "eve", hours(2))
    assert again.lifted_by == "bob"
    assert silences.listed(watch.database, moment=hours(2)).items == []
    assert [each.id for each in silences.listed(watch.database, all_=True).items] == [identity]


_VERSIONS = count(1)
ESCALATION = Escalation(after_seconds=3600, sinks=("slack",))


def test_a_silenced_alert_that_never_fires_leaves_no_trace(watch: Watch) -> None:
    watch.rule(for_windows=2)
    silence(watch, 1.5)
    watch.window("alarm")
    assert watch.alerts[0].silenced
    evaluate(watch.database, "credit", 1, hours(2), [signal("ok")], now=hours(2))
    assert watch.alerts == []


def test_an_old_window_that_is_judged_again_opens_nothing_after_a_resolution(watch: Watch) -> None:
    watch.window("alarm", hour=5)
    watch.window("ok", hour=6)
    watch.window("alarm", hour=4)
    assert watch.states == ["resolved"]
    watch.window(signal("alarm", summary="Now with more labels."), hour=7)
    watch.window(signal("alarm", summary="Now with all labels."), hour=7)
    assert watch.alerts[0].summary == "Now with all labels."


def test_an_alert_that_nobody_acknowledges_escalates_once(watch: Watch) -> None:
    watch.rule(sinks=("log",), escalate=ESCALATION)
    slack = FakeSink()
    watch.window("alarm")
    for minutes in (59, 60, 61, 600):
        moment = hours(1) + timedelta(minutes=minutes)
        sweep(watch.database, moment)
        deliver(watch.database, {"log": watch.sink, "slack": slack}, moment)
        assert len(slack.taken) == (minutes >= 60)
    watch.hour = 20
    evaluate(watch.database, "credit", 1, hours(20), [signal("ok")], now=hours(20))
    deliver(watch.database, {"log": watch.sink, "slack": slack}, hours(20))
    assert [event for event, _ in slack.told] == ["escalated", "resolved"]
    assert watch.events == ["firing", "resolved"]


def test_after_a_silence_there_is_time_to_acknowledge(watch: Watch) -> None:
    watch.rule(escalate=Escalation(after_seconds=7200, sinks=("log",)))
    silences.add(
        watch.database, WantedSilence(until=hours(5), by="ada", reason="a release"), hours(0)
    )
    watch.window("alarm")
    watch.deliver(hours(5.1))
    assert watch.events == ["firing"]
    watch.deliver(hours(7))
    assert watch.events == ["firing"]
    watch.deliver(hours(7.2))
    assert watch.events == ["firing", "escalated"]


def test_an_acknowledged_alert_does_not_escalate(watch: Watch) -> None:
    watch.rule(escalate=ESCALATION)
    watch.window("alarm")
    wanted = WantedAcknowledgement(by="ada", note="Looking.")
    alert = history.acknowledge(watch.database, watch.alerts[0].id, wanted, hours(1.5))
    assert (alert.acknowledged_by, alert.acknowledged_at, alert.note) == (
        "ada",
        hours(1.5),
        "Looking.",
    )
    watch.deliver(hours(9))
    assert watch.alerts[0].escalated_at is None
    assert "escalated" not in watch.kinds()


def test_a_forgotten_alert_expires(watch: Watch) -> None:
    watch.rule(expire_after_seconds=86400)
    watch.window("alarm")
    watch.deliver(hours(20))
    assert watch.states == ["firing"]
    watch.deliver(hours(26))
    assert watch.states == ["resolved"]
    assert watch.events == ["firing", "resolved"]
    assert "expired" in watch.kinds()


def test_rules_that_change_keep_open_alerts_and_their_history(watch: Watch) -> None:
    watch.window("alarm")
    watch.rule(match=Match(kinds=("bias",)))
    watch.window("ok")
    assert watch.states == ["resolved"]
    assert rulebook.in_force(watch.database).by == "ada"


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    statuses=st.lists(st.sampled_from(["alarm", "ok", "unclear", "absent"]), max_size=12),
    for_windows=st.integers(1, 3),
    resolve_after=st.integers(1, 3),
)
def test_every_firing_is_told_once_and_resolved_at_most_once(
    database: Database, statuses: list[str], for_windows: int, resolve_after: int
) -> None:
    """Against the rule said in words: n alarms in a row fire, m ok windows in a row resolve."""
    watch = Watch(database)
    number = next(_VERSIONS)
    watch.rule(for_windows=for_windows, resolve_after=resolve_after)
    expected, firing, alarms, oks = [], False, 0, 0
    for hour, status in enumerate(statuses):
        alarms = alarms + 1 if status == "alarm" else 0 if status == "ok" else alarms
        oks = oks + 1 if status == "ok" else 0 if status == "alarm" else oks
        if not firing and alarms >= for_windows:
            firing = True
            expected.append("firing")
        elif firing and oks >= resolve_after:
            firing = False
            expected.append("resolved")
        evaluate(database, "m", number, hours(hour), [signal(status)], now=hours(hour))
        deliver(database, {"log": watch.sink}, hours(hour))
    assert watch.events == expected


def test_on_postgresql_two_monitors_open_one_alert(postgres_url: str) -> None:
    from concurrent.futures import ThreadPoolExecutor

    upgrade(postgres_url)
    database = Database(postgres_url)
    watch = Watch(database)
    with ThreadPoolExecutor(4) as executor:
        for _ in range(20):
            executor.submit(evaluate, database, "credit", 1, hours(1), [signal()], now=hours(1))
    watch.deliver(hours(1))
    assert watch.states == ["firing"]
    silence(watch, 3, model="nothing")
    history.acknowledge(database, watch.alerts[0].id, WantedAcknowledgement(by="ada"))
    watch.hour = 1
    watch.window("ok")
    assert watch.events == ["firing", "resolved"]
    database.close()
