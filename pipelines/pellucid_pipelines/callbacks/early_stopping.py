"""Stop when the validation loss no longer improves, and keep the best weights."""

from pellucid_pipelines.callbacks import Callback
from pellucid_pipelines.loop import Fit


class EarlyStopping(Callback):
    """Stops after `patience` epochs without a loss lower than the best by `min_delta`."""

    def __init__(self, patience: int, min_delta: float) -> None:
        self.patience, self.min_delta = patience, min_delta

    def epoch_ended(self, fit: Fit, metrics: dict[str, float]) -> None:
        """Remember the best weights; stop when they are `patience` epochs old."""
        state = fit.state
        if metrics["validation/loss"] < state.best_loss - self.min_delta:
            state.best_epoch = state.epoch
            state.best_weights = {
                name: value.detach().clone() for name, value in fit.judged.state_dict().items()
            }
        state.stopped = state.epoch - state.best_epoch >= self.patience

    def fit_ended(self, fit: Fit) -> None:
        """Restore the best weights."""
        fit.network.load_state_dict(fit.state.best_weights)
