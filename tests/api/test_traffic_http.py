"""Canaries and shadows over HTTP: who answers, who falls back, what is compared."""

import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest

from pellucid.bundle import Input
from pellucid.errors import DatabaseUnavailable
from pellucid.monitoring.watch.results import Results
from pellucid.schema import Kind
from pellucid_api.engine.trial import Agreement, place_of
from support import monitored
from support.serving import ROW

PREDICT, TRAFFIC = "/v1/models/credit/predict", "/v1/models/credit/traffic"


def until(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


@pytest.fixture
def three(serve, register):
    """A champion, and two versions that have no role yet."""
    register(bias=0.0)
    register(bias=2.0, alias=None)
    register(bias=0.5, alias=None)
    return serve()


def lead(client):
    return client.services.pool.champion("credit")


def put(client, **rules):
    """Set rules, and wait until they are followed."""
    found = client.put(TRAFFIC, json=rules)
    assert found.status_code == 200, found.text
    wanted = {each["version"] for each in rules.values() if each["share"]}

    def followed():
        trial = lead(client).trial
        return {each.version for each in trial.contenders} == wanted if trial else not wanted

    until(followed)
    return found.json()


def asked(client, key=None, rows=1):
    headers = {"X-Routing-Key": key} if key else {}
    found = client.post(PREDICT, json=[ROW] * rows, headers=headers)
    assert found.status_code == 200, found.text
    return found.json()["version"]


def comparison(client, role="shadow"):
    found = client.get("/v1/models/credit/comparison").json()
    return next(each for each in found["comparisons"] if each["role"] == role)


def test_a_key_goes_to_one_version_and_its_share_is_kept(three):
    put(three, challenger={"version": 2, "share": 0.3})
    keys = [f"user-{number}" for number in range(200)]
    first = {key: asked(three, key) for key in keys}
    expected = {key: 2 if place_of(key.encode(), "credit") < 0.3 else 1 for key in keys}
    assert first == expected
    assert {key: asked(three, key) for key in keys} == first
    put(three, challenger={"version": 2, "share": 0.6})
    until(lambda: lead(three).trial.challenger.share == 0.6)
    assert all(asked(three, key) == 2 for key in keys if first[key] == 2)


def test_places_of_keys_are_uniform_and_differ_between_models():
    places = [place_of(f"user-{number}".encode(), "credit") for number in range(20_000)]
    assert abs(sum(place < 0.1 for place in places) / 20_000 - 0.1) < 0.01
    assert abs(sum(places) / 20_000 - 0.5) < 0.01
    others = [place_of(f"user-{number}".encode(), "churn") for number in range(20_000)]
    both = sum(a < 0.1 and b < 0.1 for a, b in zip(places, others, strict=True))
    assert abs(both / 20_000 - 0.01) < 0.005


def test_without_a_key_the_share_is_kept_by_chance(three):
    put(three, challenger={"version": 2, "share": 0.5})
    versions = [asked(three) for _ in range(100)]
    assert 25 <= versions.count(2) <= 75


def test_a_named_version_is_never_routed(three):
    put(three, challenger={"version": 2, "share": 1.0})
    assert asked(three) == 2
    for version in (1, 3):
        path = f"/v1/models/credit/versions/{version}/predict"
        assert three.post(path, json=[ROW]).json()["version"] == version


def test_the_other_protocol_and_front_follow_the_rules_too(three):
    put(three, challenger={"version": 2, "share": 1.0})
    assert three.post(PREDICT + "?x=1", json=[ROW]).json()["version"] == 2  # an ASGI route
    names = ("age", "owner", "since", "purpose")
    values = (41, 1, 1.7e9, "car")
    inputs = [
        {"name": n, "shape": [1], "datatype": "BYTES" if n == "purpose" else "FP64", "data": [v]}
        for n, v in zip(names, values, strict=True)
    ]
    found = three.post("/v2/models/credit/infer", json={"inputs": inputs})
    assert found.json()["model_version"] == "2"


def test_what_a_challenger_fails_the_champion_answers_and_it_is_counted(three, monkeypatch):
    put(three, challenger={"version": 2, "share": 1.0})
    challenger = three.services.pool.in_memory("credit", 2)

    def fail(feed):
        raise RuntimeError("no")

    monkeypatch.setattr(challenger.batcher, "_run", fail)
    assert [asked(three) for _ in range(5)] == [1] * 5
    found = comparison(three, "challenger")
    assert (found["contender"]["errors"], found["contender"]["requests"]) == (5, 5)
    assert found["tests"][0]["difference"] == 1
    assert found["tests"][0]["significant"]


def test_a_request_that_is_wrong_for_both_counts_against_neither(three):
    put(three, challenger={"version": 2, "share": 1.0})
    assert three.post(PREDICT, json=[{"age": 1}]).status_code == 422
    assert comparison(three, "challenger")["contender"]["errors"] == 0


def test_a_challenger_that_cannot_be_loaded_leaves_all_to_the_champion(serve, register):
    register(bias=0.0)
    register(alias=None, claimed_bias=3.0)
    client = serve()
    assert client.put(TRAFFIC, json={"challenger": {"version": 2, "share": 1}}).status_code == 200
    until(lambda: "challenger" in client.get(TRAFFIC).json()["failures"])
    assert asked(client) == 1
    assert "fails verification" in client.get(TRAFFIC).json()["failures"]["challenger"]
    assert client.get("/health/ready").status_code == 200


def test_a_shadow_sees_copies_and_is_compared(three):
    put(three, shadow={"version": 3, "share": 1.0})
    assert {asked(three, rows=3) for _ in range(10)} == {1}
    until(lambda: comparison(three)["copied"] == 10)
    found = comparison(three)
    assert found["agreement"]["rows"] == 30
    good = [1 / (1 + 2.718281828 ** -(score + bias)) for score in [_score()] for bias in (0, 0.5)]
    assert found["agreement"]["mean_difference"] == pytest.approx(good[1] - good[0], abs=1e-5)
    assert found["agreement"]["equal_labels"] == 1
    assert (found["contender"]["requests"], found["contender"]["errors"]) == (10, 0)
    assert found["contender"]["latency"]["p50"] > 0
    statistics = lead(three).statistics
    assert statistics.succeeded == 10  # copies are no requests
    told = three.get("/v1/models/credit/comparison").json()
    assert told["achieved"] == []
    assert "No true outcome" in told["labels"]


def test_what_labels_tell_of_each_version_is_beside_the_comparison(three, monkeypatch):
    put(three, shadow={"version": 3, "share": 1.0})
    results, before = Results(three.services.database), monitored.START - monitored.HOUR
    quiet = [monitored.signal("drift", "age")]
    for version, auc in ((1, 0.71), (2, 0.5), (3, 0.78)):  # 2 does not compete
        scores = [monitored.signal("performance", "roc_auc", current=auc, low=0.6, high=0.8)]
        measured = {"version": version, "start": before, "end": monitored.START}
        results.save(monitored.result(**measured, signals=scores))
        results.save(monitored.result(version=version, signals=quiet))  # its labels come later
    found = three.get("/v1/models/credit/comparison").json()
    scores = [(each["version"], each["metric"], each["value"]) for each in found["achieved"]]
    assert scores == [(1, "roc_auc", 0.71), (3, "roc_auc", 0.78)]
    assert found["achieved"][0]["end"].startswith("2026-11-21T18:00")
    assert "same window" in found["labels"]

    def down(*_):
        raise DatabaseUnavailable("It is down.")

    monkeypatch.setattr(Results, "measured", down)
    found = three.get("/v1/models/credit/comparison").json()
    assert found["achieved"] == []
    assert "database" in found["labels"]
    assert found["comparisons"]


def _score():
    from support.serving import expected_score, held_feed

    return float(expected_score(held_feed([ROW]), 0.0)[0])


def test_what_a_challenger_answered_is_compared_with_the_champion(three):
    put(three, challenger={"version": 2, "share": 1.0})
    for _ in range(5):
        asked(three)
    until(lambda: comparison(three, "challenger")["copied"] == 5)
    found = comparison(three, "challenger")
    assert found["agreement"]["mean_difference"] > 0.01
    assert (found["champion"]["requests"], found["contender"]["requests"]) == (0, 5)


def test_a_shadow_of_other_columns_reads_the_rows_itself(three, monkeypatch):
    """Its columns are not in the rows: that is its failure, and nobody else's."""
    put(three, shadow={"version": 3, "share": 1.0})
    shadow = three.services.pool.in_memory("credit", 3)
    inputs = (*shadow.model.manifest.inputs, Input.of("extra", Kind.NUMERIC))
    changed = shadow.model.manifest.model_copy(update={"inputs": inputs})
    monkeypatch.setattr(shadow.model, "manifest", changed)
    shadow._kept.clear()
    assert [asked(three) for _ in range(3)] == [1] * 3
    until(lambda: comparison(three)["contender"]["errors"] == 3)


def test_copies_are_dropped_while_requests_wait(three, monkeypatch):
    """The answers come all the same, from the champion, and nothing is left behind."""
    from pellucid_api.plane import routed

    monkeypatch.setattr(routed, "_busy", lambda comparison: True)
    monkeypatch.setattr(routed, "_PATIENCE", 0.05)
    put(three, shadow={"version": 3, "share": 1.0})
    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(lambda _: asked(three), range(300))) == {1}
    until(lambda: comparison(three)["dropped"] == 300)
    assert comparison(three)["copied"] == 0


