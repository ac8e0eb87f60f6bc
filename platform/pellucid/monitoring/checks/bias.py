"""Bias in a window of live traffic: the offline audit's counts, metrics and verdicts, as signals.

A window's rows come a batch at a time, and only counts of them are kept. Which outcome is looked
at, and how small a group may be, is said in the version's plan; the groups are those that training
saw. Demographic parity needs no labels; of the other criteria, only rows with labels tell.

Offline, one audit is read with care. Live, thousands of windows are, so an alarm takes limits that
hold for every criterion, column and window of a year together (Bonferroni).
"""

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pellucid import sensitive
from pellucid.analysis.fairness.auditing import Audit, Found, criteria_records, outcomes_of
from pellucid.analysis.fairness.cuts import Coded
from pellucid.analysis.fairness.disparities import Disparity
from pellucid.analysis.watching.signals import Signal, Status
from pellucid.bundle import Input, Manifest
from pellucid.monitoring.arrays import unpacked
from pellucid.monitoring.checks.answers import fields, matrix
from pellucid.plan import Evaluation

COLUMNS = ("outputs", "sensitive")
_MOST_CATEGORIES = 200  # of the impact tables that are kept
_REGRESSION = "regression"


def judge(
    parts: Iterable[pa.RecordBatch], manifest: Manifest, *, windows_per_year: float = 365.0
) -> tuple[list[Signal], dict[str, Any]]:
    """The disparities between the groups of a version's sensitive columns.

    Args:
        parts: rows of the window with the log's structs `outputs` and `sensitive`, and, where
            labels are joined, `label`: a string, null of a row that has none.
        manifest: of the version.
        windows_per_year: how many windows are judged. While groups are treated alike, alarms come
            in one minus the plan's `evaluation.confidence` of all years at most.

    Returns:
        Signals, none of a version that records no sensitive column; and the figures behind them,
        as `Figures.bias` has them.
    """
    columns = recorded(manifest)
    if not columns or manifest.task == "other":
        return [], {}
    told = Evaluation.model_validate(manifest.plan.get("evaluation", {}))
    counted = _Counted(manifest, columns, told)
    if not counted.tells:
        return [_nothing(manifest)], {}
    for part in parts:
        counted.add(unpacked(part))
    options: Any = {"min_group": told.min_group, "confidence": told.confidence}
    found = _certain(counted.audit, told, windows_per_year)
    signals = [_signal(each, counted, told) for each in found]
    single = {each.name for each in columns}
    metrics = [m for m in counted.audit.metrics(told.confidence) if m["column"] in single]
    figures = {
        "rows": counted.rows,
        "labelled": counted.labelled,
        "outcomes": list(counted.audit.outcomes),
        "confidence": told.confidence,
        "min_group": told.min_group,
        "criteria": criteria_records(found),
        "metrics": metrics,
        "impact": counted.audit.impact(**options)[:_MOST_CATEGORIES],
    }
    return signals, _plain(figures)


def recorded(manifest: Manifest) -> tuple[Input, ...]:
    """The sensitive columns that the log holds."""
    redacted = manifest.plan.get("serving", {}).get("log", {}).get("redact", ())
    return tuple(each for each in manifest.sensitive if each.name not in redacted)


class _Counted:
    """The audit of a window, as its rows come in."""

    def __init__(self, manifest: Manifest, columns: tuple[Input, ...], told: Evaluation) -> None:
        self._columns, self._regression = columns, manifest.task == _REGRESSION
        self._places = {str(each): index for index, each in enumerate(manifest.classes)}
        positive = None if manifest.positive_class is None else str(manifest.positive_class)
        self.audit = Audit(outcomes_of(list(self._places), told.favourable, positive))
        self.rows = self.labelled = 0

    @property
    def tells(self) -> bool:
        """Whether any outcome is looked at."""
        return self._regression or bool(self.audit.outcomes)

    def add(self, part: pa.RecordBatch) -> None:
        """Count rows; those without an output that can be read are left out."""
        names = part.schema.names
        if not len(part) or "outputs" not in names:
            return
        outputs = fields(part.column("outputs"))
        held = fields(part.column("sensitive")) if "sensitive" in names else {}
        coded = [
            sensitive.coded(each, held.get(each.name, pa.nulls(len(part))))
            for each in self._columns
        ]
        label = part.column("label") if "label" in names else None
        if self._regression:
            self._add_numbers(coded, outputs, label)
        else:
            self._add_classes(coded, outputs, label)

    def _add_classes(
        self, coded: list[Coded], outputs: dict[str, pa.Array], label: pa.Array | None
    ) -> None:
        predicted = self._indices(outputs["label"])
        known = predicted >= 0
        truth = None if label is None else self._indices(label)
        told, shares = outputs.get("probabilities"), None
        if told is not None and pa.types.is_nested(told.type):
            shares = matrix(told, len(told), len(self._places))
        rows = np.flatnonzero(known & (True if shares is None else np.isfinite(shares).all(1)))
        self._note(rows, truth if truth is None else truth >= 0)
        self.audit.add(
            [_taken(each, rows) for each in coded],
            predicted[rows],
            None if truth is None else truth[rows],
            None if shares is None else np.clip(shares[rows], 0, 1),
        )

    def _add_numbers(
        self, coded: list[Coded], outputs: dict[str, pa.Array], label: pa.Array | None
    ) -> None:
        value = _numbers(outputs["value"])
        truth = None if label is None else _parsed(label)
        rows = np.flatnonzero(np.isfinite(value))
        self._note(rows, None if truth is None else ~np.isnan(truth))
        if not self.audit.columns and len(rows):  # so that large numbers lose no digits
            unit = float(value[rows].std()) or 1.0
            self.audit = Audit({}, float(value[rows].mean()), unit)
        self.audit.add_numbers(
            [_taken(each, rows) for each in coded],
            value[rows],
            None if truth is None else truth[rows],
        )

    def _note(self, rows: NDArray[np.int64], labelled: NDArray[np.bool_] | None) -> None:
        self.rows += len(rows)
        self.labelled += 0 if labelled is None else int(labelled[rows].sum())

    def _indices(self, values: pa.Array) -> NDArray[np.int64]:
        """(N,) places of classes; -1 of what is none."""
        texts = values.cast(pa.string())
        found = pc.index_in(texts, value_set=pa.array(list(self._places), pa.string()))
        return np.asarray(found.fill_null(-1).to_numpy(zero_copy_only=False), np.int64)


