"""What gRPC tells of the server and its models, who may ask, and how calls end."""

import asyncio
import inspect
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from pellucid import errors
from pellucid.db.upgrade import upgrade
from pellucid.errors import InvalidSettings
from pellucid.settings import Settings
from pellucid_api.problems import STATUS
from pellucid_api.processes.siblings import Siblings
from pellucid_api.processes.slot import ALONE
from pellucid_api.rpc.calls import code_of, told
from pellucid_api.rpc.messages import HealthCheckResponse
from pellucid_api.rpc.server import listen
from support.ports import free_port
from support.rpc import inputs
from support.serving import ROW

TESTS = Path(__file__).parents[2]

CHECK = "/grpc.health.v1.Health/Check"
KEY = "a-key-of-this-test"
Code = grpc.StatusCode


class Answers(queue.SimpleQueue):
    """(result, error) pairs, as they come."""

    def take(self, result, error):
        self.put((result, error))


def refused(call):
    with pytest.raises(InferenceServerException) as caught:
        call()
    return Code[caught.value.status().removeprefix("StatusCode.")], caught.value.message()


@pytest.fixture
def held(start, register):
    """A service whose model answers only once it is let go."""
    register()
    service = start(max_queue_seconds=100.0)
    served = service.services.pool.champion("credit")
    go, running = threading.Event(), threading.Event()
    run = served.model.run

    def slow(feed):
        running.set()
        assert go.wait(240)
        return run(feed)

    served.model.run = slow
    served.batcher.cost.learn(1, 1.0)  # long: so in a thread
    service.go, service.running, service.served = go, running, served
    yield service
    go.set()


# What it tells


def test_the_server_and_the_models_describe_themselves(service):
    client = service.client
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("credit")
    assert client.is_model_ready("credit", "1")
    metadata = client.get_server_metadata()
    by_rest = service.http.get("/v2").json()
    assert (metadata.name, metadata.version) == (by_rest["name"], by_rest["version"])
    assert set(metadata.extensions) == set(by_rest["extensions"]) - {"binary_tensor_data"}
    for version in ("", "1"):
        found = client.get_model_metadata("credit", version)
        told = service.http.get("/v2/models/credit").json()
        assert (found.name, list(found.versions), found.platform) == (
            told["name"], told["versions"], told["platform"],
        )  # fmt: skip
        for side in ("inputs", "outputs"):
            tensors = [(t.name, t.datatype, list(t.shape)) for t in getattr(found, side)]
            assert tensors == [(t["name"], t["datatype"], t["shape"]) for t in told[side]]


def test_what_is_not_there_is_not_ready(service):
    assert not service.client.is_model_ready("nobody")
    assert not service.client.is_model_ready("credit", "9")
    for ask in (service.client.get_model_metadata, service.client.get_model_config):
        assert refused(lambda ask=ask: ask("nobody"))[0] is Code.NOT_FOUND
        assert refused(lambda ask=ask: ask("credit", "x"))[0] is Code.INVALID_ARGUMENT


def test_a_model_that_cannot_be_served_is_not_ready(start, register):
    register(claimed_bias=3.0)
    service = start()
    assert not service.client.is_server_ready()
    assert not service.client.is_model_ready("credit")
    code, text = refused(lambda: service.client.infer("credit", inputs([ROW])))
    assert (code, "differs from PyTorch" in text) == (Code.UNAVAILABLE, True)


def test_the_configuration(service):
    config = service.client.get_model_config("credit").config
    assert (config.name, config.max_batch_size) == ("credit", 100_000)
    assert [each.name for each in config.input] == ["age", "owner", "since", "purpose"]
    assert config.instance_group[0].kind == config.instance_group[0].KIND_CPU
    assert list(config.version_policy.specific.versions) == [1]


def test_statistics_count_rows_and_runs(start, register):
    register()
    service = start()
    for _ in range(3):
        service.client.infer("credit", inputs([ROW] * 4))
    for name, version in (("credit", "1"), ("credit", ""), ("", "")):
        (found,) = service.client.get_inference_statistics(name, version).model_stats
        assert (found.name, found.version) == ("credit", "1")
        assert (found.inference_count, found.execution_count) == (12, 3)
        assert found.inference_stats.success.count == 3
        assert found.inference_stats.success.ns > found.inference_stats.compute_infer.ns > 0
    assert refused(lambda: service.client.get_inference_statistics("zzz"))[0] is Code.NOT_FOUND


def test_the_repository(start, register):
    register()
    service = start()
    client = service.client

    def index(**options):
        found = client.get_model_repository_index(**options).models
        return [(each.name, each.version, each.state) for each in found]

    assert index() == [("credit", "1", "READY")]
    client.unload_model("credit")
    assert index()[0][2] == "UNAVAILABLE"
    assert not client.is_model_ready("credit")
    assert refused(lambda: client.infer("credit", inputs([ROW])))[0] is Code.UNAVAILABLE
    client.load_model("credit")
    assert index() == [("credit", "1", "READY")]
    assert client.infer("credit", inputs([ROW]))
    for call in (client.load_model, client.unload_model):
        assert refused(lambda call=call: call("nobody"))[0] is Code.NOT_FOUND
    code, text = refused(lambda: client.load_model("credit", config="{}"))
    assert (code, "config" in text) == (Code.INVALID_ARGUMENT, True)


