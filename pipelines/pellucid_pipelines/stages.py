"""The stages of an attempt, each a few calls; `train.run` is their order."""

import functools
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import torch
from torch import nn

from pellucid import bundle
from pellucid.datasets.splits import Parts
from pellucid.jobs.workspace import Request, Workspace
from pellucid.plan import Plan
from pellucid.schema import Schema
from pellucid_pipelines import (
    assessment,
    cross_validation,
    data,
    distributed,
    environment,
    explain,
    fairness,
    global_explanation,
    packing,
    placement,
    reference_profile,
    transfer,
    trials,
    windows,
)
from pellucid_pipelines.assessment import Assessed
from pellucid_pipelines.data import Data
from pellucid_pipelines.diagnostics import report
from pellucid_pipelines.distributed import World
from pellucid_pipelines.explain import Explained
from pellucid_pipelines.explain.values import Floats
from pellucid_pipelines.fitting import train
from pellucid_pipelines.journal import Journal
from pellucid_pipelines.loop import State
from pellucid_pipelines.mapped import Mapped
from pellucid_pipelines.mitigation import deciding, effect
from pellucid_pipelines.mitigation.deciding import Rule
from pellucid_pipelines.mitigation.effect import Mitigated
from pellucid_pipelines.provenance import Recorder
from pellucid_pipelines.system_metrics import SystemMetrics


@dataclass(frozen=True)
class Attempt:
    """What every stage works with.

    Attributes:
        request: what is to be done.
        spec: the resolved plan; of windows, once they are cut, the plan that fits them.
        device: to train on.
        world: the processes that train together.
        workspace: of this process; the job's own where it leads.
        journal: gets events and metrics.
        recorder: of what decides the outcome.
        started: on the monotonic clock, in seconds.
    """

    request: Request
    spec: Plan
    device: torch.device
    world: World
    workspace: Workspace
    journal: Journal
    recorder: Recorder
    started: float

    @property
    def seed(self) -> int:
        """What all random numbers derive from."""
        return self.spec.training.seed

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.started


@dataclass(frozen=True)
class Learnt:
    """What training gives.

    Attributes:
        network: on the CPU, at its best; of a cross-validation, the ensemble.
        state: of the fit; of a cross-validation, of its first fold.
        examples: as the network takes them.
        summary: what belongs into the result.
    """

    network: nn.Module
    state: State
    examples: Data
    summary: dict[str, Any]


@dataclass(frozen=True)
class Judged:
    """What evaluation gives.

    Attributes:
        rule: how labels come about; None: the likeliest class.
        assessed: scores on the test rows.
        mitigated: what mitigation did, where the plan asks for any.
        findings: of the diagnostics, as plain data.
    """

    rule: Rule | None
    assessed: Assessed
    mitigated: Mitigated | None
    findings: Sequence[dict[str, Any]]


class Background(NamedTuple):
    """The rows that explanations compare to, and (B,) what each of them counts for."""

    rows: pa.Table
    weights: Floats


@dataclass(frozen=True)
class Exported:
    """What is known of the two graphs: opset, closeness to PyTorch, and the explanation."""

    opset: int
    parity: bundle.Parity
    explanation: bundle.Explanation


@contextmanager
def begun(workspace: Workspace) -> Iterator[Attempt]:
    """The attempt that a workspace asks for, measured and told of while the block runs.

    Raises:
        DeviceUnavailable: the plan's device is not there.
    """
    started = time.monotonic()
    request = workspace.read_request()
    spec = Plan.parse(request.plan)
    device = environment.choose_device(spec.training.device)
    environment.make_deterministic(spec.training.deterministic, device)
    world = distributed.join(device, spec)
    if not world.leads:
        workspace = distributed.aside(workspace)
    spec = placement.settle(request, spec, workspace, world)
    shutil.rmtree(workspace.outputs, ignore_errors=True)  # an earlier attempt's, not committed
    with Journal(workspace) as journal, SystemMetrics(journal, workspace.metrics_path):
        tags = environment.tags(device, spec.training.seed)
        journal.event("environment", tags=tags | {"data_in": spec.training.data_in})
        recorder = Recorder(request, spec, device)
        yield Attempt(request, spec, device, world, workspace, journal, recorder, started)


def read(attempt: Attempt) -> tuple[pa.Table | Mapped, Schema, Attempt]:
    """The rows, or the windows cut of them, their schema, and the attempt under a fitting plan."""
    table = data.read(attempt.request, attempt.spec, attempt.workspace.scratch, attempt.world)
    table, schema, spec = windows.widen(table, attempt.request.data_schema, attempt.spec)
    return table, schema, replace(attempt, spec=spec)


