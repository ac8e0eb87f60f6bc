"""Everything that is asked of a window."""

from dataclasses import replace

import numpy as np

from pellucid.analysis.watching import drift
from pellucid.analysis.watching.profiles import Profile
from pellucid.monitoring.checks import bias, figures, sampling
from pellucid.monitoring.checks.judging import Case, Findings, Question
from pellucid.monitoring.feedback.labelled import labelled
from pellucid.monitoring.profiles.readings import PREFIX, PROBABILITIES
from pellucid.schema import Kind

_STREAMS = 3  # outputs whose means are followed over the days


def columns(case: Case) -> Findings:
    """Whether each column and output is distributed as in the reference."""
    if case.profile is None or case.reference.profile is None or not case.rows:
        return Findings()
    whole, importance = case.reference.profile.whole, case.reference.profile.importance
    times = _times(case)
    signals = drift.judge(
        replace(whole, bins={name: bins for name, bins in whole.bins.items() if name not in times}),
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
    """Whether columns changed together, in a sample of rows."""
    if case.reference.sample is None or not case.rows:
        return Findings()
    from pellucid.analysis.watching.drift.multivariate import judge_rows  # scikit-learn: heavy

    window, seed = case.window, int(case.window.start.timestamp()) % 2**31
    parts = case.log.parts(
        window.model, window.start, window.end, version=window.version, columns=["inputs"]
    )
    times = _times(case)
    before = sampling.reference_rows(case.reference.sample)
    after = sampling.window_rows(parts, case.rows, seed)
    return Findings(
        judge_rows(
            {name: values for name, values in before.items() if name not in times},
            {name: values for name, values in after.items() if name not in times},
            levels=case.levels,
            since=case.since,
            start=window.start,
            seed=seed,
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
    signals, found = bias.judge(parts, case.reference.manifest)
    return Findings(signals, {"bias": found or None})


def scores(case: Case) -> Findings:
    """How well the model does: measured as far as labels have come, and estimated before."""
    if case.reference.manifest is None or not case.rows:
        return Findings()
    from pellucid.analysis.watching.performance import Minimums  # SciPy and scikit-learn: heavy
    from pellucid.monitoring.checks import performance

    parts = labelled(case.log, case.labels, case.window, performance.COLUMNS)
    minimums = Minimums(windows_per_year=case.levels.windows_per_year)
    manifest, sample = case.reference.manifest, case.reference.sample
    signals, found = performance.judge(parts, manifest, sample, minimums)
    return Findings(signals, {"performance": found.as_dict()})


QUESTIONS = (
    Question("drift", columns),
    Question("drift of columns together", together),
    Question("change over time", over_time),
    Question("performance", scores, late=True),
    Question("bias", disparities, late=True),
)


def _times(case: Case) -> set[str]:
    """Columns that go on with the clock: they always differ from the training's."""
    manifest = case.reference.manifest
    return (
        {each.name for each in manifest.inputs if each.kind is Kind.DATETIME} if manifest else set()
    )


def _means(profile: Profile) -> dict[str, float]:
    """Of the outputs that are numbers."""
    found = {}
    for name, bins in profile.bins.items():
        rows = int(profile.tallies[name].counts.sum())
        if name.startswith(PREFIX) and bins.kind == "number" and rows:
            found[name] = bins.middle + profile.tallies[name].total / rows
    return found


def _followed(means: dict[str, float], case: Case) -> list[str]:
    manifest = case.reference.manifest
    positive = f"{PROBABILITIES}{manifest.positive_class}" if manifest else ""
    return [positive] if positive in means else list(means)[:_STREAMS]
