"""Everything that is asked of a window."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa

from pellucid.analysis.watching import drift
from pellucid.analysis.watching.drift.tables import Rows
from pellucid.analysis.watching.profiles import Profile
from pellucid.bundle import Manifest
from pellucid.monitoring.checks import bias, figures
from pellucid.monitoring.checks.judging import Case, Findings, Question
from pellucid.monitoring.checks.rows import arrays, held_out, times
from pellucid.monitoring.feedback.labelled import labelled
from pellucid.monitoring.profiles.contents import contents
from pellucid.monitoring.profiles.readings import PREFIX, PROBABILITIES

_STREAMS = 3  # outputs whose means are followed over the days


def columns(case: Case) -> Findings:
    """Whether each column and output is distributed as in the reference."""
    if case.profile is None or case.reference.profile is None or not case.rows:
        return Findings()
    whole, importance = case.reference.profile.whole, case.reference.profile.importance
    left_out = times(case.reference.manifest)
    bins = {name: each for name, each in whole.bins.items() if name not in left_out}
    signals = drift.judge(
        replace(whole, bins=bins),
        case.profile,
        importance=importance,
        levels=case.levels,
        since=case.since,
        start=case.window.start,
    )
    return Findings(
        signals,
        {
            "columns": figures.columns(whole, case.profile, signals, importance),
            "quality": figures.quality(whole, case.profile),
            "means": _means(case.profile),
            "reference_rows": case.reference.profile.rows,
        },
    )


def together(case: Case) -> Findings:
    """Whether inputs changed together, in a sample of rows."""
    manifest, sample = case.reference.manifest, case.reference.sample
    if manifest is None or sample is None or not case.rows:
        return Findings()
    from pellucid.analysis.watching.drift.multivariate import judge_rows  # scikit-learn: heavy

    return Findings(
        judge_rows(
            _inputs([held_out(sample)], manifest),
            _inputs(case.sample, manifest),
            levels=case.levels,
            since=case.since,
            start=case.window.start,
            seed=int(case.window.start.timestamp()) % 2**31,
        )
    )


def shown(case: Case) -> Findings:
    """Whether images, texts, sequences and tensors hold other things than in training."""
    manifest, sample = case.reference.manifest, case.reference.sample
    if manifest is None or sample is None or not case.rows:
        return Findings()
    if all(each.scalar for each in manifest.inputs):
        return Findings()
    from pellucid.analysis.watching.drift.multivariate import judge_vectors  # scikit-learn: heavy

    old, new = contents([held_out(sample)]), contents(case.sample)
    return Findings(
        judge_vectors(
            {name: (old[name], new[name]) for name in old if name in new},
            levels=case.levels,
            since=case.since,
            start=case.window.start,
            seed=int(case.window.start.timestamp()) % 2**31,
        )
    )


def over_time(case: Case) -> Findings:
    """Whether the means of outputs, day by day at the same time, have a change point."""
    if case.profile is None or not case.rows:
        return Findings()
    from pellucid.analysis.watching.drift.sequential import judge_stream  # river: heavy

    found, start = Findings(), case.window.start
    means = _means(case.profile)
    for name in _followed(means, case):
        known = [(time, each[name]) for time, each in case.past if name in each]
        times = [*(time for time, _ in known), start]
        values = np.array([*(value for _, value in known), means[name]])
        found.signals += judge_stream(
            name, times, values, levels=case.levels, streams=len(_followed(means, case))
        )
    return found


def disparities(case: Case) -> Findings:
    """Whether the model treats groups of sensitive columns differently."""
    if case.reference.manifest is None or not case.rows:
        return Findings()
    parts = labelled(case.log, case.labels, case.window, bias.COLUMNS)
    windows = case.levels.windows_per_year
    signals, found = bias.judge(parts, case.reference.manifest, windows_per_year=windows)
    return Findings(signals, {"bias": found or None})


def scores(case: Case) -> Findings:
    """How well the model does: measured as far as labels have come, and estimated before."""
    manifest, known = case.reference.manifest, case.reference.sample
    if manifest is None or not case.rows:
        return Findings()
    from pellucid.analysis.watching.performance import Minimums  # SciPy and scikit-learn: heavy
    from pellucid.monitoring.checks import performance

    parts = labelled(case.log, case.labels, case.window, performance.COLUMNS)
    minimums = Minimums(windows_per_year=case.levels.windows_per_year)
    sample = case.sample if known else ()
    signals, found = performance.judge(parts, manifest, minimums, known, sample)
    return Findings(signals, {"performance": found.as_dict()})


QUESTIONS = (
    Question("drift", columns),
    Question("drift of columns together", together),
    Question("drift of contents", shown),
    Question("change over time", over_time),
    Question("performance", scores, late=True),
    Question("bias", disparities, late=True),
)


def _inputs(parts: Sequence[pa.RecordBatch], manifest: Manifest) -> Rows:
    recorded = [each.select(["inputs"]) for each in parts if "inputs" in each.schema.names]
    return arrays(recorded, manifest)


def _means(profile: Profile) -> dict[str, float]:
    """Of the outputs that are numbers."""
    found = {}
    for name, bins in profile.bins.items():
        rows = int(profile.tallies[name].counts.sum())
        if name.startswith(PREFIX) and bins.kind == "number" and rows:
            mean = bins.middle + profile.tallies[name].total / rows
            if math.isfinite(mean):
                found[name] = mean
    return found


def _followed(means: dict[str, float], case: Case) -> list[str]:
    manifest = case.reference.manifest
    positive = f"{PROBABILITIES}{manifest.positive_class}" if manifest else ""
    return [positive] if positive in means else list(means)[:_STREAMS]