def preprocess(attempt: Attempt, table: pa.Table | Mapped, parts: Parts, schema: Schema) -> Data:
    """Rows that the network can learn from; a transferred network keeps its own tokens."""
    examples = data.prepare(table, parts, schema, attempt.spec)
    fairness.check(attempt.spec, examples.target)
    if attempt.request.weights_path is not None:
        examples = transfer.with_its_tokens(examples, Path(attempt.request.weights_path))
    attempt.recorder.prepared(examples, attempt.seed)
    return examples


def learn(attempt: Attempt, examples: Data) -> Learnt:
    """One network, or the ensemble of a cross-validation."""
    spec, workspace, journal = attempt.spec, attempt.workspace, attempt.journal
    fit = functools.partial(
        train,
        attempt.request,
        device=attempt.device,
        callbacks=[attempt.recorder],
        world=attempt.world,
    )
    if spec.cross_validation is None:
        network, state = fit(spec, examples, workspace=workspace, journal=journal)
        return Learnt(network, state, examples, trials.summary(workspace, state))
    folds = cross_validation.run(spec, examples, workspace, journal, fit)
    return Learnt(folds.network, folds.states[0], folds.examples, folds.summary())


def evaluate(attempt: Attempt, learnt: Learnt) -> Judged:
    """Settle how labels come about, score the test rows, and look for what is wrong."""
    spec, workspace, journal = attempt.spec, attempt.workspace, attempt.journal
    network, examples = learnt.network, learnt.examples
    rule = deciding.decide(network, examples, spec)
    assessed = assessment.assess(network, examples, spec, rule)
    assessment.spool(assessed, journal)
    assessment.write_tables(assessed, examples, workspace, rule)
    mitigated = effect.measure(network, examples, spec, rule, journal, workspace)
    findings = report.finish(learnt.state, network, examples, assessed, journal, workspace)
    return Judged(rule, assessed, mitigated, findings)


def attribute(attempt: Attempt, learnt: Learnt) -> tuple[Explained, Background]:
    """SHAP values of test rows, and what these were compared to."""
    spec, examples = attempt.spec.explanation, learnt.examples
    background = Background(*explain.compared(examples, spec, attempt.seed))
    explained = explain.explain(
        learnt.network,
        examples.preprocessing,
        examples.target,
        background.rows,
        rows=examples.sample(examples.parts.test, spec.rows, attempt.seed),
        spec=spec,
        seed=attempt.seed,
        weights=background.weights,
    )
    return explained, background


def draw(attempt: Attempt, learnt: Learnt, judged: Judged, explained: Explained) -> None:
    """Figures of scores and explanations and, of a search's winner, of the trials."""
    spec, workspace, examples = attempt.spec, attempt.workspace, learnt.examples
    assessment.draw(judged.assessed, examples, workspace)
    global_explanation.write(learnt.network, examples, explained, spec, workspace, attempt.journal)
    trials.draw(attempt.request.study, workspace)


def export(
    attempt: Attempt, learnt: Learnt, judged: Judged, explained: Explained, background: Background
) -> Exported:
    """Write the graphs that are served, of predictions and of explanations, and check them."""
    network, examples, directory = learnt.network, learnt.examples, attempt.workspace.bundle
    opset, parity = packing.export(network, examples, directory, judged.rule)
    explanation = explain.for_serving(
        network, examples, explained, *background, attempt.spec, directory, judged.rule
    )
    quality = {f"explanation/{name}": value for name, value in explanation.quality.items()}
    attempt.journal.metrics(quality, 0)
    return Exported(opset, parity, explanation)


def pack(
    attempt: Attempt, learnt: Learnt, judged: Judged, explained: Explained, exported: Exported
) -> None:
    """Complete the bundle and seal it."""
    spec, workspace, examples = attempt.spec, attempt.workspace, learnt.examples
    manifest = packing.describe(
        attempt.request,
        spec,
        examples,
        judged.assessed,
        exported.opset,
        exported.parity,
        exported.explanation,
        judged.rule,
    )
    attempt.recorder.write(workspace)
    reference_profile.write(manifest, examples, explained, spec, workspace.bundle)
    packing.pack(
        manifest,
        examples,
        judged.assessed,
        explained,
        judged.findings,
        workspace,
        judged.mitigated,
    )


def result(
    attempt: Attempt, learnt: Learnt, judged: Judged, explained: Explained
) -> dict[str, Any]:
    """What `result.json` holds."""
    target, state = learnt.examples.target, learnt.state
    found = packing.result(attempt.spec, target, judged.assessed, explained, state, attempt.seconds)
    return found | learnt.summary | {"findings": report.tag(judged.findings)}