def _certain(audit: Audit, told: Evaluation, windows_per_year: float) -> list[Found]:
    """The verdicts; an alarm that chance gives a year of windows is unclear."""
    found = audit.judge(min_group=told.min_group, confidence=told.confidence)
    level = (1 - told.confidence) / (windows_per_year * max(1, len(found)))
    strict = audit.judge(min_group=told.min_group, confidence=1 - level)
    return [
        replace(each, judged=replace(each.judged, status=Status.UNCLEAR))
        if each.judged.status is Status.ALARM and sure.judged.status is not Status.ALARM
        else each
        for each, sure in zip(found, strict, strict=True)
    ]


def _nothing(manifest: Manifest) -> Signal:
    return Signal(
        kind="bias",
        subject="outcomes",
        status=Status.ABSENT,
        statistic="rows",
        summary=f"{manifest.target} has {len(manifest.classes)} classes, too many to look at each: "
        "name one as evaluation.favourable in the plan.",
    )


def _signal(found: Found, counted: _Counted, told: Evaluation) -> Signal:
    judged, disparity = found.judged, found.judged.disparity
    ratio = disparity.aggregate == "ratio"
    several = len(counted.audit.outcomes) > 1
    value, low, high = (
        None if math.isnan(each) or math.isinf(each) else each
        for each in (disparity.interval.value, disparity.interval.low, disparity.interval.high)
    )
    threshold = 1 - judged.threshold if ratio else judged.threshold
    subject = f"{judged.criterion.name} by {found.column}"
    return Signal(
        kind="bias",
        subject=f"{subject}, {found.outcome}" if several else subject,
        status=judged.status,
        summary=_summary(found, told),
        statistic=disparity.aggregate,
        effect=1 - value if ratio and value is not None else value,
        threshold=threshold,
        current=value,
        low=low,
        high=high,
    )


def _summary(found: Found, told: Evaluation) -> str:
    judged, disparity = found.judged, found.judged.disparity
    name = judged.criterion.name.replace("_", " ")
    title = f"{name.capitalize()} by {found.column}"
    if found.outcome:
        title += f" ({found.outcome})"
    small = _small(disparity, told.min_group)
    if judged.status is Status.ABSENT:
        groups = "no row tells it" if not disparity.judged else "all rows are of one group"
        return f"{title}: {groups}, so there is nothing to compare."
    if math.isnan(disparity.interval.value):
        why = small or "The metric is not defined in two groups or more."
        return f"{title}: too few rows to compare groups. {why}".strip()
    metric = disparity.metric.replace("_", " ")
    low, high = disparity.values
    asked = (
        f"at least {judged.threshold:.2g} is asked for"
        if disparity.aggregate == "ratio"
        else f"at most {judged.threshold:.2g} is accepted"
    )
    told_so = (
        f"{title}: the {metric} is {low:.3g} of {disparity.lowest} and {high:.3g} of "
        f"{disparity.highest}: a {disparity.aggregate} of {disparity.interval}; {asked}."
    )
    if judged.status is Status.UNCLEAR:
        why = (
            "It is beyond that threshold, but in a year of windows chance does as much"
            if judged.beyond
            else "The interval spans that threshold"
        )
        told_so += f" {why}: more rows will tell."
    return f"{told_so} {small}".strip()


def _small(disparity: Disparity, least: int) -> str:
    if not disparity.small:
        return ""
    groups = "1 group is" if disparity.small == 1 else f"{disparity.small} groups are"
    return f"{groups} left out, with fewer than {least} rows that count."


def _taken(coded: Coded, rows: NDArray[np.int64]) -> Coded:
    return Coded(coded.column, coded.names, coded.unknown, coded.codes[rows])


def _numbers(values: pa.Array) -> NDArray[np.float64]:
    """A regression's values; of a forecast the mean over its steps."""
    if pa.types.is_list(values.type):
        return np.array([np.mean(each) if each else np.nan for each in values.to_pylist()])
    return np.asarray(values.cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)


def _parsed(labels: pa.Array) -> NDArray[np.float64]:
    """Labels as numbers; of a forecast the mean over its steps; NaN of what is none."""

    def number(text: str | None) -> float:
        try:
            steps = (text or "nan").strip("[] ").split(",")
            return float(np.mean([float(step) for step in steps]))
        except ValueError:
            return math.nan

    found = np.array([number(text) for text in labels.to_pylist()], np.float64)
    found[np.isinf(found)] = np.nan
    return found


def _plain(value: Any) -> Any:
    """Numbers that JSON has; None for the others."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
