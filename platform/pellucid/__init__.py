"""Pellucid's platform: what the training pipelines and the service share."""

import os
from importlib.metadata import version

__version__ = version("pellucid")

# ONNX Runtime reports its use to its makers, unless this is set before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
