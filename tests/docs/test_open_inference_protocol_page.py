"""The page's examples run as they are written, but for the port."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pellucid.settings import Settings
from pellucid.tracking.contract import CHAMPION
from pellucid.tracking.memory import MemoryTracker
from support.serving import ServiceClient, make_bundle, probabilities, serving

PAGE = Path(__file__).parents[2] / "docs" / "howto" / "open-inference-protocol.md"
TEXT = PAGE.read_text(encoding="utf-8")
FEED = {
    "age": np.array([41, np.nan]),
    "owner": np.array([1.0, 0.0]),
    "since": np.array([1717156800.0, 915148800.0]),
    "purpose": ["car", "boat"],
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceClient]:
    root = tmp_path_factory.mktemp("page")
    registry = MemoryTracker(root / "registry")
    make_bundle(root / "bundle")
    registry.register("run-1", "credit", root / "bundle", {})
    registry.set_alias("credit", CHAMPION, 1)
    settings = Settings(home=root / "home", alias_poll_seconds=0.05, device="cpu")
    with serving(settings, registry) as client:
        yield client


def blocks(language: str, service: ServiceClient) -> list[str]:
    found = re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)
    return [each.replace("localhost:8000", service.base_url.netloc.decode()) for each in found]


def run(script: str) -> str:
    done = subprocess.run(
        ["bash", "-euc", script], capture_output=True, text=True, check=True, timeout=30
    )
    return done.stdout


def shares(answer: dict[str, Any]) -> np.ndarray:
    (output,) = [each for each in answer["outputs"] if each["name"] == "probabilities"]
    return np.reshape(output["data"], output["shape"])


def test_the_examples_for_curl(service: ServiceClient) -> None:
    metadata, inference, binary, models = blocks("sh", service)
    assert json.loads(run(metadata))["name"] == "credit"
    answer = json.loads(run(inference))
    assert answer["id"] == "42"
    np.testing.assert_allclose(shares(answer), probabilities(FEED), atol=1e-6)
    row = {"age": [41.0], "owner": [1.0], "since": [0.0], "purpose": ["car"]}
    feed = {name: np.array(values) for name, values in row.items()}
    np.testing.assert_allclose(shares(json.loads(run(binary))), probabilities(feed), atol=1e-6)
    index, unloaded, loaded, stats, config = map(run, models.strip().split("\n"))
    assert json.loads(index)[0]["state"] == "READY"
    assert (unloaded, loaded) == ("", "")
    assert json.loads(stats)["model_stats"][0]["inference_count"] >= 3
    assert json.loads(config)["backend"] == "onnxruntime"


def test_the_examples_for_python(service: ServiceClient) -> None:
    names: dict[str, Any] = {}
    for block in blocks("python", service):
        exec(compile(block, str(PAGE), "exec"), names)
    found = names["answer"].as_numpy("probabilities")
    np.testing.assert_allclose(found, probabilities(FEED), atol=1e-6)
    names["client"].close()
