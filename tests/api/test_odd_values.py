"""Odd values are counted while rows are answered, and no answer or record depends on it."""

import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from pellucid.analysis.watching.binning import bins_of_numbers, bins_of_strings
from pellucid.analysis.watching.counting import count
from pellucid.analysis.watching.profiles import Profile
from pellucid.bundle import PROFILE, Bundle
from pellucid.monitoring.profiles.profiling import ReferenceProfile
from pellucid.monitoring.profiles.windows import profile_rows
from pellucid_api import oddities
from pellucid_api.oddities import KINDS, Live, odd
from support.predictions import batch, number_at
from support.serving import ROW, ServiceClient, make_bundle
from support.watched import reference, rows

PREDICT = "/v1/models/credit/predict"
ODD = [
    ROW | {"age": None, "purpose": "kite"},  # missing, unseen
    ROW | {"age": 1e6, "owner": None},  # outside, missing
    ROW,
]


def profiled(root: Path, content: bytes | None = None) -> Bundle:
    """A bundle that knows its training rows: ages from 0 to 99, a tenth of them missing."""
    made = make_bundle(root)
    age = np.where(np.arange(1000) % 10, np.arange(1000) % 100, np.nan)
    bins = {"age": bins_of_numbers(age), "purpose": bins_of_strings({"car": 900, "boat": 100})}
    purpose = np.array(["car"] * 900 + ["boat"] * 100, object)
    inputs = count({"age": age, "purpose": purpose}, bins)
    ReferenceProfile(inputs, Profile({}, {}, 0)).save(root / PROFILE)
    if content is not None:
        (root / PROFILE).write_bytes(content)
    return Bundle.seal(root, made.manifest)


def predict(client: ServiceClient, rows_: list[dict[str, Any]]) -> None:
    reply = client.post(PREDICT, json=rows_)
    assert reply.status_code == 200, reply.text


def counted(client: ServiceClient, values: int) -> dict[tuple[str, str], float]:
    """The samples once so many values were counted."""
    deadline = time.monotonic() + 60
    while True:
        families = text_string_to_metric_families(client.get("/metrics").text)
        found = {
            (s.name.removeprefix("pellucid_"), s.labels.get("kind", "")): s.value
            for family in families
            for s in family.samples
            if "input_values" in s.name
        }
        if sum(v for k, v in found.items() if k[0] == "input_values_total") >= values:
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.05)


def test_odd_values_are_told_beside_those_to_expect(serve, register, monkeypatch) -> None:
    monkeypatch.setattr(oddities, "_SECONDS", 0.1)
    register(make=profiled)
    client = serve()
    predict(client, ODD)
    predict(client, [ROW])
    found = counted(client, 8)
    assert found["input_values_total", ""] == 8  # of 4 rows: two columns are known
    kinds = {kind: found["odd_input_values_total", kind] for kind in KINDS}
    assert kinds == {"missing": 1, "unseen": 1, "outside": 1, "type": 0}
    assert found["expected_odd_input_values_total", "missing"] == pytest.approx(0.4)
    assert found["expected_odd_input_values_total", "unseen"] == 0


@pytest.mark.parametrize("content", [None, b"{"], ids=["none", "damaged"])
def test_without_a_profile_nothing_is_counted_and_all_is_recorded(
    serve, register, content, caplog, monkeypatch
) -> None:
    monkeypatch.setattr(oddities, "_ROWS", 1)  # what can be counted is counted at once
    if content is None:
        register()
    else:
        register(make=profiled, content=content)
    client = serve()
    predict(client, ODD)
    client.services.recorder.flush()
    assert client.services.recorder.recorded == 3
    assert counted(client, 0) == {}
    assert ("cannot be read" in caplog.text) == (content is not None)


def test_a_count_that_fails_loses_no_row(serve, register, monkeypatch, caplog) -> None:
    monkeypatch.setattr(oddities, "_ROWS", 1)
    register(make=profiled)

    def fail(*_: Any, **__: Any) -> Profile:
        raise ValueError("boom")

    client = serve()
    with monkeypatch.context() as patch:
        patch.setattr(oddities, "count", fail)
        predict(client, ODD)
        client.services.recorder.flush()
    recorder = client.services.recorder
    assert (recorder.recorded, recorder.lost, recorder.error) == (3, 0, "")
    assert "cannot be counted" in caplog.text
    predict(client, ODD)
    assert counted(client, 6)["odd_input_values_total", "unseen"] == 1


def test_pieces_are_counted_as_the_whole_is() -> None:
    trained = reference(rows(2_000, 0))
    live, total = Live(trained.inputs, ["amount", "purpose", "unknown"]), Counter[str]()
    whole: Counter[str] = Counter()
    for seed, many in enumerate((1, 700, 3, 900, 2_500, 64)):
        arrays = rows(many, seed + 1, shift=1.0)
        arrays["purpose"][::7] = "kite"
        arrays["amount"][::5] = np.nan
        piece = batch(number_at(1.8e9, seed), many, arrays=arrays)
        live.add(piece)
        inputs = Profile(trained.inputs.bins, profile_rows(piece, trained).tallies, many)
        whole.update(odd(Profile(inputs.bins, {n: inputs.tallies[n] for n in inputs.bins}, many)))
        assert live.due == (live.rows >= 1024)
        if live.due:
            total.update(odd(live.settle()))
    total.update(odd(live.settle()))
    assert total == whole
    assert whole["missing"] > 800
    assert whole["unseen"] > 500
    assert whole["outside"] > 0
    assert live.rows == 0
