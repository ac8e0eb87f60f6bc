"""Our own server, as a user starts it: `pellucid api`, over models that it served before.

What the registry gave out last is served from the disk also while MLflow does not answer, so that
nothing else runs beside the server that is measured.
"""

import sys
from pathlib import Path

from inference.models import Network
from pellucid.bundle import MODEL
from pellucid_api.engine.cache import ModelCache
from pellucid_api.engine.foreign import adopt


def command(home: Path, network: Network, port: int) -> tuple[list[str], dict[str, str]]:
    """The command line and the environment of a server of one network."""
    cache = ModelCache(home / "cache" / "models")
    root = cache.path(network.name, 1)
    if not root.exists():
        root.mkdir(parents=True)
        (root / MODEL).write_bytes(network.path.read_bytes())
        adopt(root, network.name)  # as of any ONNX model in the registry
        cache.remember({network.name: 1})
    return started(home, port)


def started(home: Path, port: int) -> tuple[list[str], dict[str, str]]:
    """The same for what the cache under `home` holds."""
    environment = {
        "PELLUCID_HOME": str(home),
        "PELLUCID_PORT": str(port),
        "PELLUCID_DEVICE": "cpu",
        "PELLUCID_MLFLOW_URL": "http://127.0.0.1:9",  # discard: nobody answers
    }
    return [str(Path(sys.executable).with_name("pellucid")), "api"], environment
