"""Tell of progress: metrics of every epoch, and a few events a second."""

import time

from torch import Tensor

from pellucid_pipelines.callbacks import Callback
from pellucid_pipelines.journal import Journal
from pellucid_pipelines.loop import Fit

_SECONDS = 0.25


class Reporting(Callback):
    """Spools an epoch's metrics, and progress events at most every quarter of a second."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    def fit_started(self, fit: Fit) -> None:
        """Start the clock of this attempt."""
        self._started = time.monotonic()
        self._first_step = fit.state.epoch * fit.steps
        self._told = 0.0

    def step_ended(self, fit: Fit, step: int, trace: Tensor) -> None:
        """Within a long epoch: its mean loss so far."""
        if time.monotonic() - self._told >= _SECONDS and step < fit.steps:
            self._tell(fit, fit.state.epoch * fit.steps + step, trace[:step, 0].mean().item())

    def epoch_ended(self, fit: Fit, metrics: dict[str, float]) -> None:
        """Spool the metrics, before the epoch's checkpoint is committed."""
        self.journal.metrics(metrics, fit.state.epoch)
        last = fit.state.stopped or fit.state.epoch == fit.spec.training.epochs
        if last or time.monotonic() - self._told >= _SECONDS:
            self._tell(fit, fit.state.epoch * fit.steps, metrics["train/loss"])

    def _tell(self, fit: Fit, step: int, train_loss: float) -> None:
        self._told = time.monotonic()
        state, epochs = fit.state, fit.spec.training.epochs
        steps = epochs * fit.steps
        each = (self._told - self._started) / (step - self._first_step)
        self.journal.event(
            "progress",
            epoch=state.epoch,
            epochs=epochs,
            step=step,
            steps=steps,
            train_loss=train_loss,
            validation_loss=state.losses[-1] if state.losses else None,
            lr=fit.lr,
            eta_seconds=0.0 if state.stopped else round(each * (steps - step), 1),
        )
