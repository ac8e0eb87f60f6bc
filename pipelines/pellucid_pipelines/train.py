"""One attempt of a training job: `python -m pellucid_pipelines.train JOB_DIR`.

Reads and writes the job's directory only; see `pellucid.jobs.workspace`. Exit status 0: the result
is committed. 2: `error.json` says why no attempt can succeed. Anything else is a crash, after
which another attempt goes on from the last checkpoint.
"""

import logging
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from pellucid.errors import DeviceUnavailable, InvalidInput, InvalidPlan, TrainingFailed
from pellucid.jobs.workspace import Request, Workspace
from pellucid.logs import configure_logging
from pellucid.plan import Plan
from pellucid_pipelines import (
    architectures,
    assessment,
    augmentation,
    cross_validation,
    data,
    distributed,
    environment,
    initialization,
    losses,
    packing,
    transfer,
    trials,
    windows,
)
from pellucid_pipelines.callbacks import Callback
from pellucid_pipelines.callbacks.checkpointing import Checkpointing
from pellucid_pipelines.callbacks.diagnosing import Diagnosing
from pellucid_pipelines.callbacks.early_stopping import EarlyStopping
from pellucid_pipelines.callbacks.reporting import Reporting
from pellucid_pipelines.checkpoints import Checkpoints, fingerprint
from pellucid_pipelines.data import Data
from pellucid_pipelines.diagnostics import report
from pellucid_pipelines.distributed import World
from pellucid_pipelines.explain import explain
from pellucid_pipelines.journal import Journal
from pellucid_pipelines.loop import Fit, State
from pellucid_pipelines.provenance import Recorder
from pellucid_pipelines.refitting import refit
from pellucid_pipelines.system_metrics import SystemMetrics
from pellucid_pipelines.tensors import seed_of
from pellucid_pipelines.watching import watcher

_log = logging.getLogger(__name__)