def test_rules_survive_an_outage_of_the_registry(three, registry):
    put(three, challenger={"version": 2, "share": 1.0})
    registry.down = True
    until(lambda: three.services.pool.registry_error)
    assert asked(three) == 2
    assert three.get(TRAFFIC).status_code == 503
    assert comparison(three, "challenger")["share"] == 1


def test_aborting_and_promoting_end_the_competition(three, registry):
    put(three, challenger={"version": 2, "share": 1.0}, shadow={"version": 3, "share": 1.0})
    assert asked(three) == 2
    found = three.delete(TRAFFIC).json()
    assert (found["champion"], found["challenger"], found["shadow"]) == (1, None, None)
    until(lambda: asked(three) == 1)
    until(lambda: three.services.pool.loaded("credit") == [1])
    put(three, challenger={"version": 3, "share": 0.5})
    summary = three.post("/v1/models/credit/promote", json={}).json()
    assert summary["aliases"] == {"champion": 3}
    until(lambda: asked(three) == 3 and lead(three).trial is None)
    assert registry.model("credit").tags.keys() == {"pellucid.former_champions"}
    assert three.post("/v1/models/credit/promote", json={}).status_code == 409


@pytest.mark.parametrize(
    ("rules", "status"),
    [
        ({"challenger": {"version": 2, "share": 1.5}}, 422),
        ({"challenger": {"version": 2}}, 422),
        ({"winner": {"version": 2, "share": 0.5}}, 422),
        ({"challenger": {"version": 1, "share": 0.5}}, 409),
        ({"shadow": {"version": 9, "share": 0.5}}, 404),
    ],
)
def test_rules_that_cannot_be_are_refused(three, rules, status):
    found = three.put(TRAFFIC, json=rules)
    assert found.status_code == status
    assert found.json()["detail"]
    assert three.get(TRAFFIC).json()["challenger"] is None


