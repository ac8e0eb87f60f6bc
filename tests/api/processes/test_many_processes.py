"""Two serving processes on one port: together they are one service."""

import signal
import time
import uuid
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tritonclient import grpc as triton

from pellucid.monitoring.log import PredictionLog
from pellucid.settings import Settings
from pellucid.tracking.contract import CHALLENGER, CHAMPION
from support.many import many, process_of, registry_of_all
from support.ports import free_port
from support.rpc import inputs
from support.serving import ROW, make_bundle

PREDICT = "/v1/models/credit/predict"
START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    directory = tmp_path_factory.mktemp("registry")
    with registry_of_all(directory) as (registry, address):
        for version, bias in ((1, 0.0), (2, 0.5)):
            bundle = make_bundle(directory / f"bundle-{version}", bias=bias).root
            registry.register(f"run-{version}", "credit", bundle, {})
        registry.set_alias("credit", CHAMPION, 1)
        yield registry, directory, address


@pytest.fixture(scope="module")
def service(registry, tmp_path_factory):
    _, directory, address = registry
    settings = Settings(
        home=tmp_path_factory.mktemp("home"), port=free_port(), grpc_port=free_port(),
        mlflow_port=free_port(), device="cpu", api_processes=2, alias_poll_seconds=0.2,
    )  # fmt: skip
    with many(settings, directory, address) as found:
        yield found


def scrape(response):
    """(sample, labels) -> value."""
    assert response.status_code == 200
    return {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(response.text)
        for sample in family.samples
    }


def answered(found):
    return found["pellucid_inference_requests_total", "1", "credit", "succeeded"]


def test_whoever_is_asked_answers_for_all(service):
    before = answered(scrape(service.send("GET", "/metrics")))
    replies = service.by_each("POST", PREDICT, json=[ROW, ROW])
    shares = Counter(map(process_of, replies))
    assert len(shares) == 2
    for response in service.by_each("GET", "/metrics"):
        found = scrape(response)
        assert answered(found) - before == len(replies)
        assert found["pellucid_model_loaded", "1", "cpu", "credit"] == 2
        for process in "01":
            assert found["pellucid_process_up", process] == 1
            assert found["process_resident_memory_bytes", process] > 1e6
    total = answered(found)
    for response in service.by_each("GET", "/v1/models/credit/stats"):
        (version,) = response.json()["versions"]
        assert (version["succeeded"], version["rows"]) == (total, 2 * total)
        assert response.json()["missing"] == []
    for response in service.by_each("GET", "/v2/models/credit/stats"):
        (version,) = response.json()["model_stats"]
        assert version["inference_stats"]["success"]["count"] == total


def test_a_model_is_loaded_and_unloaded_by_all(service):
    assert service.send("POST", "/v2/repository/models/credit/unload").status_code == 200
    replies = service.by_each("POST", PREDICT, json=[ROW])
    assert {each.status_code for each in replies} == {503}
    assert service.send("POST", "/v2/repository/models/credit/load").status_code == 200
    replies = service.by_each("POST", PREDICT, json=[ROW])
    assert {each.status_code for each in replies} == {200}
    assert service.send("POST", "/v2/repository/models/nobody/unload").status_code == 404


def test_a_canary_is_compared_over_all(service, registry):
    tracker, *_ = registry
    rules = {"challenger": {"version": 2, "share": 1.0}}
    path = "/v1/models/credit"
    assert service.send("PUT", f"{path}/traffic", json=rules).status_code == 200
    versions, newest = Counter(), set()
    while newest != {2}:  # the processes follow one after the other
        replies = service.by_each("POST", PREDICT, json=[ROW])
        newest = {each.json()["version"] for each in replies}
        versions.update(each.json()["version"] for each in replies)
    for response in service.by_each("GET", f"{path}/comparison"):
        (comparison,) = response.json()["comparisons"]
        assert comparison["contender"]["requests"] == versions[2]
    assert service.send("DELETE", f"{path}/traffic").status_code == 200
    while {each.json()["version"] for each in service.by_each("POST", PREDICT, json=[ROW])} != {1}:
        time.sleep(0.05)
    assert CHALLENGER not in tracker.model("credit").aliases


