"""One attempt of a training job: `python -m pellucid_pipelines.train JOB_DIR`.

Reads and writes the job's directory only; see `pellucid.jobs.workspace`. Exit status 0: the result
is committed. 2: `error.json` says why no attempt can succeed. Anything else is a crash, after
which another attempt goes on from the last checkpoint.
"""

import functools
import logging
import os
import shutil
import time
from pathlib import Path

from pellucid.errors import DeviceUnavailable, InvalidInput, StorageFull, TrainingFailed
from pellucid.jobs.process import attempt
from pellucid.jobs.workspace import Workspace
from pellucid.plan import Plan
from pellucid_pipelines import (
    assessment,
    cross_validation,
    data,
    distributed,
    environment,
    fairness,
    global_explanation,
    packing,
    placement,
    reference_profile,
    transfer,
    trials,
    windows,
)
from pellucid_pipelines.diagnostics import report
from pellucid_pipelines.explain import compared, explain, for_serving
from pellucid_pipelines.fitting import train
from pellucid_pipelines.journal import Journal
from pellucid_pipelines.mitigation import deciding, effect
from pellucid_pipelines.provenance import Recorder
from pellucid_pipelines.system_metrics import SystemMetrics


def run(workspace: Workspace) -> None:
    """All stages of a run, in order."""
    started = time.monotonic()
    request = workspace.read_request()
    spec = Plan.parse(request.plan)
    seed = spec.training.seed
    device = environment.choose_device(spec.training.device)
    environment.make_deterministic(spec.training.deterministic, device)
    world = distributed.join(device, spec)
    if not world.leads:
        workspace = distributed.aside(workspace)
    spec = placement.settle(request, spec, workspace, world)
    place = {"data_in": spec.training.data_in}
    shutil.rmtree(workspace.outputs, ignore_errors=True)  # an earlier attempt's, not committed
    with Journal(workspace) as journal, SystemMetrics(journal, workspace.metrics_path):
        journal.event("environment", tags=environment.tags(device, seed) | place)
        recorder = Recorder(request, spec, device)

        journal.stage("read")
        table = data.read(request, spec, workspace.scratch, world)
        table, schema, spec = windows.widen(table, request.data_schema, spec)

        journal.stage("split")
        parts = data.split(table, spec)

        journal.stage("preprocess")
        examples = data.prepare(table, parts, schema, spec)
        fairness.check(spec, examples.target)
        if request.weights_path is not None:
            examples = transfer.with_its_tokens(examples, Path(request.weights_path))
        recorder.prepared(examples, seed)

        journal.stage("train")
        fit = functools.partial(train, request, device=device, callbacks=[recorder], world=world)
        if spec.cross_validation is None:
            network, state = fit(spec, examples, workspace=workspace, journal=journal)
            summary = trials.summary(workspace, state)
        else:
            folds = cross_validation.run(spec, examples, workspace, journal, fit)
            network, state, examples = folds.network, folds.states[0], folds.examples
            summary = folds.summary()
        if not world.leads:
            return
        recorder.ended(state, network.state_dict())
        if request.trial:  # only the best one goes on, as its search
            workspace.write_result(trials.result(summary, state, time.monotonic() - started))
            return

        journal.stage("evaluate")
        rule = deciding.decide(network, examples, spec)
        assessed = assessment.assess(network, examples, spec, rule)
        assessment.spool(assessed, journal)
        assessment.write_tables(assessed, examples, workspace, rule)
        mitigated = effect.measure(network, examples, spec, rule, journal, workspace)
        findings = report.finish(state, network, examples, assessed, journal, workspace)

        journal.stage("explain")
        background, weights = compared(examples, spec.explanation, seed)
        explained = explain(
            network,
            examples.preprocessing,
            examples.target,
            background,
            rows=examples.sample(examples.parts.test, spec.explanation.rows, seed),
            spec=spec.explanation,
            seed=seed,
            weights=weights,
        )

        journal.stage("draw")
        assessment.draw(assessed, examples, workspace)
        global_explanation.write(network, examples, explained, spec, workspace, journal)
        trials.draw(request.study, workspace)

        journal.stage("export")
        opset, parity = packing.export(network, examples, workspace.bundle, rule)
        explanation = for_serving(
            network, examples, explained, background, weights, spec, workspace.bundle, rule
        )
        journal.metrics({f"explanation/{k}": v for k, v in explanation.quality.items()}, 0)

        journal.stage("pack")
        manifest = packing.describe(
            request, spec, examples, assessed, opset, parity, explanation, rule
        )
        recorder.write(workspace)
        reference_profile.write(manifest, examples, explained, spec, workspace.bundle)
        packing.pack(manifest, examples, assessed, explained, findings, workspace, mitigated)
        seconds = time.monotonic() - started
        result = packing.result(spec, examples.target, assessed, explained, state, seconds)
        result |= summary | {"findings": report.tag(findings)}
    workspace.write_result(result)


def main() -> int:
    """Run the attempt that the command line names; returns the exit status."""
    return attempt(run, (InvalidInput, TrainingFailed, DeviceUnavailable, StorageFull))


if __name__ == "__main__":
    status = main()
    logging.shutdown()
    os._exit(status)  # all is written; taking the libraries down in order would cost seconds