def test_outputs_with_nothing_in_common_are_counted_as_such(three, register):
    register(alias=None, task="regression")
    put(three, shadow={"version": 4, "share": 1.0})
    asked(three, rows=2)
    until(lambda: comparison(three)["copied"] == 1)
    found = comparison(three)["agreement"]
    assert (found["incomparable"], found["equal_labels"], found["mean_difference"]) == (
        2,
        None,
        None,
    )


def manifest_of(*outputs, classes=()):
    return SimpleNamespace(
        outputs=[SimpleNamespace(name=each) for each in outputs], classes=classes
    )


def test_outputs_of_models_made_elsewhere_are_compared():
    """Whole numbers too, probabilities without classes, and infinities for what they are."""
    agreement = Agreement()
    manifest = manifest_of("count", "probabilities")
    ours = [np.array([1, 2]), np.array([[0.5, np.inf], [0.5, np.inf]])]
    theirs = [np.array([1, 4]), np.array([[0.5, np.inf], [0.5, -np.inf]])]
    agreement.add((manifest, manifest), (ours, theirs))
    assert (agreement.rows, agreement.incomparable, agreement.labelled) == (2, 0, 0)
    assert (agreement.largest, agreement.mean_difference) == (2.0, 0.5)


def test_texts_that_are_no_labels_are_not_comparable():
    agreement, manifest = Agreement(), manifest_of("reason")
    agreement.add((manifest, manifest), ([np.array(["a"])], [np.array(["a"])]))
    assert (agreement.rows, agreement.incomparable) == (1, 1)


def test_agreement_of_nothing_is_unknown():
    assert (Agreement().label_share, Agreement().mean_difference) == (None, None)
