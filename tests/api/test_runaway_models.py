"""A model that runs for ever: it is stopped, and nobody else waits for it."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from pellucid.bundle import MODEL, PARITY, Bundle
from pellucid_api.engine.guard import Guard, Watch
from support.serving import ROW, make_bundle

PREDICT = "/v1/models/credit/predict"


def endless_if_older_than_100(root, *, always=False):
    """A bundle whose network counts to 2^60 first where an age is over 100."""
    bundle = make_bundle(root)
    model = onnx.load(root / MODEL)
    integer, boolean = TensorProto.INT64, TensorProto.BOOL
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["goes_on"]),
            helper.make_node("Add", ["count_in", "count_in"], ["count_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("round", integer, []),
            helper.make_tensor_value_info("going", boolean, []),
            helper.make_tensor_value_info("count_in", integer, []),
        ],
        [
            helper.make_tensor_value_info("goes_on", boolean, []),
            helper.make_tensor_value_info("count_out", integer, []),
        ],
    )
    nodes = [
        helper.make_node("ReduceMax", ["age_full"], ["oldest"], keepdims=0),
        helper.make_node("Greater", ["oldest", "limit"], ["old"]),
        helper.make_node("Loop", ["rounds", "old", "zero"], ["count"], body=body),
        helper.make_node("Cast", ["count"], ["nothing"], to=TensorProto.DOUBLE),
        helper.make_node("Add", ["bias", "nothing"], ["late_bias"]),
    ]
    graph = model.graph
    (last,) = (node for node in graph.node if "bias" in node.input)
    last.input[:] = ["late_bias" if name == "bias" else name for name in last.input]
    place = list(graph.node).index(last)
    kept = list(graph.node)
    del graph.node[:]
    graph.node.extend([*kept[:place], *nodes, *kept[place:]])
    limit = helper.make_tensor("limit", TensorProto.DOUBLE, [], [-1.0 if always else 100.0])
    rounds = helper.make_tensor("rounds", integer, [], [2**60])
    graph.initializer.extend([limit, rounds, helper.make_tensor("zero", integer, [], [0])])
    onnx.save(model, root / MODEL)
    assert (root / PARITY).exists()
    return Bundle.seal(root, bundle.manifest)


@pytest.fixture
def runaway(registry, tmp_path):
    def add(name="credit", **options):
        root = endless_if_older_than_100(tmp_path / name, **options).root
        registry.register(f"run-{name}", name, root, {})
        registry.set_alias(name, "champion", 1)

    return add


def test_a_run_without_end_is_stopped_and_the_service_answers_meanwhile(serve, runaway, register):
    runaway()
    register("other")
    client = serve(max_run_seconds=4.0, max_queue_seconds=30.0)
    assert client.post(PREDICT, json=[ROW]).json()["predictions"]
    with ThreadPoolExecutor(1) as threads:
        endless = threads.submit(client.post, PREDICT, json=[{**ROW, "age": 101}])
        time.sleep(0.5)
        answered = 0
        while not endless.done():
            assert client.post("/v1/models/other/predict", json=[ROW]).status_code == 200
            answered += 1
    assert answered > 5
    assert endless.result().status_code == 504
    assert "4 s" in endless.result().json()["detail"]
    assert client.post(PREDICT, json=[ROW]).json()["predictions"]


def test_a_deadline_holds_although_the_model_runs_on(serve, runaway):
    runaway()
    client = serve(max_run_seconds=3.0)
    headers = {"X-Request-Timeout-Ms": "400"}
    found = client.post(PREDICT, json=[{**ROW, "age": 101}], headers=headers)
    assert found.status_code == 504
    assert "time was over" in found.json()["detail"]


def test_a_model_that_never_ends_its_verification_holds_up_no_other(serve, runaway, register):
    runaway("credit", always=True)
    register("other")
    client = serve(max_run_seconds=2.0)  # the other one has as long
    assert client.post("/v1/models/other/predict", json=[ROW]).status_code == 200
    assert "fails verification" in client.services.pool.failures["credit"].reason


def test_a_watch_stops_what_is_late_and_nothing_else():
    stops = []
    watch = Watch(lambda: stops.append(1))
    watch.begin(60)
    watch.check()
    assert not watch.stopped
    watch.begin(-1)
    watch.check()
    assert watch.stopped
    watch.end()
    watch.check()
    assert stops == [1]


def test_a_guard_forgets_models_and_ends():
    guard = Guard()
    late = threading.Event()
    kept, gone = guard.watch(late.set), guard.watch(lambda: pytest.fail("it was let go"))
    gone.begin(-1)
    del gone
    kept.begin(-1)
    assert late.wait(60)
    kept.end()
    stopped = threading.Event()
    last = guard.watch(stopped.set)
    last.begin(60)
    run = threading.Thread(target=lambda: stopped.wait(60) and last.end())
    run.start()
    guard.stop()
    assert not last.running
    run.join(60)
    guard._thread.join(60)
    assert not guard._thread.is_alive()


def test_the_network_of_these_tests_is_a_good_one(tmp_path):
    from pellucid_api.engine.model import Model
    from support.serving import parity_feed, probabilities

    model = Model(endless_if_older_than_100(tmp_path), "cpu")
    assert model.verify() < 1e-5
    feed = parity_feed()
    feed["purpose"] = np.array(feed["purpose"], dtype=object)
    assert model.run(feed)["probabilities"] == pytest.approx(probabilities(feed), abs=1e-6)
