"""Curves without a gap and without a step twice, whatever fails on the way."""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pellucid.errors import TrackerUnavailable
from pellucid.jobs.workspace import Metric, Spool, Workspace, metric_entries
from pellucid.settings import Settings
from pellucid.tracking import shipper as shipping
from pellucid.tracking.memory import MemoryTracker
from pellucid.tracking.mlflow import connect
from pellucid.tracking.shipper import MetricFeed, MetricShipper
from support.mlflow_server import MlflowServer


class Unanswered(MemoryTracker):
    """Stores what it is sent, and then fails to answer, as often as `lost` says."""

    lost = 0

    def log_metrics(self, run_id: str, metrics: Sequence[Metric]) -> None:
        super().log_metrics(run_id, metrics)
        if self.lost:
            self.lost -= 1
            raise TrackerUnavailable("No answer.")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "job")


@pytest.fixture
def tracker(tmp_path: Path) -> Unanswered:
    return Unanswered(tmp_path / "registry")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipping, "_PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(shipping, "_LONGEST_PAUSE_SECONDS", 0.2)


def epochs(workspace: Workspace, first: int, last: int) -> None:
    spool = Spool(workspace.metrics_path)
    for step in range(first, last + 1):
        spool.append(*metric_entries({"train/loss": 1 / step, "lr": 0.1}, step))
    spool.close()


def steps(tracker: MemoryTracker, run_id: str, key: str = "train/loss") -> list[int]:
    return [m.step for m in tracker.runs[run_id].history if m.key == key]


def opener(tracker: MemoryTracker) -> Callable[[], str]:
    return lambda: tracker.open_run("job", "job", {})


def test_it_ships_while_the_process_writes(tracker: Unanswered, workspace: Workspace) -> None:
    shipper = MetricShipper(tracker, workspace, opener(tracker))
    shipper.start()
    for step in range(1, 50):
        epochs(workspace, step, step)
    assert shipper.drain(60)
    assert shipper.run_id is not None
    assert steps(tracker, shipper.run_id) == list(range(1, 50))
    epochs(workspace, 50, 50)
    assert shipper.drain(60)
    assert steps(tracker, shipper.run_id) == list(range(1, 51))
    shipper.stop()


def test_a_resumed_attempt_repeats_nothing(tracker: Unanswered, workspace: Workspace) -> None:
    run_id = tracker.open_run("job", "job", {})
    epochs(workspace, 1, 7)
    epochs(workspace, 5, 12)
    feed = MetricFeed(tracker, workspace, run_id)
    feed.ship()
    epochs(workspace, 10, 15)
    feed.ship()
    assert steps(tracker, run_id) == list(range(1, 16))
    assert steps(tracker, run_id, "lr") == list(range(1, 16))


def test_a_new_worker_goes_on_where_the_old_one_died(
    tracker: Unanswered, workspace: Workspace
) -> None:
    run_id = tracker.open_run("job", "job", {})
    epochs(workspace, 1, 700)
    tracker.lost = 1  # the first thousand points arrive, but the worker never hears of it
    with pytest.raises(TrackerUnavailable):
        MetricFeed(tracker, workspace, run_id).ship()
    epochs(workspace, 690, 900)
    MetricFeed(tracker, workspace, run_id).ship()
    assert steps(tracker, run_id) == list(range(1, 901))
    assert steps(tracker, run_id, "lr") == list(range(1, 901))


def test_unanswered_requests_are_repeated_and_counted_once(
    tracker: Unanswered, workspace: Workspace
) -> None:
    tracker.lost = 3
    epochs(workspace, 1, 1200)
    shipper = MetricShipper(tracker, workspace, opener(tracker))
    shipper.start()
    assert shipper.drain(60)
    shipper.stop()
    assert shipper.run_id is not None
    assert steps(tracker, shipper.run_id) == list(range(1, 1201))


