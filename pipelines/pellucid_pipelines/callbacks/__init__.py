"""Callbacks: what listens to the training loop. A file each; errors in them end the run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from pellucid.errors import TrainingFailed
    from pellucid_pipelines.loop import Fit
    from pellucid_pipelines.rows import Rows


EVENTS = (
    "fit_started",
    "step_started",
    "gradients_ready",
    "step_ended",
    "epoch_ended",
    "fit_ended",
    "failed",
)


class Callback:
    """Does nothing. Override what you want to hear of, in the class; `fit` may be changed."""

    def fit_started(self, fit: Fit) -> None:
        """Before the first epoch of this attempt."""

    def step_started(self, fit: Fit, batch: Rows) -> None:
        """Before the forward pass of a batch."""

    def gradients_ready(self, fit: Fit, norm: Tensor) -> None:
        """After the backward pass and clipping, before the update; the norm is that before it."""

    def step_ended(self, fit: Fit, step: int, trace: Tensor) -> None:
        """After a step, counted from 1; rows of `trace` up to it hold loss and gradient norm."""

    def epoch_ended(self, fit: Fit, metrics: dict[str, float]) -> None:
        """After an epoch was validated and counted in `fit.state`."""

    def fit_ended(self, fit: Fit) -> None:
        """After the last epoch."""

    def failed(self, fit: Fit, error: TrainingFailed) -> None:
        """Before an error leaves the fit; what is known of its cause may be added to it."""
