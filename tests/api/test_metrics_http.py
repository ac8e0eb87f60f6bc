"""What Prometheus sees is what happened, and a scrape never fails."""

import threading
import time
from pathlib import Path

from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from pellucid.errors import DatabaseUnavailable
from pellucid_api.metrics import Jobs, ServiceCollector
from pellucid_api.metrics_page import reference
from pellucid_api.processes.counts import Census, Done
from support.serving import ROW

ROOT = Path(__file__).parents[2]
PREDICT = "/v1/models/credit/predict"


def scrape(client):
    """(sample, labels) -> value."""
    response = client.get("/metrics")
    assert response.status_code == 200
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def test_requests_rows_and_runs_are_counted(serve, register):
    register()
    client = serve()
    for rows in (1, 2, 3):
        assert client.post(PREDICT, json=[ROW] * rows).status_code == 200
    assert client.post(PREDICT, json=[{}]).status_code == 422
    found = scrape(client)
    key = ("1", "credit")
    assert found["pellucid_inference_requests_total", *key, "succeeded"] == 3
    assert found["pellucid_inference_requests_total", *key, "invalid"] == 1
    assert found["pellucid_inference_rows_total", *key] == 6
    assert found["pellucid_inference_executed_rows_total", *key] == 6
    assert found["pellucid_inference_executions_total", *key] == 3
    for part in ("request", "queue", "compute"):
        name = f"pellucid_inference_{part}_duration_seconds"
        assert found[f"{name}_count", *key] == 3
        assert found[f"{name}_bucket", "+Inf", *key] == 3
        assert found[f"{name}_sum", *key] > 0
    assert found["pellucid_inference_waiting_rows", *key] == 0
    assert found["pellucid_model_loaded", "1", "cpu", "credit"] == 1
    assert found["pellucid_model_champion_version", "credit"] == 1
    assert found[("pellucid_ready",)] == found[("pellucid_registry_up",)] == 1
    assert found[("pellucid_database_up",)] == 1
    assert found["pellucid_jobs", "queued"] == 0
    assert found[("process_resident_memory_bytes",)] > 1e6


def test_jobs_are_counted_by_status(client):
    for number in range(2):
        client.services.queue.submit({"n": number}, name="m", data_version="d" * 64)
    found = scrape(client)
    assert found["pellucid_jobs", "queued"] == 2
    assert found["pellucid_jobs", "running"] == 0


def test_openmetrics_is_spoken_too(credit):
    accepted = {"accept": "application/openmetrics-text; version=1.0.0"}
    response = credit.get("/metrics", headers=accepted)
    assert response.headers["content-type"].startswith("application/openmetrics-text")
    assert {family.name for family in openmetrics(response.text)} >= {"pellucid_inference_rows"}


def test_names_and_units_follow_the_conventions(credit):
    text = credit.get("/metrics").text
    for family in text_string_to_metric_families(text):
        if family.name.startswith("pellucid_"):
            assert family.documentation
            assert "milli" not in family.name
            timed = "duration" in family.name or "timestamp" in family.name
            assert timed == family.name.endswith("_seconds")
            for sample in family.samples:
                if family.type == "counter":
                    assert sample.name.endswith("_total")
                assert not {"user", "client", "path", "request_id"} & sample.labels.keys()


def test_a_failed_load_is_counted(serve, register):
    register(claimed_bias=3.0)
    client = serve()
    found = scrape(client)
    assert found["pellucid_model_load_failures_total", "credit"] >= 1
    assert found[("pellucid_ready",)] == 0


def test_a_scrape_without_the_database_leaves_its_metrics_out(serve, register, monkeypatch):
    register()
    client = serve()

    def fail():
        raise DatabaseUnavailable("It is down.")

    monkeypatch.setattr(client.services.database, "reading", fail)
    found = scrape(client)
    assert found[("pellucid_database_up",)] == 0
    assert not any(name == "pellucid_jobs" for name, *_ in found)


def test_a_database_that_hangs_is_asked_once():
    asked, go_on = [], threading.Event()

    def hang():
        asked.append(1)
        assert go_on.wait(60)
        return {"queued": 1}

    jobs = Jobs(hang)
    assert [jobs.counts(), jobs.counts()] == [None, None]
    assert len(asked) == 1
    go_on.set()
    while (found := jobs.counts()) is None:
        time.sleep(0.01)
    assert found == {"queued": 1}
    jobs.close()


def test_the_log_of_predictions_is_counted(credit):
    done = Done(logged={"recorded": 5, "lost": 2}, lost_lines=7)
    census = Census(done, credit.services.siblings.census().states)
    jobs = Jobs(dict)
    collector = ServiceCollector(lambda: census, jobs)
    samples = {
        (s.name, *s.labels.values()): s.value for f in collector.collect() for s in f.samples
    }
    assert samples["pellucid_prediction_log_rows_total", "recorded"] == 5
    assert samples["pellucid_prediction_log_rows_total", "lost"] == 2
    assert samples[("pellucid_access_log_lost_lines_total",)] == 7
    jobs.close()


def test_the_page_of_metrics_is_generated():
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text(encoding="utf-8")
    assert page == reference() + "\n", "run `make reference`"
    assert "| `pellucid_inference_rows_total` | counter | `model`, `version` |" in page


def test_metrics_need_a_key_where_there_are_keys(serve):
    client = serve(api_keys=("a" * 32,))
    assert client.get("/metrics").status_code == 401
    headers = {"authorization": "Bearer " + "a" * 32}
    assert client.get("/metrics", headers=headers).status_code == 200


def test_stats_of_a_model(serve, register):
    register()
    client = serve()
    assert client.get("/v1/models/none/stats").status_code == 404
    (fresh,) = client.get("/v1/models/credit/stats").json()["versions"]
    assert (fresh["requests"], fresh["rows_per_run"], fresh["latency"]) == (0, None, None)
    client.post(PREDICT, json=[ROW] * 4)
    client.post(PREDICT, json={})
    (found,) = client.get("/v1/models/credit/stats").json()["versions"]
    assert (found["version"], found["loaded"], found["requests"]) == (1, True, 2)
    assert (found["succeeded"], found["rows"], found["rows_per_run"]) == (1, 4, 4.0)
    assert found["errors"]["invalid"] == 1
    for part in ("latency", "queue", "compute"):
        assert 0 < found[part]["p50"] <= found[part]["p90"] <= found[part]["p99"]
    assert found["compute"]["p99"] <= found["latency"]["p99"]


def test_counters_survive_a_version(serve, register):
    register()
    client = serve()
    client.post(PREDICT, json=[ROW])
    pool = client.services.pool
    before = pool.champion("credit")
    client.services.registry.delete_alias("credit", "champion")
    wait_until(lambda: not pool.champions())
    client.services.registry.set_alias("credit", "champion", 1)
    wait_until(pool.champions)
    assert pool.champion("credit") is not before
    assert client.post(PREDICT, json=[ROW]).status_code == 200
    found = scrape(client)
    assert found["pellucid_inference_rows_total", "1", "credit"] == 2
    assert found["pellucid_model_loads_total", "credit"] == 2


def wait_until(true):
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)
