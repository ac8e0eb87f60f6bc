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
from pathlib import Path

import torch
from torch import nn

from pellucid.errors import DeviceUnavailable, InvalidInput, TrainingFailed
from pellucid.jobs.workspace import Request, Workspace
from pellucid.logs import configure_logging
from pellucid.plan import Plan
from pellucid_pipelines import architectures, assessment, data, environment, losses, packing
from pellucid_pipelines.callbacks.checkpointing import Checkpointing
from pellucid_pipelines.callbacks.early_stopping import EarlyStopping
from pellucid_pipelines.callbacks.reporting import Reporting
from pellucid_pipelines.checkpoints import Checkpoints, fingerprint
from pellucid_pipelines.data import Data
from pellucid_pipelines.explain import explain
from pellucid_pipelines.journal import Journal
from pellucid_pipelines.loop import Fit, State
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
    shutil.rmtree(workspace.outputs, ignore_errors=True)  # an earlier attempt's, not committed
    with Journal(workspace) as journal, SystemMetrics(journal, workspace.metrics_path):
        tags = environment.tags(device, spec.training.seed)
        journal.event("environment", tags=tags)

        journal.stage("read")
        table = data.read(request, spec)

        journal.stage("split")
        parts = data.split(table, spec)

        journal.stage("preprocess")
        examples = data.prepare(table, parts, request.data_schema, spec)

        journal.stage("train")
        network, state = train(request, spec, examples, device, workspace, journal)

        journal.stage("evaluate")
        assessed = assessment.assess(network, examples, spec)
        assessment.spool(assessed, journal)
        assessment.write_tables(assessed, examples, workspace)

        journal.stage("explain")
        explained = explain(
            network,
            examples.preprocessing,
            examples.target,
            background=examples.take(parts.train),
            rows=examples.take(parts.test),
            spec=spec.explanation,
            seed=spec.training.seed,
        )

        journal.stage("draw")
        assessment.draw(assessed, explained, examples, workspace)

        journal.stage("export")
        opset, parity = packing.export(network, examples, workspace.bundle)

        journal.stage("pack")
        manifest = packing.describe(request, spec, examples, assessed, opset, parity)
        packing.pack(manifest, examples, assessed, explained, workspace)
        seconds = time.monotonic() - started
        result = packing.result(spec, examples.target, assessed, explained, state, seconds)
    workspace.write_result(result)


def train(
    request: Request,
    spec: Plan,
    examples: Data,
    device: torch.device,
    workspace: Workspace,
    journal: Journal,
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
    parameters = sum(p.numel() for p in network.parameters())
    environment.limit_threads(training.batch_size * parameters)
    checkpoints = Checkpoints(workspace.checkpoint, fingerprint(request))
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
            callbacks=[
                EarlyStopping(training.patience, training.min_delta),
                Reporting(journal),  # spools an epoch's metrics before its checkpoint
                Checkpointing(checkpoints, training.checkpoint_seconds),
            ],
        )
        state = fit.run()
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
