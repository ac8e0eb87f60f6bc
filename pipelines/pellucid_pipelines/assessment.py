"""How the network does on the test rows: scored, drawn and written down."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from torch import nn

from pellucid import plan
from pellucid.jobs.workspace import Metric, Workspace, read_spool
from pellucid.schema import Role
from pellucid_pipelines import fairness
from pellucid_pipelines.data import Data
from pellucid_pipelines.evaluate import Evaluation, evaluate
from pellucid_pipelines.journal import Journal
from pellucid_pipelines.loop import predict
from pellucid_pipelines.mitigation.deciding import Rule

_FAIRNESS = {
    "metrics": "fairness.parquet",
    "criteria": "fairness_criteria.parquet",
    "impact": "impact_ratios.parquet",
}


@dataclass(frozen=True)
class Assessed:
    """Truth (N,) and prediction, (N, K) or (N,), of the test rows, and their scores.

    `label` (N,): the classes that a rule decides on; None: the most probable ones.
    """

    truth: np.ndarray
    prediction: np.ndarray
    evaluation: Evaluation
    label: np.ndarray | None = None

    @property
    def metrics(self) -> dict[str, float]:
        """Score -> value, of those that are defined."""
        values = {name: score.value for name, score in self.evaluation.metrics.items()}
        return {name: value for name, value in values.items() if math.isfinite(value)}

    @property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """Score -> lower and upper limit, of those that have them."""
        limits = {name: (score.low, score.high) for name, score in self.evaluation.metrics.items()}
        return {name: pair for name, pair in limits.items() if all(map(math.isfinite, pair))}


def assess(
    network: nn.Module, examples: Data, spec: plan.Plan, rule: Rule | None = None
) -> Assessed:
    """Score the network, and the rule that decides after it, on the test rows; fp32, on the CPU."""
    test, target = examples.parts.test, examples.target
    raw = predict(network, examples.rows(test).inputs)
    prediction, truth = target.head()(raw).numpy(), examples.truth(test)
    label = None if rule is None else rule.labels(prediction, rule.of_rows(examples, test))
    evaluation = evaluate(
        truth,
        prediction,
        classes=target.classes or None,
        positive=target.positive,
        sensitive=examples.sensitive(test),
        weight=examples.weights(test),
        spec=spec.evaluation,
        seed=spec.training.seed,
        label=label,
    )
    found = fairness.audit(truth, prediction, label, examples, spec)
    return Assessed(truth, prediction, replace(evaluation, fairness=found), label)


def spool(assessed: Assessed, journal: Journal) -> None:
    """Log the test scores and their limits."""
    values = {f"test/{name}": value for name, value in assessed.metrics.items()}
    for name, (low, high) in assessed.intervals.items():
        values |= {f"test/{name}_low": low, f"test/{name}_high": high}
    journal.metrics(values, 0)


def write_tables(
    assessed: Assessed, examples: Data, workspace: Workspace, rule: Rule | None = None
) -> None:
    """Write the scores by sensitive group and across groups, what the audit of fairness found, and
    the test rows as they came.

    Of the sensitive columns, the test rows hold those that decide.
    """
    workspace.tables.mkdir(parents=True, exist_ok=True)
    for name in ("groups", "disparities"):
        if records := getattr(assessed.evaluation, name):
            table = pa.Table.from_pylist(records)
            pq.write_table(table, workspace.tables / f"{name}.parquet")
    if found := assessed.evaluation.fairness:
        for name, file in _FAIRNESS.items():
            if records := getattr(found, name):
                pq.write_table(pa.Table.from_pylist(records), workspace.tables / file)
    kept = [
        column.name
        for column in examples.schema.columns
        if column.role in (Role.FEATURE, Role.TARGET, Role.WEIGHT)
    ]
    kept += [each.name for each in rule.columns] if rule else []
    rows = examples.take(examples.parts.test).select(kept)
    pq.write_table(rows, workspace.outputs / "test_rows.parquet")


def draw(assessed: Assessed, examples: Data, workspace: Workspace) -> None:
    """Draw the learning curves and the test scores."""
    from pellucid_pipelines import figures  # with matplotlib: a second

    workspace.figures.mkdir(parents=True, exist_ok=True)
    figures.learning_curves(_curves(workspace), workspace.figures)
    figures.evaluation_figures(
        assessed.truth,
        assessed.prediction,
        assessed.evaluation,
        classes=examples.target.classes or None,
        positive=examples.target.positive,
        weight=examples.weights(examples.parts.test),
        directory=workspace.figures,
    )


def _curves(workspace: Workspace) -> Iterator[Metric]:
    """The spooled points; of a step that several attempts reached, the first."""
    seen = set()
    for _, entry in read_spool(workspace.metrics_path):
        point = Metric(**entry)
        if (point.key, point.step) not in seen:
            seen.add((point.key, point.step))
            yield point