def test_what_is_not_implemented_says_so(service):
    assert refused(service.client.get_trace_settings)[0] is Code.UNIMPLEMENTED
    assert refused(service.client.get_cuda_shared_memory_status)[0] is Code.UNIMPLEMENTED


def test_health_as_orchestrators_ask_it(service):
    with grpc.insecure_channel(service.address) as channel:
        check = channel.unary_unary(CHECK, response_deserializer=HealthCheckResponse.FromString)
        for name in (b"", b"inference.GRPCInferenceService"):
            body = b"\x0a%c%s" % (len(name), name) if name else b""
            assert check(body).status == HealthCheckResponse.SERVING
        with pytest.raises(grpc.RpcError) as caught:
            check(b"\x0a\x01x")
        assert caught.value.code() is Code.NOT_FOUND


# Errors


KINDS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.PellucidError)
]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_has_a_code_that_agrees_with_its_status(kind):
    code = code_of(kind("It is so."))
    assert (code is Code.INTERNAL) == (STATUS[kind] == 500)
    assert told(kind("It is so.", where={"row": 3}, remedy="Do that.")) == (
        "It is so. (row 3) Do that."
    )


def test_a_long_error_fits_into_a_header(service, monkeypatch):
    long = errors.InvalidRows("ü" * 100_000)
    monkeypatch.setattr(service.services.pool, "champion", _raising(long))
    code, text = refused(lambda: service.client.get_model_metadata("credit"))
    assert code is Code.INVALID_ARGUMENT
    assert text == "ü" * 1000 + "..."


def test_a_surprise_tells_nothing(service, monkeypatch, caplog):
    monkeypatch.setattr(service.services.pool, "champion", _raising(RuntimeError("secret")))
    code, text = refused(lambda: service.client.get_model_metadata("credit"))
    assert (code, "secret" in text) == (Code.INTERNAL, False)
    assert "secret" in caplog.text


def test_calls_are_in_the_access_log(service, caplog):
    caplog.set_level("INFO", "pellucid_api.access")
    service.client.infer("credit", inputs([ROW]))
    assert refused(lambda: service.client.infer("nobody", inputs([ROW])))[0] is Code.NOT_FOUND
    assert service.client.is_server_live()
    path = "GRPC /inference.GRPCInferenceService/ModelInfer"

    def noted():
        return [text for text in caplog.messages if text.startswith(path)]

    _until(lambda: len(noted()) == 2)
    well, ill = noted()
    assert well.startswith(f"{path} 0 ")
    assert ill.startswith(f"{path} 5 ")
    assert "ServerLive" not in caplog.text  # orchestrators ask it all the time


def _raising(error):
    def fail(_name):
        raise error

    return fail


# Time, and going away


def test_a_deadline_that_passes_drops_what_has_not_run(held):
    answers = Answers()
    held.client.async_infer("credit", inputs([ROW]), answers.take)
    assert held.running.wait(60)
    code, _ = refused(lambda: held.client.infer("credit", inputs([ROW]), client_timeout=1.0))
    assert code is Code.DEADLINE_EXCEEDED
    counted, queued = held.served.statistics, held.served.batcher._queue
    _until(lambda: counted.expired or any(work.cancelled for _, _, work in queued))
    held.go.set()
    result, error = answers.get(timeout=60)
    assert (result is not None, error) == (True, None)
    _until(lambda: counted.dropped + counted.expired == 1)
    assert counted.executions == 1


def test_a_timeout_parameter_is_a_deadline_too(held):
    answers = Answers()

    def ask(**options):
        held.client.async_infer("credit", inputs([ROW]), answers.take, **options)

    ask()
    assert held.running.wait(60)
    ask(timeout=1000)  # microseconds
    _until(lambda: held.served.batcher.waiting or held.served.statistics.expired)
    time.sleep(0.05)
    held.go.set()
    errors_ = [answers.get(timeout=60)[1] for _ in range(2)]
    (late,) = [each for each in errors_ if each is not None]
    assert late.status() == "StatusCode.DEADLINE_EXCEEDED"


def test_a_cancelled_call_never_runs(held):
    answers = Answers()
    held.client.async_infer("credit", inputs([ROW]), answers.take)
    assert held.running.wait(60)
    second = held.client.async_infer("credit", inputs([ROW]), answers.take)
    _until(lambda: held.served.batcher.waiting == 1)
    second.cancel()
    assert "CANCELLED" in str(answers.get(timeout=60)[1])
    held.go.set()
    assert answers.get(timeout=60)[1] is None
    _until(lambda: held.served.statistics.dropped == 1)
    assert held.served.statistics.executions == 1