def run(workspace: Workspace) -> None:
    """All stages of a run, in order."""
    started = time.monotonic()
    request = workspace.read_request()
    spec = Plan.parse(request.plan)
    device = environment.choose_device(spec.training.device)
    environment.make_deterministic(spec.training.deterministic, device)
    world = distributed.join(device)
    if world.size > 1 and spec.cross_validation is not None:
        raise InvalidPlan(
            "Cross-validation runs in one process.",
            where={"path": "cross_validation"},
            remedy="Train with one process, or without cross-validation.",
        )
    if not world.leads:
        workspace = distributed.aside(workspace)
    shutil.rmtree(workspace.outputs, ignore_errors=True)  # an earlier attempt's, not committed
    with Journal(workspace) as journal, SystemMetrics(journal, workspace.metrics_path):
        tags = environment.tags(device, spec.training.seed)
        journal.event("environment", tags=tags)

        recorder = Recorder(request, spec, device)

        journal.stage("read")
        table = data.read(request, spec)
        table, schema, spec = windows.widen(table, request.data_schema, spec)

        journal.stage("split")
        parts = data.split(table, spec)

        journal.stage("preprocess")
        examples = data.prepare(table, parts, schema, spec)

        recorder.prepared(examples, spec.training.seed)

        journal.stage("train")

        def fit(
            spec: Plan,
            examples: Data,
            workspace: Workspace,
            journal: Journal,
            stopping: EarlyStopping | None = None,
        ) -> tuple[nn.Module, State]:
            told = [recorder]
            return train(request, spec, examples, device, workspace, journal, told, stopping, world)

        if spec.cross_validation is None:
            network, state = fit(spec, examples, workspace, journal)
            summary = trials.summary(workspace, state)
        else:
            folds = cross_validation.run(spec, table, parts, schema, workspace, journal, fit)
            network, state, examples = folds.network, folds.states[0], folds.examples
            summary = folds.summary()
        if not world.leads:
            return
        recorder.ended(state, network.state_dict())
        if request.trial:  # only the best one goes on, as its search
            findings = report.of_run(state.memory)
            seconds = round(time.monotonic() - started, 3)
            workspace.write_result(summary | {"findings": report.tag(findings), "seconds": seconds})
            return

        journal.stage("evaluate")
        assessed = assessment.assess(network, examples, spec)
        assessment.spool(assessed, journal)
        assessment.write_tables(assessed, examples, workspace)
        findings = report.finish(state, network, examples, assessed, journal, workspace)

        journal.stage("explain")
        explained = explain(
            network,
            examples.preprocessing,
            examples.target,
            background=examples.take(examples.parts.train),
            rows=examples.take(examples.parts.test),
            spec=spec.explanation,
            seed=spec.training.seed,
        )

        journal.stage("draw")
        assessment.draw(assessed, explained, examples, workspace)
        if request.study is not None:
            from pellucid_pipelines.search_figures import search_figures  # optuna, matplotlib

            search_figures(request.study, workspace.figures)
            trials.write_table(request.study, workspace)

        journal.stage("export")
        opset, parity = packing.export(network, examples, workspace.bundle)

        journal.stage("pack")
        manifest = packing.describe(request, spec, examples, assessed, opset, parity)
        recorder.write(workspace)
        packing.pack(manifest, examples, assessed, explained, findings, workspace)
        seconds = time.monotonic() - started
        result = packing.result(spec, examples.target, assessed, explained, state, seconds)
        result |= summary | {"findings": report.tag(findings)}
    workspace.write_result(result)


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

    Raises:
        TrainingFailed: a loss is not finite, or the device's memory is too small.
    """
    training, target, parts = spec.training, examples.target, examples.parts
    torch.manual_seed(seed_of("network", training.seed))
    features = examples.features(training.seed)
    assert spec.model is not None, "a resolved plan has a model"
    assert spec.loss is not None, "a resolved plan has a loss"
    network = architectures.build(spec.model, features, target.outputs, target.link)
    initialization.initialize(network, spec.initialization, features.sample)
    if spec.transfer is not None and request.weights_path is not None:
        taken = transfer.start_from(network, Path(request.weights_path))
        journal.event("transfer", version=spec.transfer.version, **taken._asdict())
        if spec.transfer.freeze:
            transfer.freeze(network, taken.renewed)
    sample = None if features.sample is None else features.sample[:1]
    work = environment.multiply_adds(network, sample)
    environment.limit_threads(training.batch_size * work)
    checkpoints = Checkpoints(workspace.checkpoint, fingerprint(request), writes=world.leads)
    truth, weight = examples.truth(parts.validation), examples.weights(parts.validation)
    try:
        fit = Fit(
            network,
            losses.build(spec.loss, target),
            examples.rows(parts.train, training.class_weights),
            examples.rows(parts.validation, training.class_weights),
            spec,
            device=device,
            watch=watcher(target, truth, weight, device),
            augment=augmentation.build(spec.augmentation, features),
            world=world,
            callbacks=[
                *callbacks,
                *([Diagnosing(journal, features, target)] if training.diagnostics else []),
                stopping or EarlyStopping(training.patience, training.min_delta),
                Reporting(journal),  # spools an epoch's metrics before its checkpoint
                Checkpointing(checkpoints, training.checkpoint_seconds),
            ],
        )
        state = fit.run()
        if training.refit and spec.cross_validation is None and not request.trial:
            journal.stage("refit")
            rows = np.concatenate([parts.train, parts.validation])
            beside = workspace.checkpoint / "refit"
            again = Checkpoints(beside, fingerprint(request), writes=world.leads)
            refit(fit, examples.rows(rows, training.class_weights), again)
    except torch.OutOfMemoryError as error:
        raise TrainingFailed(
            f"The memory of {device} is too small: {error}.",
            where={"path": "training.batch_size"},
            remedy="Lower training.batch_size or model.widths, or set training.device to cpu.",
        ) from error
    return network.cpu(), state


def main() -> int:
    """Run the attempt that the command line names; returns the exit status."""
    configure_logging()
    workspace = Workspace(Path(sys.argv[1]))
    try:
        run(workspace)
    except (InvalidInput, TrainingFailed, DeviceUnavailable) as error:
        _log.error("%s", error)
        workspace.write_error(error)
        return 2
    return 0


if __name__ == "__main__":
    status = main()
    logging.shutdown()
    os._exit(status)  # all is written; taking the libraries down in order would cost seconds
