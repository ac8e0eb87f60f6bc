"""All of a run's global explanation: figures, tables and metrics."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import nn

from pellucid import plan
from pellucid.analysis.intervals import Interval
from pellucid.analysis.leaning import Leaning
from pellucid.jobs.workspace import Workspace
from pellucid_pipelines.data import Data, drawn
from pellucid_pipelines.explain import Explained
from pellucid_pipelines.global_explanation import groups, importance, places, tables
from pellucid_pipelines.global_explanation.dependence import Dependence, dependence, records, room
from pellucid_pipelines.global_explanation.importance import SecondOpinion
from pellucid_pipelines.global_explanation.subject import Subject
from pellucid_pipelines.journal import Journal
from pellucid_pipelines.tensors import seed_of

_LOGGED = 50  # columns that are metrics of the run; the tables have all
_BACKGROUND = 500  # training rows
_PANELS = 6
_TEXTS = 40  # of the page
_METRICS = {"identity": "rmse", "sigmoid": "roc_auc", "softmax": "log_loss"}


@dataclass(frozen=True)
class Measured:
    """What was found by replacing columns.

    Attributes:
        metric: what permutation importance is measured in.
        worth: column -> permutation importance.
        opinion: of LIME; None of a single column, or of very many.
        dependences: of the strongest columns of a table.
    """

    metric: str
    worth: dict[str, Interval]
    opinion: SecondOpinion | None
    dependences: tuple[Dependence, ...]


def write(
    network: nn.Module,
    examples: Data,
    explained: Explained,
    spec: plan.Plan,
    workspace: Workspace,
    journal: Journal,
) -> None:
    """Explain a trained network as a whole, on its test rows.

    Args:
        network: as trained, on the CPU.
        examples: the run's data.
        explained: the SHAP values of `drawn(test rows, spec.explanation.rows, seed)`, in order.
        spec: the resolved plan.
        workspace: figures and tables go to its outputs.
        journal: gets importance/<column>, permutation/<column>, lime/agreement, lime/fidelity.
    """
    rows = drawn(examples.parts.test, spec.explanation.rows, spec.training.seed)
    assert len(rows) == len(explained.rows), "these are the explained rows"
    modality = examples.preprocessing.features.modality
    divisible = modality in ("tabular", "sequence")  # an image or a text is a single column
    measured = _measure(network, examples, explained, spec) if divisible else None
    sensitive = groups.by_group(explained, examples.sensitive(rows), spec.evaluation.confidence)
    _write_tables(explained, sensitive, measured, workspace)
    _draw(explained, examples, rows, sensitive, measured, workspace)
    journal.metrics(_metrics(explained, measured), 0)


def _measure(network: nn.Module, examples: Data, explained: Explained, spec: plan.Plan) -> Measured:
    subject, order = Subject.of(network, examples), list(explained.importance())
    seed = spec.training.seed
    metric = spec.gates.metric or _METRICS[examples.target.link]
    worth = importance.permuted(subject, examples, metric, order, spec)
    opinion = None
    if 1 < len(order) <= importance.LIME_COLUMNS:
        train = drawn(examples.parts.train, _BACKGROUND, seed_of("background of lime", seed))
        opinion = importance.second_opinion(subject, explained, examples.rows(train).inputs, seed)
    found: list[Dependence] = []
    if explained.places is None:
        strongest = [subject.columns.index(name) for name in order[:_PANELS]]
        count = room(subject, len(strongest))
        test = examples.sample(examples.parts.test, count, seed_of("partial dependence", seed))
        curves = (dependence(subject, test, column) for column in strongest)
        found = [each for each in curves if each is not None]
    return Measured(metric, worth, opinion, tuple(found))


def _write_tables(
    explained: Explained,
    sensitive: Mapping[str, list[Leaning]],
    measured: Measured | None,
    workspace: Workspace,
) -> None:
    directory = workspace.tables
    worth, metric = (measured.worth, measured.metric) if measured else ({}, "")
    opinion = measured.opinion if measured else None
    tables.write(
        tables.importance(explained, worth, metric, opinion), directory / tables.IMPORTANCE
    )
    tables.write(groups.records(explained, sensitive), directory / tables.GROUPS)
    curves = measured.dependences if measured else ()
    written = [row for each in curves for row in records(each, explained.outputs)]
    tables.write(written, directory / tables.DEPENDENCE)
    tables.write(places.token_records(explained), directory / tables.TOKENS)
    tables.write(places.step_records(explained), directory / tables.STEPS)


def _draw(
    explained: Explained,
    examples: Data,
    rows: np.ndarray,
    sensitive: Mapping[str, list[Leaning]],
    measured: Measured | None,
    workspace: Workspace,
) -> None:
    from pellucid_pipelines import shap_figures  # with shap: seconds
    from pellucid_pipelines.global_explanation import dependence_figures, importance_figures

    directory = workspace.figures
    directory.mkdir(parents=True, exist_ok=True)
    usual = int(np.bincount(explained.prediction.argmax(axis=1)).argmax())
    if explained.places is None:
        shap_figures.shap_figures(explained, directory)
        dependence_figures.shap_dependence(
            explained, examples.preprocessing.inputs, usual, directory / "shap_dependence.png"
        )
    else:
        _draw_places(explained, examples, rows, directory)
    if len(explained.columns) > 1:
        for name, found in sensitive.items():
            importance_figures.groups_figure(explained, name, found, usual, directory)
    if measured is None:
        return
    importance_figures.importance_figure(
        explained, measured.worth, measured.metric, directory / "importance.png"
    )
    if measured.opinion is not None:
        importance_figures.second_opinion_figure(
            explained, measured.opinion, directory / "lime.png"
        )
    if measured.dependences:
        dependence_figures.partial_dependence(
            measured.dependences, explained.outputs, _quantity(explained), directory / "pdp.png"
        )


def _draw_places(explained: Explained, examples: Data, rows: np.ndarray, directory: Path) -> None:
    from pellucid_pipelines import places_figures
    from pellucid_pipelines.global_explanation import highlights, overall_figures
    from pellucid_pipelines.global_explanation.examples import right_and_wrong

    assert explained.places is not None, "there are values of places"
    modality, truth = explained.places.modality, examples.truth(rows)
    shown = right_and_wrong(explained, truth, examples.target, places_figures.COUNTS[modality])
    places_figures.places_figures(explained, directory, shown)
    if modality == "sequence":
        overall_figures.steps_figure(explained, directory / "shap_steps_overall.png")
    if modality == "text":
        overall_figures.tokens_figure(explained, directory / "shap_tokens.png")
        page = right_and_wrong(explained, truth, examples.target, _TEXTS)
        highlights.write(explained, page, directory / "shap_texts.html")


def _metrics(explained: Explained, measured: Measured | None) -> dict[str, float]:
    shap = list(explained.importance().items())[:_LOGGED]
    metrics = {f"importance/{name}": value for name, value in shap}
    if measured is not None:
        metrics |= {f"permutation/{name}": each.value for name, each in measured.worth.items()}
        if measured.opinion is not None:
            scores = measured.opinion.scores()
            metrics |= {f"lime/{name}": value for name, value in scores.items()}
    return {name: value for name, value in metrics.items() if math.isfinite(value)}


def _quantity(explained: Explained) -> str:
    if explained.unit.startswith("units of "):
        return explained.unit.removeprefix("units of ")
    single = len(explained.outputs) == 1
    return f"the probability of {explained.outputs[0]}" if single else "the classes' probabilities"