def test_a_stream_that_is_broken_off_leaves_nothing_behind(held):
    with triton.InferenceServerClient(held.address) as client:
        client.start_stream(Answers().take)
        for _ in range(5):
            client.async_stream_infer("credit", inputs([ROW]))
        assert held.running.wait(60)
        client.stop_stream(cancel_requests=True)
    held.go.set()
    _until(lambda: held.served.batcher.waiting == 0)
    assert held.client.infer("credit", inputs([ROW]))


def _until(state):
    end = time.monotonic() + 60
    while not state():
        assert time.monotonic() < end
        time.sleep(0.01)


# Keys


@pytest.mark.parametrize("headers", [{"authorization": f"Bearer {KEY}"}, {"x-api-key": KEY}])
def test_a_key_opens(start, register, headers):
    register()
    service = start(api_keys=(KEY,))
    assert service.client.infer("credit", inputs([ROW]), headers=headers)


def test_without_a_key_only_health_is_told(start, register):
    register()
    service = start(api_keys=(KEY,))
    client = service.client
    assert client.is_server_live()
    assert client.is_server_ready()
    with grpc.insecure_channel(service.address) as channel:
        assert channel.unary_unary(CHECK)(b"")
    calls = [
        lambda **o: client.infer("credit", inputs([ROW]), **o),
        lambda **o: client.is_model_ready("credit", **o),
        lambda **o: client.get_server_metadata(**o),
        lambda **o: client.unload_model("credit", **o),
    ]
    for call in calls:
        for headers in (None, {"authorization": "Bearer nothing"}, {"x-api-key": KEY[:-1]}):
            code, text = refused(lambda call=call, headers=headers: call(headers=headers))
            assert (code, KEY in text) == (Code.UNAUTHENTICATED, False)
    assert client.is_model_ready("credit", headers={"x-api-key": KEY})


def test_a_stream_needs_a_key(start, register):
    register()
    service = start(api_keys=(KEY,))
    answers = Answers()
    for headers in ({}, {"x-api-key": KEY}):
        with triton.InferenceServerClient(service.address) as client:
            client.start_stream(answers.take, headers=headers)
            with suppress(InferenceServerException):  # the stream may have been refused by now
                client.async_stream_infer("credit", inputs([ROW]))
            _, error = answers.get(timeout=60)
            assert (error is None) == bool(headers)
            client.stop_stream()


# The process


def test_a_port_that_is_taken_is_named(service):
    class Taken:
        settings = Settings(grpc_port=service.port)
        pool = plane = None
        siblings = Siblings(ALONE, None, None)

    with pytest.raises(InvalidSettings, match="PELLUCID_GRPC_PORT"):
        asyncio.run(listen(Taken()))


def test_the_command_refuses_a_port_that_is_taken(service, tmp_path):
    settings = Settings(home=tmp_path, port=free_port(), grpc_port=service.port)
    done = subprocess.run(
        [sys.executable, "-m", "pellucid.cli", "api"],
        env=os.environ | settings.environment(), capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "PELLUCID_GRPC_PORT" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_call_under_way_is_finished_on_sigterm(tmp_path):
    settings = Settings(home=tmp_path, port=free_port(), grpc_port=free_port())
    upgrade(settings.resolved_database_url)
    with subprocess.Popen(
        [sys.executable, "-c", SLOW_SERVER, str(TESTS)], env=os.environ | settings.environment()
    ) as server:
        try:
            finish_on_sigterm(server, settings.grpc_port, tmp_path / "running")
        finally:
            server.kill()


def finish_on_sigterm(server, port, running):
    with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
        while server.poll() is None:
            try:
                if client.is_model_ready("credit"):
                    break
            except InferenceServerException:
                time.sleep(0.05)
        answers = Answers()
        client.async_infer("credit", inputs([ROW]), answers.take)
        while not running.exists():
            assert answers.empty(), answers.get()
            time.sleep(0.01)
        server.send_signal(signal.SIGTERM)
        result, error = answers.get(timeout=60)
        assert (result is not None, error) == (True, None)
    assert server.wait(timeout=60) in (0, -signal.SIGTERM)


SLOW_SERVER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from pellucid.settings import Settings
from pellucid.tracking.contract import CHAMPION
from pellucid.tracking.memory import MemoryTracker
from pellucid_api.engine.model import Model
from pellucid_api.server import serve
from support.serving import build_services, make_bundle

settings = Settings.load()
home = settings.home
registry = MemoryTracker(home / "registry")
registry.register("run-1", "credit", make_bundle(home / "bundle").root, {})
registry.set_alias("credit", CHAMPION, 1)
run = Model.run
def slow(self, feed):
    time.sleep(0.3)  # warming takes as long: the run is known to be long, and made in a thread
    if len(feed["age"]) == 1 and warm:
        (home / "running").touch()
        time.sleep(1)
    return run(self, feed)
warm = []
Model.run = slow
from pellucid_api.engine.served import Served
make_ready = Served.warm
def warming(self):
    make_ready(self)
    warm.append(True)
Served.warm = warming
serve(settings, build=lambda settings, slot: build_services(settings, registry))
"""
