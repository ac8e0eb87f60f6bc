"""After early stopping: some epochs over all rows, those of validation too, as lr falls to 0.

Early stopping needs rows that the network does not learn from, and ends while the learning rate is
still high. A short second fit from the best weights makes up for both. Test rows stay unseen.
"""

from pellucid import plan
from pellucid_pipelines.callbacks.checkpointing import Checkpointing
from pellucid_pipelines.checkpoints import Checkpoints
from pellucid_pipelines.loop import Fit
from pellucid_pipelines.rows import Source

_DOWN = plan.Cosine(warmup=0.1, floor=0.0)  # warmed up, since the optimizer starts anew


def refit(fit: Fit, rows: Source, checkpoints: Checkpoints) -> None:
    """Change a fitted network, in place; `training.refit` times its best epoch long.

    Args:
        fit: finished, its network at its best weights.
        rows: of the training and the validation part.
        checkpoints: of this second fit alone, so that it goes on where it was interrupted.

    Raises:
        TrainingFailed: a loss is not finite.
    """
    training = fit.spec.training
    epochs = max(1, round(training.refit * fit.state.best_epoch))
    changed = {
        "training": training.model_copy(update={"epochs": epochs}),
        "regularization": fit.spec.regularization.model_copy(update={"ema": 0.0}),
        "schedule": _DOWN,
    }
    Fit(
        fit.network,
        fit.loss,
        rows,
        fit.validation,
        fit.spec.model_copy(update=changed),
        device=fit.device,
        callbacks=[Checkpointing(checkpoints, training.checkpoint_seconds)],
        augment=fit.augment,
        world=fit.world,
        objective=fit.objective,
    ).run()
