"""Checkpoints: the state of a training run, committed atomically."""

import hashlib
import io
import json
import logging
import pickle
from pathlib import Path
from typing import Any

import torch

from pellucid.jobs.workspace import Request, write_atomically

_log = logging.getLogger(__name__)
_FORMAT = 2  # raised when the content changes; older checkpoints are then ignored


def fingerprint(request: Request) -> str:
    """What a checkpoint belongs to: the plan, the data version and the checkpoint's format."""
    content = json.dumps([_FORMAT, request.plan, request.data_version], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()


class Checkpoints:
    """One file, replaced as a whole: a crash leaves the last commit or the one before."""

    def __init__(self, directory: Path, fingerprint: str, *, writes: bool = True) -> None:
        self.path = directory / "state.pt"
        self.fingerprint = fingerprint
        self.writes = writes  # of several processes that train together one commits

    def save(self, state: dict[str, Any]) -> None:
        """Commit tensors and plain values."""
        if not self.writes:
            return
        content = io.BytesIO()
        torch.save({"fingerprint": self.fingerprint, "state": state}, content)
        write_atomically(self.path, content.getvalue())

    def load(self, device: torch.device) -> dict[str, Any] | None:
        """The last commit of the same plan and data, its tensors on a device; or None."""
        for torn in self.path.parent.glob(f".{self.path.name}.*.tmp"):  # killed while saving
            torn.unlink(missing_ok=True)
        if not self.path.exists():
            return None
        content = io.BytesIO(self.path.read_bytes())
        try:
            saved = torch.load(content, map_location=device, weights_only=True)
        except (RuntimeError, ValueError, OSError, EOFError, pickle.UnpicklingError) as error:
            _log.warning("The checkpoint cannot be read, training starts over: %s", error)
            return None
        if saved["fingerprint"] != self.fingerprint:
            _log.warning("The checkpoint is of another plan or data set; training starts over.")
            return None
        state: dict[str, Any] = saved["state"]
        return state