def test_drain_says_that_the_tracker_is_down(tracker: Unanswered, workspace: Workspace) -> None:
    tracker.down = True
    epochs(workspace, 1, 5)
    shipper = MetricShipper(tracker, workspace, opener(tracker))
    shipper.start()
    assert not shipper.drain(0.3)
    assert shipper.run_id is None
    tracker.down = False
    assert shipper.drain(60)
    shipper.stop()
    assert steps(tracker, shipper.run_id or "") == list(range(1, 6))


def test_a_deleted_run_is_opened_anew(tracker: Unanswered, workspace: Workspace) -> None:
    shipper = MetricShipper(tracker, workspace, opener(tracker))
    shipper.start()
    epochs(workspace, 1, 5)
    assert shipper.drain(60)
    tracker.runs.clear()
    epochs(workspace, 6, 8)
    assert shipper.drain(60)
    shipper.stop()
    assert steps(tracker, shipper.run_id or "") == list(range(1, 9))


def test_a_torn_line_waits_for_its_end(tracker: Unanswered, workspace: Workspace) -> None:
    run_id = tracker.open_run("job", "job", {})
    epochs(workspace, 1, 2)
    with workspace.metrics_path.open("ab") as file:
        file.write(b'{"key": "train/loss", "val')
    feed = MetricFeed(tracker, workspace, run_id)
    feed.ship()
    assert steps(tracker, run_id) == [1, 2]
    epochs(workspace, 3, 4)  # the next attempt completes the line
    feed.ship()
    assert steps(tracker, run_id) == [1, 2, 3, 4]


def test_the_environment_becomes_tags(tracker: Unanswered, workspace: Workspace) -> None:
    run_id = tracker.open_run("job", "job", {})
    spool = Spool(workspace.events_path)
    spool.append({"time": 1, "kind": "stage", "data": {"stage": "fit"}})
    spool.append({"time": 2, "kind": "environment", "data": {"tags": {"git.dirty": False}}})
    spool.close()
    MetricFeed(tracker, workspace, run_id).ship()
    assert tracker.runs[run_id].tags["git.dirty"] == "False"


def test_a_defect_is_not_hidden(tracker: Unanswered, workspace: Workspace) -> None:
    workspace.root.mkdir()
    workspace.metrics_path.write_text('{"no": "metric"}\n')
    shipper = MetricShipper(tracker, workspace, opener(tracker))
    shipper.start()
    with pytest.raises(KeyError, match="key"):
        shipper.drain(60)
    shipper.stop()


def test_an_outage_of_mlflow_leaves_no_trace(
    tmp_path: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed, and later frozen, in the middle of a stream; the shipper's worker dies as well."""
    with MlflowServer(tmp_path) as server:
        tracker, _ = connect(Settings(mlflow_url=server.url, experiment="outage"))
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
        down = threading.Event()
        writer = threading.Thread(target=_write_slowly, args=(workspace, 400, down))
        first = MetricShipper(tracker, workspace, lambda: tracker.open_run("job", "job", {}))
        first.start()
        writer.start()
        assert first.drain(60)
        server.kill()
        shipped = workspace.metrics_path.stat().st_size
        down.set()
        while workspace.metrics_path.stat().st_size == shipped:
            time.sleep(0.01)
        assert not first.drain(1)
        server.start()
        assert first.drain(60)
        first.stop()  # this worker is gone; the next one begins in an outage
        server.pause()
        second = MetricShipper(tracker, workspace, lambda: tracker.open_run("job", "job", {}))
        second.start()
        assert not second.drain(1.5)
        server.resume()
        writer.join()
        assert second.drain(60)
        second.stop()
        assert second.run_id == first.run_id
        history = tracker._client.get_metric_history(second.run_id, "train/loss")
    assert sorted(point.step for point in history) == list(range(1, 401))
    assert {point.step: point.value for point in history} == {s: 1 / s for s in range(1, 401)}


def _write_slowly(workspace: Workspace, last: int, down: threading.Event) -> None:
    """The second half when the server is down."""
    for step in range(1, last + 1):
        if step == last // 2:
            assert down.wait(120)
        epochs(workspace, step, step)
        if step % 50 == 0:
            epochs(workspace, step - 20, step)  # an attempt that resumes
        time.sleep(0.02)
