"""The monitor: every window judged once, in its order, whatever a window holds."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from pellucid.analysis.watching.signals import Signal, Status
from pellucid.bundle import Input
from pellucid.errors import (
    Conflict,
    DatabaseUnavailable,
    InvalidInput,
    NotFound,
    TrackerUnavailable,
)
from pellucid.monitoring.alerts import history
from pellucid.monitoring.checks.judging import Case, Findings, Question
from pellucid.monitoring.checks.questions import QUESTIONS
from pellucid.monitoring.profiles.windows import Window
from pellucid.monitoring.watch import inspector
from pellucid.monitoring.watch.inspector import Inspector
from pellucid.monitoring.watch.lock import held
from pellucid.monitoring.watch.passes import Passes
from pellucid.monitoring.watch.resources import WindowResult
from pellucid.monitoring.watch.results import Results
from pellucid.schema import Kind
from pellucid.tracking.contract import CHALLENGER
from support.watched import HOUR, Watched, hour, rows, still

MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    still(monkeypatch)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    found = Watched(tmp_path)
    yield found
    found.database.close()


def status(result: WindowResult, key: str) -> Status | None:
    return next((each.status for each in result.signals if each.key == key), None)


def test_a_shift_is_found_dated_reported_and_logged(watched: Watched) -> None:
    watched.version()
    for back, shift in ((2, 0.0), (1, 1.5), (0, 1.5)):
        watched.predict(hour(back) + MINUTE, rows(1_000, back + 1, shift))
    quiet, first, second = watched.monitor().once().results
    assert status(quiet, "drift:amount") is not Status.ALARM
    assert first.status is Status.ALARM
    assert status(first, "drift:purpose") is not Status.ALARM
    (since,) = {each.since for each in second.signals if each.key == "drift:amount"}
    assert since == first.start == hour(1)
    assert "amount" in second.verdict
    run = watched.registry.runs[second.figures.run_id or ""]
    pages = sorted(name for name in run.artifacts if name.endswith(".html"))
    assert len(pages) == 3
    assert all(name.startswith("monitoring/20") for name in pages)
    reports = watched.settings.home / "monitoring" / "reports"
    assert len(list(reports.rglob("*.html"))) == 3
    assert not list(reports.rglob("*.unlogged"))
    assert second.figures.columns[0].column == "amount"


def test_a_model_whose_name_no_directory_holds_is_watched_too(watched: Watched) -> None:
    name = "credit-" + "é" * 90  # percent-encoded, 547 characters
    watched.version(name)
    watched.predict(hour(0) + MINUTE, rows(500, 1), name=name)
    (result,) = watched.monitor().once().results
    assert (result.model, result.rows) == (name, 500)
    assert len(list((watched.settings.home / "monitoring" / "reports").rglob("*.html"))) == 1


def test_nothing_of_a_window_is_kept_for_ever(watched: Watched) -> None:
    watched.version()
    watched.predict(hour(1) + MINUTE, rows(500, 1))
    inspector = Inspector(watched.settings, watched.database, watched.registry, watched.registry)
    window = Window("credit", 1, hour(1), hour(0))
    (model,) = watched.registry.models()
    inspector.inspect(model, window)
    profiles = watched.settings.home / "monitoring" / "profiles"
    assert len(list(profiles.rglob("*.json.gz"))) == 1
    inspector.sweep(1)
    assert len(list(profiles.rglob("*.json.gz"))) == 1
    inspector.sweep(-1)  # all that ended before tomorrow
    assert not list(profiles.rglob("*.json.gz"))
    assert inspector.results.last_end("credit", 1) is None


def test_no_window_is_judged_twice_and_missed_ones_are_caught_up(watched: Watched) -> None:
    watched.version()
    watched.predict(hour(3) + MINUTE, rows(300, 1))
    monitor = watched.monitor()
    assert [each.start for each in monitor.once().results] == [hour(n) for n in (3, 2, 1, 0)]
    assert monitor.once().results == []
    assert watched.monitor().once().results == []
    last = Passes(watched.database).last()
    assert last is not None
    assert (last.judged, last.behind, last.failed) == (0, 0, {})


def test_what_was_missed_too_long_ago_is_given_up(tmp_path: Path) -> None:
    watched = Watched(tmp_path, monitor_catch_up=2)
    watched.version()
    for back in (6, 1, 0):
        watched.predict(hour(back) + MINUTE, rows(300, back))
    assert [each.start for each in watched.monitor().once().results] == [hour(1), hour(0)]
    watched.database.close()


def test_windows_end_by_rows_where_they_come_fast(tmp_path: Path) -> None:
    watched = Watched(tmp_path, monitor_rows=500)
    watched.version()
    at = hour(1)
    for minute, many in ((2, 200), (3, 350), (10, 100), (30, 900), (70, 50)):
        watched.predict(at + minute * MINUTE, rows(many, minute))
    found = [each for each in watched.monitor().once().results if each.rows]
    expected = [(0, 4, 550), (4, 31, 1000), (60, 120, 50)]
    assert [
        ((each.start - at) // MINUTE, (each.end - at) // MINUTE, each.rows) for each in found
    ] == expected
    assert watched.monitor().once().results == []
    watched.database.close()


def test_challengers_are_judged_where_they_had_traffic(watched: Watched) -> None:
    watched.version()
    watched.version(alias=CHALLENGER)
    watched.predict(hour(2) + MINUTE, rows(300, 1))
    watched.predict(hour(0) + MINUTE, rows(300, 2), version=2)
    found = watched.monitor().once().results
    assert {(each.version, each.start) for each in found if each.rows} == {
        (1, hour(2)),
        (2, hour(0)),
    }
    assert all(each.status is Status.ABSENT for each in found if not each.rows)


def test_a_version_without_a_profile_is_told_so(watched: Watched) -> None:
    watched.version(profiled=False)
    watched.predict(hour(0) + MINUTE, rows(500, 1))
    result = watched.monitor().once().results[-1]
    assert (result.rows, result.status) == (500, Status.ABSENT)
    (said,) = [each.summary for each in result.signals if each.subject == "profile"]
    assert "Train the model here again" in said


def test_a_model_made_elsewhere_is_told_so(watched: Watched, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"an ONNX model")
    watched.registry.register_onnx("run-x", "credit", tmp_path / "model.onnx", {})
    watched.registry.set_alias("credit", "champion", 1)
    watched.predict(hour(0) + MINUTE, rows(500, 1))
    result = watched.monitor().once().results[-1]
    assert result.rows == 500
    assert "made elsewhere" in result.verdict


def test_rows_of_the_future_are_counted_and_told(watched: Watched) -> None:
    watched.version()
    watched.predict(hour(0) + MINUTE, rows(500, 1))
    watched.predict(datetime.now(UTC) + 3 * HOUR, rows(7, 2))
    result = watched.monitor().once().results[-1]
    (clock,) = [each for each in result.signals if each.key == "traffic:clock"]
    assert clock.status is Status.ALARM
    assert clock.current == 7
    assert result.status is Status.ALARM


@pytest.mark.parametrize(
    ("arrays", "key", "expected"),
    [
        ({"amount": np.zeros(1), "purpose": np.array(["car"], object)}, "traffic:rows", "unclear"),
        (
            {"amount": np.full(900, np.nan), "purpose": np.array([""] * 900, object)},
            "missing:amount",
            "alarm",
        ),
        (
            {"amount": np.zeros(900), "purpose": np.array(["car"] * 900, object)},
            "drift:purpose",
            "alarm",
        ),
    ],
    ids=["one row", "all missing", "one value"],
)
def test_poor_windows_get_a_clear_verdict(
    watched: Watched, arrays: dict, key: str, expected: str
) -> None:
    watched.version()
    watched.predict(hour(0) + MINUTE, arrays)
    result = watched.monitor().once().results[-1]
    assert status(result, key) == expected
    assert result.complete
    assert not [each for each in result.signals if "could not be judged" in each.summary]


def test_a_column_that_changed_its_type_is_told(watched: Watched) -> None:
    watched.version()
    inputs = (Input.of("amount", Kind.CATEGORICAL), Input.of("purpose", Kind.CATEGORICAL))
    texts = np.array(["12.50"] * 900, object)
    arrays = {"amount": texts, "purpose": rows(900, 1)["purpose"]}
    watched.predict(hour(0) + MINUTE, arrays, inputs=inputs)
    result = watched.monitor().once().results[-1]
    assert status(result, "type:amount") is Status.ALARM


def test_the_registry_may_be_down(watched: Watched) -> None:
    watched.version()
    watched.predict(hour(1) + MINUTE, rows(500, 1))
    monitor = watched.monitor()
    assert monitor.once().results[-1].complete
    watched.version("other")
    watched.predict(hour(0) + MINUTE, rows(500, 1), name="other")
    models = watched.registry.models()
    assert {each.name for each in models} == {"credit", "other"}
    watched.registry.down = True
    watched_again = watched.monitor()
    with pytest.raises(TrackerUnavailable):
        watched_again.once()
    watched.registry.down = False
    assert [each.model for each in watched_again.once().results if each.rows] == ["other"]


def test_a_window_that_could_not_be_judged_is_judged_again(watched: Watched) -> None:
    watched.version()
    watched.predict(hour(0) + MINUTE, rows(500, 1))
    monitor = watched.monitor()
    models = watched.registry.models
    watched.registry.models = lambda: (models(), setattr(watched.registry, "down", True))[0]  # type: ignore[method-assign]
    done = monitor.once()
    (result,) = done.results
    assert not result.complete
    assert done.behind
    assert "judged again" in result.verdict
    watched.registry.down = False
    watched.registry.models = models  # type: ignore[method-assign]
    done = monitor.once()
    assert [each.complete for each in done.results] == [True] * len(done.results)
    assert done.results[-1].rows == 500
    assert not done.behind


def test_one_bad_question_spoils_no_other_and_no_other_model(watched: Watched) -> None:
    def broken(case: Case) -> Findings:
        raise ZeroDivisionError("nothing to divide by")

    def fine(case: Case) -> Findings:
        told = {"summary": "Fine.", "statistic": "none"}
        return Findings([Signal(kind="drift", subject="all", status=Status.OK, **told)])

    for name in ("credit", "other"):
        watched.version(name)
        watched.predict(hour(0) + MINUTE, rows(500, 1), name=name)
    questions = (Question("luck", broken), Question("all", fine))
    found = [each for each in watched.monitor(questions=questions).once().results if each.rows]
    assert [each.model for each in found] == ["credit", "other"]
    for result in found:
        assert status(result, "drift:all") is Status.OK
        assert status(result, "traffic:luck") is Status.ABSENT
        assert result.complete


def test_only_one_monitor_works(watched: Watched) -> None:
    watched.version()
    watched.predict(hour(0) + MINUTE, rows(500, 1))
    with held(watched.settings.home / "monitoring" / "lock") as ours:
        assert ours
        with pytest.raises(Conflict, match="Another monitor"):
            watched.monitor().once()
        (asked,) = watched.monitor().once("credit", hour(0), hour(0) + HOUR).results
        assert asked.rows == 500
    assert watched.monitor().once().results


def test_a_window_that_somebody_asks_for(watched: Watched) -> None:
    watched.version()
    watched.predict(hour(0) + MINUTE, rows(500, 1, 2.0))
    with pytest.raises(NotFound):
        watched.monitor().once("nothing", hour(0))
    with pytest.raises(InvalidInput, match="one at least"):
        watched.monitor().once("credit", hour(0), hour(0) + timedelta(milliseconds=300))
    done = watched.monitor().once("credit", hour(0), hour(0) + 2 * MINUTE)
    (result,) = done.results
    assert (result.rows, result.status) == (500, Status.ALARM)
    stored = Results(watched.database).window("credit", result.id)
    assert stored.verdict == result.verdict
    assert stored.signals == result.signals


def test_labels_that_come_later_change_the_performance_of_their_window(watched: Watched) -> None:
    watched.version()
    at = hour(0) + MINUTE
    watched.predict(at, rows(400, 1))
    monitor = watched.monitor()
    (before,) = monitor.once().results
    assert before.figures.performance is not None
    assert before.figures.performance["labelled"] == 0
    drift = [each for each in before.signals if each.kind == "drift"]
    watched.tell(at, 400, [float(row) for row in range(400)])
    (after,) = monitor.once().results or watched.monitor().once().results
    assert after.id == before.id
    assert after.figures.performance is not None
    assert after.figures.performance["labelled"] == 400
    assert [each for each in after.signals if each.kind == "drift"] == drift
    assert watched.monitor().once().results == []


def test_the_alerts_hear_of_it(watched: Watched) -> None:
    watched.version()
    watched.predict(hour(0) + MINUTE, rows(1_000, 1, 2.0))
    watched.monitor().once()
    fired = history.listed(watched.database, state="firing").items
    assert "amount" in {each.subject for each in fired}


def test_alerts_that_could_not_be_evaluated_are_not_lost(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: object) -> None:
        raise DatabaseUnavailable("The database does not answer.")

    watched.version()
    watched.predict(hour(0) + MINUTE, rows(1_000, 1, 2.0))
    monitor = watched.monitor()
    with monkeypatch.context() as patch:
        patch.setattr(inspector, "evaluate", down)
        with pytest.raises(DatabaseUnavailable):
            monitor.once()
    assert history.listed(watched.database).items == []
    assert [each.rows for each in monitor.once().results if each.rows] == [1_000]
    fired = history.listed(watched.database, state="firing").items
    assert "amount" in {each.subject for each in fired}


def test_the_process_stops_when_told_and_lets_go(watched: Watched) -> None:
    watched.version()
    watched.predict(hour(0) + MINUTE, rows(500, 1))
    monitor = watched.monitor()
    timer = threading.Timer(1.0, monitor.stop)
    timer.start()
    monitor.run()
    timer.join()
    assert Results(watched.database).latest("credit") is not None
    with held(watched.settings.home / "monitoring" / "lock") as ours:
        assert ours


def test_a_window_up_to_now_has_a_name_and_labels_of_it_stop_nothing(watched: Watched) -> None:
    watched.version()
    at = hour(0) + MINUTE
    watched.predict(at, rows(400, 1))
    (asked,) = watched.monitor().once("credit", hour(0)).results  # to this very microsecond
    assert Results(watched.database).window("credit", asked.id).signals == asked.signals
    watched.monitor().once()
    watched.tell(at, 400, [float(row) for row in range(400)])
    done = watched.monitor().once()
    assert done.failed == {}
    assert {each.id for each in done.results} >= {asked.id}


def test_a_window_asked_for_again_keeps_what_is_known_of_those_before(watched: Watched) -> None:
    watched.version()
    for back, shift in ((2, 0.0), (1, 1.5), (0, 1.5)):
        watched.predict(hour(back) + MINUTE, rows(1_000, back + 1, shift))
    *_, last = watched.monitor().once().results
    (again,) = watched.monitor().once("credit", last.start, last.end).results
    assert again.scheduled
    assert again.signals == last.signals
    assert hour(1) in {each.since for each in again.signals}


def test_a_version_that_goes_wrong_stops_no_other(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched.version()
    watched.version(alias=CHALLENGER)
    for version in (1, 2):
        watched.predict(hour(0) + version * MINUTE, rows(300, version), version=version)
    save = Results.save

    def refused(self: Results, result: WindowResult) -> None:
        if result.version == 1:
            raise ValueError("no such number")
        save(self, result)

    monkeypatch.setattr(Results, "save", refused)
    done = watched.monitor().once()
    assert [each.version for each in done.results if each.rows] == [2]
    assert done.behind
    assert "no such number" in done.failed["credit"]


def test_labels_that_come_during_the_judging_are_not_missed(watched: Watched) -> None:
    watched.version()
    at = hour(0) + MINUTE
    watched.predict(at, rows(400, 1))

    def slow(case: Case) -> Findings:
        if case.rows and not asked:
            asked.append(case)
            watched.tell(at, 400, [float(row) for row in range(400)])
        return Findings()

    asked: list[Case] = []
    questions = (*QUESTIONS, Question("something slow", slow))
    first = watched.monitor(questions=questions).once().results
    after = watched.monitor(questions=questions).once().results
    counted = [each.figures.performance for each in (*first, *after)]
    told = [each["labelled"] for each in counted if each]
    assert (told[0], told[-1]) == (0, 400)


def test_a_report_of_an_older_window_shows_those_before_it(watched: Watched) -> None:
    watched.version()
    inspector = Inspector(
        watched.settings, watched.database, watched.registry, watched.registry, questions=()
    )
    (model,) = watched.registry.models()
    results = [
        inspector.inspect(model, Window("credit", 1, hour(back), hour(back - 1)))
        for back in range(60, 0, -1)
    ]
    inspector.refresh(model, results[3])
    page = inspector.reports.path(results[3]).read_text(encoding="utf-8")
    assert "Recent windows" in page
