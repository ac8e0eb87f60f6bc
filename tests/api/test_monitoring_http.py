"""What the monitor found, over HTTP: as JSON, as a page, as metrics; and labels are counted."""

from datetime import timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pellucid.analysis.watching.signals import Status
from pellucid.client import Client
from pellucid.db.base import now
from pellucid.errors import InvalidInput, NotFound
from pellucid.monitoring.watch.passes import Passes
from pellucid.monitoring.watch.results import Results
from support.monitored import HOSTILE, result

HOUR = timedelta(hours=1)


@pytest.fixture
def judged(serve, register):
    """A service whose monitor has judged three hours of version 1, the last of them in alarm."""
    register()
    client = serve()
    start = now().replace(minute=0, second=0, microsecond=0) - 4 * HOUR
    results = Results(client.services.database)
    for hours in range(3):
        at = {"start": start + hours * HOUR, "end": start + (hours + 1) * HOUR, "version": 1}
        quiet = {"signals": [], "alarms": 0, "status": Status.OK} if hours < 2 else {}
        results.save(result(**at, **quiet))
    Passes(client.services.database).note(seconds=1.5, judged=3, behind=2, failed={"other": "no"})
    return client


@pytest.fixture
def typed(judged):
    with Client(str(judged.base_url)) as client:
        yield client


def test_the_newest_window_comes_whole_and_the_others_in_pages(typed):
    first = typed.monitoring.get("credit", limit=2)
    assert first.latest is not None
    assert first.latest.status is Status.ALARM
    assert "measured performance fell" in first.latest.verdict
    assert [each.status for each in first.windows] == [Status.ALARM, Status.OK]
    rest = typed.monitoring.get("credit", cursor=first.next_cursor)
    assert rest.latest is None
    assert len(rest.windows) == 1
    assert rest.next_cursor is None


def test_windows_are_chosen_by_time_and_version(typed):
    newest = typed.monitoring.get("credit").windows[0]
    early = typed.monitoring.get("credit", until=newest.start)
    assert [each.start < newest.start for each in early.windows] == [True, True]
    late = typed.monitoring.get("credit", since=newest.start)
    assert [each.start for each in late.windows] == [newest.start]
    assert typed.monitoring.get("credit", version=7).windows == []


def test_the_report_is_a_page_in_which_nothing_else_may_run(judged, typed):
    answer = judged.get("/v1/models/credit/monitoring/report")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert HOSTILE not in answer.text
    name = typed.monitoring.get("credit").windows[1].id
    assert "No change" in typed.monitoring.report("credit", name)


def test_what_is_not_there_is_said(typed, judged):
    with pytest.raises(NotFound):
        typed.monitoring.get("nothing")
    with pytest.raises(NotFound, match="no model 'nothing'"):
        typed.monitoring.report("nothing")
    for window in ("yesterday", "1-2026-13-41T18:00:00Z-3600", "1-9999-12-31T23:00:00Z-999999999"):
        with pytest.raises(InvalidInput, match="is no window"):
            typed.monitoring.report("credit", window)
    with pytest.raises(NotFound, match="was not judged"):
        typed.monitoring.report("credit", "1-2001-01-01T00:00:00Z-3600")
    for query in ("from=2026-11-21T18:00", "version=0", "cursor=x"):
        assert judged.get(f"/v1/models/credit/monitoring?{query}").status_code == 422


def test_prometheus_sees_the_newest_windows(judged):
    found = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(judged.get("/metrics").text)
        for sample in family.samples
    }
    at = ("1", "credit")
    assert found["pellucid_monitoring_signals", *sorted([*at, "drift", "alarm"])] == 1
    assert found["pellucid_monitoring_signals", *sorted([*at, "drift", "ok"])] == 2
    assert found["pellucid_monitoring_effect_ratio", *sorted([*at, "drift"])] == pytest.approx(4.2)
    assert found["pellucid_monitoring_window_rows", *at] == 2_000
    measured = sorted([*at, "roc_auc", "measured"])
    assert found["pellucid_monitoring_performance", *measured] == 0.71
    assert found["pellucid_monitoring_performance_reference", *measured] == 0.8
    assert found[("pellucid_monitor_windows_behind",)] == 2
    assert found[("pellucid_monitor_failed_models",)] == 1
    assert found[("pellucid_monitor_last_pass_timestamp_seconds",)] > 1e9
    text = judged.get("/metrics").text
    assert "amount" not in text, "columns are no labels"


def test_labels_are_counted(judged):
    old = {"id": "019aa8f2-7bbd-7cbb-8f7e-5b1c2d3e4f50", "label": "good"}
    assert judged.post("/v1/feedback", json=old).status_code == 200
    assert 'pellucid_feedback_labels_total{answer="late"} 1.0' in judged.get("/metrics").text


@pytest.mark.parametrize(
    "asked",
    [
        {"from": "0001-01-01T00:00:00+14:00"},
        {"to": "9999-12-31T23:59:59-14:00"},
        {"version": "9" * 30},
        {"cursor": "20260101T000000-" + "9" * 40},
    ],
)
def test_what_no_window_can_have_is_a_problem(credit, asked):
    answer = credit.get("/v1/models/credit/monitoring", params=asked)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
