"""Our own server, as a user starts it: `pellucid api`, over models that it served before.

What the registry gave out last is served from the disk also while MLflow does not answer, so that
nothing else runs beside the server that is measured.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from inference.models import INPUT, OUTPUT, SHAPES, Network
from pellucid.bundle import MODEL, PARITY, Bundle, Datatype, Input, Manifest, Output, Parity
from pellucid.schema import Kind
from pellucid_api.engine.cache import ModelCache

_PARITY_ROWS = 64


def command(home: Path, network: Network, port: int) -> tuple[list[str], dict[str, str]]:
    """The command line and the environment of a server of one network."""
    cache = ModelCache(home / "cache" / "models")
    root = cache.path(network.name, 1)
    if not root.exists():
        _bundle(root, network)
        cache.remember({network.name: 1})
    environment = {
        "PELLUCID_HOME": str(home),
        "PELLUCID_PORT": str(port),
        "PELLUCID_DEVICE": "cpu",
        "PELLUCID_MLFLOW_URL": "http://127.0.0.1:9",  # discard: nobody answers
    }
    return [str(Path(sys.executable).with_name("pellucid")), "api"], environment


def _bundle(root: Path, network: Network) -> None:
    root.mkdir(parents=True)
    rows = network.rows(_PARITY_ROWS, seed=0)
    found = network.answer(rows)
    (root / MODEL).write_bytes(network.path.read_bytes())
    np.savez(root / PARITY, **{f"input:{INPUT}": rows, f"output:{OUTPUT}": found})
    shape = SHAPES[network.name]
    manifest = Manifest(
        name=network.name,
        task="other",
        target="",
        inputs=(Input(name=INPUT, kind=Kind.TENSOR, datatype=Datatype.FP32, shape=shape),),
        outputs=(Output(name=OUTPUT, datatype=Datatype.FP32, shape=(-1, found.shape[1])),),
        opset=17,
        files={},
        parity=Parity(rows=_PARITY_ROWS, tolerance=1e-4, max_error=0.0),
        metrics={},
        data_version="",
        job_id="",
        created=datetime.now(UTC).isoformat(),
        plan={},
        environment={},
    )
    Bundle.seal(root, manifest)
