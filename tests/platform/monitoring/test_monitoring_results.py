"""Which windows are due, what is kept of them, and what they say together."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.analysis.watching.signals import Signal, Status
from pellucid.db.base import Base, now
from pellucid.db.session import Database
from pellucid.errors import InvalidInput, Unavailable
from pellucid.monitoring.checks.verdicts import overall, subject, verdict
from pellucid.monitoring.watch.passes import Passes
from pellucid.monitoring.watch.reports import Reports
from pellucid.monitoring.watch.results import Results
from pellucid.monitoring.watch.schedule import MINUTE, by_rows, due, floor
from pellucid.tracking.memory import MemoryTracker
from support.monitored import HOUR, START, result, signal

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        found = Database(f"sqlite:///{tmp_path / 'pellucid.db'}")
    else:
        found = Database(request.getfixturevalue("postgres_server").create_database())
    Base.metadata.create_all(found.engine)
    yield found
    found.close()


@given(
    now_=st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)).map(
        lambda t: t.replace(tzinfo=UTC)
    ),
    ago=st.integers(0, 10**6),
    seconds=st.sampled_from([60, 900, 3600, 86_400]),
    lateness=st.integers(0, 4000),
    most=st.integers(1, 20),
)
def test_windows_follow_each_other_up_to_the_newest(
    now_: datetime, ago: int, seconds: int, lateness: int, most: int
) -> None:
    last = floor(now_ - timedelta(seconds=ago), seconds)
    found = due(now_, last, seconds, lateness, most)
    for span in found.spans:
        assert span.end - span.start == timedelta(seconds=seconds)
        assert span.start == floor(span.start, seconds)
        assert span.end + timedelta(seconds=lateness) <= now_
    assert all(a.end == b.start for a, b in zip(found.spans, found.spans[1:], strict=False))
    assert len(found.spans) <= most
    if found.spans:
        assert found.spans[0].start == last + found.skipped * timedelta(seconds=seconds)
        after = due(now_, found.spans[-1].end, seconds, lateness, most)
        assert after.spans == []


def test_the_first_window_ever_is_the_newest() -> None:
    (span,) = due(NOON + timedelta(minutes=5), None, 3600, 300, 9).spans
    assert span == (NOON - HOUR, NOON)
    (early,) = due(NOON + timedelta(minutes=4), None, 3600, 300, 9).spans
    assert early.end == NOON - HOUR


def test_a_result_comes_back_as_it_was_and_the_newest_judgement_counts(database: Database) -> None:
    results, found = Results(database), result()
    results.save(found)
    assert results.window("credit", found.id) == found
    again = found.model_copy(update={"rows": 7, "judged_at": now()})
    results.save(again)
    assert [each.rows for each in results.page("credit").windows] == [7]
    assert results.last_end("credit", 3) == found.end
    assert results.before("credit", 3, found.end) is not None
    assert results.before("credit", 3, found.start) is None


def test_windows_that_are_incomplete_or_asked_for_leave_the_schedule_alone(
    database: Database,
) -> None:
    results = Results(database)
    results.save(result(complete=False))
    results.save(result(start=START + HOUR, end=START + 2 * HOUR, scheduled=False))
    assert results.last_end("credit", 3) is None
    assert results.before("credit", 3, START + 9 * HOUR) is None
    assert results.before("credit", 3, START + 9 * HOUR, scheduled=False) is not None
    results.save(result())
    assert results.last_end("credit", 3) == START + HOUR
    assert [each.end for each in results.newest()] == [START + HOUR]


def test_pages_hold_every_window_once(database: Database) -> None:
    results = Results(database)
    for hours in range(7):
        for version in (1, 2):
            at = {"start": START + hours * HOUR, "end": START + (hours + 1) * HOUR}
            results.save(result(version=version, **at))
    seen, cursor = [], None
    while True:
        page = results.page("credit", cursor=cursor, limit=3)
        seen += [(each.end, each.version) for each in page.windows]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert len(set(seen)) == len(seen) == 14
    assert [end for end, _ in seen] == sorted((end for end, _ in seen), reverse=True)
    with pytest.raises(InvalidInput):
        results.page("credit", cursor="yesterday")
    assert {(each.version, each.end) for each in results.newest()} == {
        (1, START + 7 * HOUR),
        (2, START + 7 * HOUR),
    }


def test_old_results_go(database: Database) -> None:
    results, fresh = Results(database), floor(now(), 3600)
    results.save(result(start=fresh - 11 * 24 * HOUR, end=fresh - 10 * 24 * HOUR))
    results.save(result(start=fresh - HOUR, end=fresh))
    assert results.sweep(9) == 1
    assert [each.end for each in results.page("credit").windows] == [fresh]


def test_whether_a_monitor_works(database: Database) -> None:
    passes = Passes(database)
    with pytest.raises(Unavailable, match="has not worked yet"):
        passes.require_recent()
    passes.note(seconds=1.0, judged=2, behind=1, failed={"credit": "why"})
    passes.require_recent()
    passes.beat()
    last = passes.last()
    assert last is not None
    assert (last.judged, last.behind, last.failed) == (2, 1, {"credit": "why"})


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (["ok", "alarm", "absent"], "alarm"),
        (["ok", "unclear", "absent"], "ok"),
        (["unclear", "absent"], "unclear"),
        (["absent"], "absent"),
        ([], "absent"),
    ],
)
def test_one_status_stands_for_many(statuses: list[str], expected: str) -> None:
    signals = [signal("drift", "a", Status(each)) for each in statuses]
    assert overall(signals) == expected


def test_few_rows_are_no_all_clear_and_rows_alone_are_no_finding() -> None:
    fine = signal("drift", "amount")
    few = signal("traffic", "rows", Status.UNCLEAR)
    assert overall([fine, few]) is Status.UNCLEAR
    assert overall([signal("traffic", "rows"), signal("traffic", "profile", Status.ABSENT)]) is (
        Status.ABSENT
    )
    assert overall([signal("drift", "amount", Status.ALARM), few]) is Status.ALARM


def test_headlines_name_what_hurts_most_and_count_the_rest() -> None:
    def alarm(kind: str, name: str, importance: float | None = None) -> Signal:
        return signal(kind, name, Status.ALARM, importance=importance)

    found = [
        alarm("drift", "a", 0.1), alarm("drift", "b", 0.4), alarm("bias", "recall by sex"),
        alarm("output", "outputs.probabilities.bad"), alarm("missing", "c"),
        alarm("performance", "roc_auc"),
    ]  # fmt: skip
    assert verdict(found, 10) == (
        "The measured performance fell (roc_auc), the model's answers moved (score of bad), "
        "2 input columns drift (b, a) and 2 more alarms."
    )
    assert verdict([signal("drift", "a")], 1234) == (
        "Nothing changed that is both certain and large enough to matter, in 1,234 rows."
    )
    assert subject("outputs.value") == "predicted value"


def test_reports_wait_for_mlflow(tmp_path: Path) -> None:
    tracker = MemoryTracker(tmp_path / "registry")
    run = tracker.open_run("job", "credit", {})
    reports, found = Reports(tmp_path / "reports", tracker), result()
    found = found.model_copy(update={"figures": found.figures.model_copy(update={"run_id": run})})
    tracker.down = True
    path = reports.write(found, "<p>A report</p>")
    assert reports.log() == 0
    assert path.read_text() == "<p>A report</p>"
    tracker.down = False
    assert reports.log() == 1
    assert reports.log() == 0
    assert list(tracker.runs[run].artifacts) == ["monitoring/2026-11-21/180000-3600s.html"]


@given(
    first=st.integers(0, 200),
    counts=st.lists(st.integers(0, 9) | st.just(0), max_size=150),
    minutes=st.integers(1, 90),
    rows=st.integers(1, 30),
)
def test_windows_by_rows_follow_each_other_and_end_as_soon_as_they_may(
    first: int, counts: list[int], minutes: int, rows: int
) -> None:
    start = NOON + timedelta(minutes=first)
    at = int(start.timestamp() // MINUTE)
    of_minute = {at + place: many for place, many in enumerate(counts)}
    end = start + timedelta(minutes=len(counts))
    found = by_rows(start, end, 60 * minutes, rows, of_minute)
    assert [each.start for each in found] == [start, *(each.end for each in found)][: len(found)]

    def within(since: datetime, until: datetime) -> int:
        span = range(int(since.timestamp() // MINUTE), int(until.timestamp() // MINUTE))
        return sum(of_minute.get(minute, 0) for minute in span)

    for span in found:
        on_time = span.end == floor(span.end, 60 * minutes)
        assert on_time or within(*span) >= rows
        assert within(span.start, span.end - timedelta(minutes=1)) < rows
        assert span.end - span.start <= timedelta(minutes=minutes)
    left = found[-1].end if found else start
    assert within(left, end) < rows
    assert end - left < timedelta(minutes=minutes)


def test_all_windows_are_told_however_many(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pellucid.monitoring.watch.results._PAGE", 3)
    results = Results(database)
    starts = [START + hours * HOUR for hours in range(8)]
    for start in starts:
        results.save(result(start=start, end=start + HOUR))
    told = list(results.windows("credit", START + HOUR))
    assert [each.start for each in told] == starts[:0:-1]
    assert results.same(told[0]) is not None
    assert results.same(told[0].model_copy(update={"version": 9})) is None
    assert results.follows("credit", 3, START, START + HOUR)
    assert not results.follows("credit", 3, START, START + 2 * HOUR)
