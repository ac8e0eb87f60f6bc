import time
from types import SimpleNamespace

from pellucid.jobs.workspace import Workspace, read_spool
from pellucid_pipelines.callbacks import reporting
from pellucid_pipelines.callbacks.reporting import Reporting
from pellucid_pipelines.journal import Journal
from pellucid_pipelines.system_metrics import SystemMetrics
from support.training import a_fit, a_plan


def lines(path):
    return [entry for _, entry in read_spool(path)]


def test_an_epoch_is_spooled_once_and_progress_is_told(tmp_path):
    workspace = Workspace(tmp_path)
    with Journal(workspace) as journal:
        a_fit(a_plan(), [Reporting(journal)]).run()
    metrics = lines(workspace.metrics_path)
    for key in ("train/loss", "validation/loss", "lr", "gradient_norm"):
        assert [m["step"] for m in metrics if m["key"] == key] == [1, 2, 3, 4, 5, 6]
    events = lines(workspace.events_path)
    assert {event["kind"] for event in events} == {"progress"}
    last = events[-1]["data"]
    assert (last["epoch"], last["epochs"], last["step"], last["steps"]) == (6, 6, 30, 30)
    assert last["eta_seconds"] == 0
    losses = [m["value"] for m in metrics if m["key"] == "validation/loss"]
    assert last["validation_loss"] == losses[-1]


def test_progress_is_throttled_and_told_within_a_long_epoch(tmp_path, monkeypatch):
    workspace = Workspace(tmp_path)
    with Journal(workspace) as journal:
        fit = a_fit(a_plan(training={"epochs": 1, "batch_size": 15}), [Reporting(journal)])
        update = fit.train_step

        clock = SimpleNamespace(now=100.0)

        def slow(batch):
            clock.now += 0.1
            return update(batch)

        monkeypatch.setattr(fit, "train_step", slow)
        monkeypatch.setattr(reporting, "time", SimpleNamespace(monotonic=lambda: clock.now))
        fit.run()
        assert fit.steps == 10
    told = [event["data"]["step"] for event in lines(workspace.events_path)]
    assert told[0] == 1
    assert told[-1] == 10
    assert 3 <= len(told) <= 6


def of_the_cpu(workspace):
    """The steps at which it was measured."""
    found = lines(workspace.metrics_path)
    return [m["step"] for m in found if m["key"] == "system/cpu_utilization_percentage"]


def test_system_metrics_go_on_from_the_last_attempt(tmp_path):
    workspace = Workspace(tmp_path)
    for _ in range(2):
        with Journal(workspace) as journal, SystemMetrics(journal, workspace.metrics_path, 0.05):
            before = len(of_the_cpu(workspace))
            while len(of_the_cpu(workspace)) < before + 2:
                time.sleep(0.01)
    spooled = lines(workspace.metrics_path)
    assert {
        "system/cpu_utilization_percentage",
        "system/system_memory_usage_megabytes",
        "system/disk_usage_percentage",
        "system/network_receive_megabytes",
    } <= {m["key"] for m in spooled}
    steps = of_the_cpu(workspace)
    assert steps == list(range(len(steps)))
    assert len(steps) >= 4