def test_every_process_finds_every_prediction(service):
    given = [
        each["id"]
        for response in service.by_each("POST", PREDICT, json=[ROW])
        for each in response.json()["predictions"]
    ]
    for identity in given:
        assert service.send("GET", f"/v1/predictions/{identity}").json()["id"] == identity
    log = PredictionLog(service.settings.home / "predictions")
    rows = log.window("credit", START, END, columns=["id"]).read_all()
    counts = Counter(str(uuid.UUID(bytes=each)) for each in rows["id"].to_pylist())
    assert {counts[identity] for identity in given} == {1}


def test_grpc_is_answered(service):
    with triton.InferenceServerClient(f"127.0.0.1:{service.settings.grpc_port}") as client:
        assert client.infer("credit", inputs([ROW])).as_numpy("label").shape == (1,)
        (found,) = client.get_inference_statistics("credit", "1", as_json=True)["model_stats"]
    version, _ = service.send("GET", "/v1/models/credit/stats").json()["versions"]
    assert int(found["inference_stats"]["success"]["count"]) == version["succeeded"]


def test_the_service_outlives_each_of_its_processes(service):
    """Counters never fall, and what was answered stays in the log."""
    replies = service.by_each("POST", PREDICT, json=[ROW])
    time.sleep(3)  # the log and the counters are a second behind, and more where a disk is busy
    before = answered(scrape(service.send("GET", "/metrics")))
    victim, other = service.pids()
    psutil.Process(victim).kill()
    sent = 0
    while len(pids := service.pids()) < 2 or victim in pids:
        replies.append(service.send("POST", PREDICT, json=[ROW]))
        sent += 1
        found = scrape(service.send("GET", "/metrics"))
        assert answered(found) == before + sent
        assert found["pellucid_process_up", "0"] + found["pellucid_process_up", "1"] <= 2
    assert other in pids
    assert sent
    more = service.by_each("POST", PREDICT, json=[ROW])
    assert {each.status_code for each in replies + more} == {200}
    for response in service.by_each("GET", "/metrics"):
        found = scrape(response)
        assert answered(found) == before + sent + len(more)
        assert found["pellucid_process_up", "0"] == found["pellucid_process_up", "1"] == 1
    for response in replies + more:
        (prediction,) = response.json()["predictions"]
        assert service.send("GET", f"/v1/predictions/{prediction['id']}").status_code == 200


@pytest.mark.slow
def test_an_heir_unloads_what_the_others_did(service):
    assert service.send("POST", "/v2/repository/models/credit/unload").status_code == 200
    victim, _ = service.pids()
    psutil.Process(victim).kill()
    while victim in service.pids():
        time.sleep(0.05)
    replies = service.by_each("POST", PREDICT, json=[ROW])
    assert {each.status_code for each in replies} == {503}
    assert service.send("POST", "/v2/repository/models/credit/load").status_code == 200
    replies = service.by_each("POST", PREDICT, json=[ROW])
    assert {each.status_code for each in replies} == {200}


@pytest.mark.slow
def test_a_process_that_hangs_is_named(service):
    hanging, url = service.pids()[0], f"{service.settings.resolved_url}/v1/models/credit/stats"
    psutil.Process(hanging).suspend()
    try:
        found = None
        while found is None:
            with suppress(httpx.TimeoutException):  # the kernel gave the request to that process
                found = httpx.get(url, timeout=10).json()
    finally:
        psutil.Process(hanging).resume()
    assert len(found["missing"]) == 1
    assert found["versions"][0]["succeeded"]


def test_all_of_them_end_with_the_service(service):
    """The last test of this module: it stops the service."""
    pids = service.pids()
    service.parent.send_signal(signal.SIGTERM)
    assert service.parent.wait(60) == 0
    assert not [pid for pid in pids if psutil.pid_exists(pid)]
    spools = service.settings.home / "predictions" / "spools"
    assert not list(spools.rglob("*.arrow")), "every spool is sealed"
