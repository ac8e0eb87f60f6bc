"""Cross-validation: a network for each fold, honest scores of them, and their ensemble.

The rows that are no test rows are dealt out to folds. Each fold's network learns from the other
folds, and all that is learnt of the data is learnt from them too: preprocessing of tabular
columns, and the scale of the target. The mean prediction of these networks is one network.
"""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import nn

from pellucid.analysis.scores import SCORES
from pellucid.datasets.splits import Parts
from pellucid.jobs.workspace import Workspace
from pellucid.plan import Plan
from pellucid_pipelines import data, losses
from pellucid_pipelines.callbacks.early_stopping import EarlyStopping
from pellucid_pipelines.data import Data
from pellucid_pipelines.ensemble import Ensemble, Folded
from pellucid_pipelines.folds import Fold, deal
from pellucid_pipelines.journal import Journal
from pellucid_pipelines.loop import Fit, State, predict
from pellucid_pipelines.tensors import Target, seed_of

Scores = dict[str, float]
Train = Callable[..., tuple[nn.Module, State]]
"""`train(spec, examples, workspace=, journal=, stopping=)`; goes on from the checkpoint there, to
`stopping` or, where that is None, until early stopping."""


@dataclass(frozen=True)
class Outcome:
    """What a cross-validation gives.

    Attributes:
        network: the ensemble, on the CPU.
        examples: all rows under the ensemble's preprocessing; its training part is every fold.
        states: of the folds' fits.
        scores: fold by fold, of its network on the rows that were held out from it.
    """

    network: nn.Module
    examples: Data
    states: tuple[State, ...]
    scores: tuple[Scores, ...]

    def summary(self) -> dict[str, Any]:
        """What belongs into the run's result."""
        mean, error = _mean_and_error(self.scores)
        return {
            "validation": mean,
            "epochs": sum(state.epoch for state in self.states),
            "best_epoch": round(median(state.best_epoch for state in self.states)),
            "cross_validation": {
                "folds": list(self.scores),
                "mean": mean,
                "standard_error": error,
            },
        }


class LastEpoch(EarlyStopping):
    """Stops after a given epoch, and keeps its weights, whatever the validation loss."""

    def __init__(self, epoch: int) -> None:
        super().__init__(patience=epoch, min_delta=0.0)

    def epoch_ended(self, fit: Fit, metrics: dict[str, float]) -> None:
        """Stop, if it is time to."""
        if fit.state.epoch >= self.patience:
            fit.state.best_epoch = fit.state.epoch
            fit.state.best_weights = {
                name: value.detach().clone() for name, value in fit.judged.state_dict().items()
            }
            fit.state.stopped = True


class FoldJournal(Journal):
    """The run's journal, in which every curve and event names its fold."""

    def __init__(self, journal: Journal, prefix: str, **fold: int) -> None:
        self._journal, self._prefix, self._fold = journal, prefix, fold

    def event(self, kind: str, **data: Any) -> None:
        """Something happened within the fold."""
        self._journal.event(kind, **data, **self._fold)

    def metrics(self, values: dict[str, float], step: int) -> None:
        """Points of the fold's curves."""
        self._journal.metrics(
            {f"{self._prefix}{key}": value for key, value in values.items()}, step
        )


def run(
    spec: Plan, examples: Data, workspace: Workspace, journal: Journal, train: Train
) -> Outcome:
    """Train every fold, score it on what was held out, and make the ensemble.

    A fold that an earlier attempt has finished is only read back from its checkpoint, and one
    that it began goes on.

    Args:
        spec: resolved.
        examples: prepared; the training part is dealt out, the test part stays untouched.
        workspace: holds a checkpoint for each fold.
        journal: gets curves and progress by fold, and the out-of-fold scores.
        train: fits one network.

    Raises:
        InvalidData: the rows do not suffice for the folds.
        TrainingFailed: as `train` does.
    """
    return _Folds(spec, examples, workspace, journal, train).run()


