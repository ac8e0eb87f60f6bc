"""One network, from its first weights to its best: built, started, fitted, and fitted again."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from torch import nn

from pellucid.errors import TrainingFailed
from pellucid.jobs.workspace import Request, Workspace
from pellucid.plan import Plan
from pellucid_pipelines import (
    architectures,
    augmentation,
    environment,
    initialization,
    losses,
    mitigation,
    transfer,
)
from pellucid_pipelines.callbacks import Callback
from pellucid_pipelines.callbacks.checkpointing import Checkpointing
from pellucid_pipelines.callbacks.diagnosing import Diagnosing
from pellucid_pipelines.callbacks.early_stopping import EarlyStopping
from pellucid_pipelines.callbacks.reporting import Reporting
from pellucid_pipelines.checkpoints import Checkpoints, fingerprint
from pellucid_pipelines.data import Data
from pellucid_pipelines.distributed import World
from pellucid_pipelines.features import Features
from pellucid_pipelines.journal import Journal
from pellucid_pipelines.loop import Fit, State
from pellucid_pipelines.refitting import refit
from pellucid_pipelines.tensors import seed_of
from pellucid_pipelines.watching import watcher


def train(
    request: Request,
    spec: Plan,
    examples: Data,
    device: torch.device,
    workspace: Workspace,
    journal: Journal,
    callbacks: Sequence[Callback] = (),
    stopping: EarlyStopping | None = None,
    world: World = World(),  # noqa: B008 - immutable
) -> tuple[nn.Module, State]:
    """Fit a network, going on from the job's checkpoint; returns it on the CPU, at its best.

    Args:
        request: what the attempt is to do.
        spec: the resolved plan.
        examples: prepared rows.
        device: to train on.
        workspace: holds the checkpoint.
        journal: gets metrics and events.
        callbacks: told before our own.
        stopping: default: the plan's early stopping.
        world: the processes that train together.

    Raises:
        TrainingFailed: a loss is not finite, or the device's memory is too small.
    """
    training, target, parts = spec.training, examples.target, examples.parts
    features = examples.features(training.seed)
    network = start(request, spec, examples, features, journal)
    assert spec.loss is not None, "a resolved plan has a loss"
    loss = losses.build(spec.loss, target)
    truth, weight = examples.truth(parts.validation), examples.weights(parts.validation)

    def checkpoints(directory: Path) -> Checkpoints:
        return Checkpoints(directory, fingerprint(request), writes=world.leads)

    told = [
        *callbacks,
        *([Diagnosing(journal, features, target)] if training.diagnostics else []),
        stopping or EarlyStopping(training.patience, training.min_delta),
        Reporting(journal),  # spools an epoch's metrics before its checkpoint
        Checkpointing(checkpoints(workspace.checkpoint), training.checkpoint_seconds),
    ]
    with _memory_errors_told(device):
        fit = Fit(
            network,
            loss,
            examples.source(parts.train, training.class_weights),
            examples.rows(parts.validation, training.class_weights),
            spec,
            device=device,
            watch=watcher(target, truth, weight, device),
            augment=augmentation.build(spec.augmentation, features),
            world=world,
            callbacks=told,
            objective=mitigation.objective(spec, examples.groups, target),
        )
        state = fit.run()
        if training.refit and spec.cross_validation is None and not request.trial:
            journal.stage("refit")
            every = np.concatenate([parts.train, parts.validation])
            rows = examples.source(every, training.class_weights)
            refit(fit, rows, checkpoints(workspace.checkpoint / "refit"))
    return network.cpu(), state


@contextmanager
def _memory_errors_told(device: torch.device) -> Iterator[None]:
    """A device that runs out of memory ends the training, with a remedy."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise TrainingFailed(
            f"The memory of {device} is too small: {error}.",
            where={"path": "training.batch_size"},
            remedy="Lower training.batch_size or the model's width, or set training.device to cpu.",
        ) from error


def start(
    request: Request, spec: Plan, examples: Data, features: Features, journal: Journal
) -> nn.Module:
    """The network with its first weights: random, or another version's where they fit."""
    assert spec.model is not None, "a resolved plan has a model"
    target = examples.target
    torch.manual_seed(seed_of("network", spec.training.seed))
    network = architectures.build(spec.model, features, target.outputs, target.link)
    initialization.initialize(network, spec.initialization, features.sample)
    if spec.transfer is not None and request.weights_path is not None:
        taken = transfer.start_from(network, Path(request.weights_path))
        journal.event("transfer", version=spec.transfer.version, **taken._asdict())
        if spec.transfer.freeze:
            transfer.freeze(network, taken.renewed)
    sample = None if features.sample is None else features.sample[:1]
    work = environment.multiply_adds(network, sample)
    environment.limit_threads(spec.training.batch_size * work)
    return network
