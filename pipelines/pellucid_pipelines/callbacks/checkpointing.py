"""Commit the state of a run, so that an interrupted one goes on."""

import time

from pellucid_pipelines.callbacks import Callback
from pellucid_pipelines.checkpoints import Checkpoints
from pellucid_pipelines.loop import Fit


class Checkpointing(Callback):
    """Saves after an epoch when the last save is `seconds` ago, and when training ends."""

    def __init__(self, checkpoints: Checkpoints, seconds: float) -> None:
        self.checkpoints, self.seconds = checkpoints, seconds

    def fit_started(self, fit: Fit) -> None:
        """Go on from the last commit, where there is one."""
        saved = self.checkpoints.load(fit.device)
        if saved is not None:
            fit.load_state_dict(saved)
        self._saved = time.monotonic()

    def epoch_ended(self, fit: Fit, metrics: dict[str, float]) -> None:
        """Commit, if it is time to."""
        if time.monotonic() - self._saved >= self.seconds:
            self._save(fit)

    def fit_ended(self, fit: Fit) -> None:
        """Commit, so that a crash in a later stage costs no training."""
        self._save(fit)

    def _save(self, fit: Fit) -> None:
        self.checkpoints.save(fit.state_dict())
        self._saved = time.monotonic()