class _Folds:
    def __init__(
        self,
        spec: Plan,
        examples: Data,
        workspace: Workspace,
        journal: Journal,
        train: Train,
    ) -> None:
        assert spec.cross_validation is not None, "asked for by the plan"
        self.spec, self.chosen, self.whole = spec, spec.cross_validation, examples
        self.workspace, self.journal, self.train = workspace, journal, train
        self.folds = deal(examples.table, examples.parts.train, spec, self.chosen.folds)

    def run(self) -> Outcome:
        networks, states, scores, examples = [], [], [], []
        for number, fold in enumerate(self.folds, start=1):
            network, state, its = self._fold(number, fold)
            held_out = _scores(network, its, fold.held, self.spec)
            FoldJournal(self.journal, f"fold_{number}/").metrics(_named(held_out), 0)
            networks.append(network)
            states.append(state)
            scores.append(held_out)
            examples.append(its)
        mean, error = _mean_and_error(scores)
        errors = {f"{name}_standard_error": value for name, value in error.items()}
        self.journal.metrics(_named(mean | errors), 0)
        network, whole = self._together(networks, examples)
        return Outcome(network, whole, tuple(states), tuple(scores))

    def _fold(self, number: int, fold: Fold) -> tuple[nn.Module, State, Data]:
        """The network that a fold is held out from."""
        name, told = f"fold_{number}", {"fold": number, "folds": len(self.folds)}
        if not self.chosen.inner:
            examples = self._examples(fold.train, fold.held)
            network, state = self._fit(examples, name, number, told, None)
            return network, state, examples
        epochs = self._epochs(number, fold, name, told)
        # What is held out takes no part at all: the curve is that of the training rows.
        examples = self._examples(fold.train, fold.train)
        network, state = self._fit(examples, name, number, told, LastEpoch(epochs))
        return network, state, examples

    def _epochs(self, number: int, fold: Fold, name: str, told: dict[str, int]) -> int:
        """How long to train: the median of the best epochs on folds within the fold's rows."""
        inner = deal(self.whole.table, fold.train, self.spec, self.chosen.inner, f"inner_{number}")
        found = []
        for i, each in enumerate(inner, start=1):
            examples = self._examples(each.train, each.held)
            within = f"{name}/inner_{i}"
            _, state = self._fit(examples, within, number, told | {"inner": i}, None)
            found.append(state.best_epoch)
        return max(1, round(median(found)))

    def _fit(
        self,
        examples: Data,
        name: str,
        number: int,
        told: dict[str, int],
        stopping: EarlyStopping | None,
    ) -> tuple[nn.Module, State]:
        workspace = copy.copy(self.workspace)
        workspace.checkpoint = self.workspace.checkpoint / name
        journal = FoldJournal(self.journal, f"{name}/", **told)
        return self.train(
            self._seeded(number), examples, workspace=workspace, journal=journal, stopping=stopping
        )

    def _seeded(self, number: int) -> Plan:
        """The plan under a seed of the fold's own, so that members differ from the start on."""
        training = self.spec.training
        seed = seed_of("fold", training.seed, number) % 2**32
        return self.spec.model_copy(update={"training": training.model_copy(update={"seed": seed})})

    def _examples(self, train: np.ndarray, validation: np.ndarray) -> Data:
        """Rows under what was learnt from `train`; classes are those of all folds."""
        parts = Parts(train, validation, self.whole.parts.test)
        if self.spec.modality == "tabular":
            fitted = data.prepare(self.whole.table, parts, self.whole.schema, self.spec)
        else:
            target = self._target(train)
            fitted = replace(self.whole, parts=parts, target=target)
        if self.whole.target.classes:
            return replace(fitted, target=self.whole.target)
        return fitted

    def _target(self, train: np.ndarray) -> Target:
        whole = self.whole.target
        column = self.whole.table.column(whole.name).take(pa.array(train))
        return Target.fit(column, whole.name, whole.task, self.spec.positive_class)

    def _together(
        self, networks: Sequence[nn.Module], examples: Sequence[Data]
    ) -> tuple[nn.Module, Data]:
        target, whole = self.whole.target, self.whole
        targets = [each.target for each in examples]
        places = None
        if self.spec.modality == "tabular":
            folded = Folded(whole.preprocessing, [each.preprocessing for each in examples])
            whole, places = replace(whole, preprocessing=folded), folded.places()
        ensemble = Ensemble(networks, target.link, targets, target, places)
        return ensemble.eval().requires_grad_(False), whole


def _scores(network: nn.Module, examples: Data, held: np.ndarray, spec: Plan) -> Scores:
    """The loss, and every score that is defined, of rows that were held out."""
    target, weight = examples.target, examples.weights(held)
    assert spec.loss is not None, "a resolved plan has a loss"
    rows = examples.rows(held, spec.training.class_weights)
    raw = predict(network, rows.inputs)
    loss = losses.mean(losses.build(spec.loss, target)(raw, rows.targets), rows.weights)
    with torch.inference_mode():
        prediction, truth = target.head()(raw).numpy(), examples.truth(held)
    if target.task == "regression" and truth.ndim == 2:  # a forecast: every step counts
        weight = None if weight is None else np.repeat(weight, truth.shape[1])
        prediction, truth = prediction.ravel(), truth.ravel()
    found = {
        name: score(truth, prediction, weight, positive=target.positive)
        for name, score in SCORES.items()
        if score.task == target.task
    }
    return {"loss": loss.item()} | {k: v for k, v in found.items() if math.isfinite(v)}


def _mean_and_error(scores: Sequence[Scores]) -> tuple[Scores, Scores]:
    """The mean over the folds, and its standard error, of scores that all folds have.

    The error is the folds' standard deviation / sqrt(folds). As the folds' training rows overlap,
    it is a little too small (Bengio and Grandvalet, 2004).
    """
    names = [name for name in scores[0] if all(name in each for each in scores)]
    values = {name: np.array([each[name] for each in scores]) for name in names}
    mean = {name: float(each.mean()) for name, each in values.items()}
    count = math.sqrt(len(scores))
    return mean, {name: float(each.std(ddof=1)) / count for name, each in values.items()}


def _named(scores: Scores) -> Scores:
    return {f"out_of_fold/{name}": value for name, value in scores.items()}
