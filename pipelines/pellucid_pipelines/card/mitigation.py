"""What was done about bias, what came of it, and what it cost."""

from collections.abc import Iterator, Sequence

from pellucid import plan
from pellucid.analysis.intervals import Interval
from pellucid_pipelines.card.markdown import table, text
from pellucid_pipelines.mitigation.deciding import Rule
from pellucid_pipelines.mitigation.effect import Measured, Mitigated

_MEANT = {
    "equalized_odds": "equalised odds: equal true and equal false positive rates",
    "equal_opportunity": "equal opportunity: equal true positive rates",
    "demographic_parity": "demographic parity: equal shares of positive decisions",
}
_DONE = {
    plan.NoMitigation: "Nothing was done about gaps; they are measured.",
    plan.Reweighing: "Rows were reweighed in training so that group and class are independent "
    "(Kamiran and Calders, 2012). This acts on the data, whatever the criterion.",
    plan.GroupDro: "Training minimised the loss of the group that does worst (Sagawa et al., "
    "2020). This acts on losses, whatever the criterion.",
    plan.Adversarial: "An adversary told the group from the network's outputs, and the network was "
    "trained to leave it without a hint (Zhang et al., 2018).",
    plan.Thresholds: "Each group has its own threshold on the probability of the positive class, "
    "chosen on the validation part. **Two people with the same probability and other groups may "
    "be decided differently**; whether that is lawful where the model is used, others must say.",
}


def mitigation(mitigated: Mitigated) -> str:
    """The section."""
    fairness = mitigated.fairness
    columns = " x ".join(map(text, fairness.column))
    parts = [
        f"Groups: {columns}. Criterion: {_MEANT[fairness.criterion]}.",
        _DONE[type(fairness.mitigation)],
    ]
    if mitigated.rule is not None:
        parts.append(_thresholds(mitigated.rule))
        parts += _doubts(mitigated)
    parts.append(_measured(mitigated.measured, both=mitigated.rule is not None))
    known = (
        "The thresholds know the validation part, so only the test part shows what to expect."
        if mitigated.rule is not None
        else "What a mitigation in training costs shows only beside a run without it."
    )
    parts.append(
        "A gap is the largest difference between two groups, of those that have at least "
        f"{fairness.min_rows} rows of each class; its limits hold for all pairs together. {known}"
    )
    return "\n\n".join(parts)


def _thresholds(rule: Rule) -> str:
    rows = [(name, _told(value)) for name, value in rule.own.items()]
    return table(
        ("group", "positive from a probability of"), [*rows, ("any other", _told(rule.overall))]
    )


def _doubts(mitigated: Mitigated) -> Iterator[str]:
    """Where there may have been nothing to mitigate."""
    mitigation = mitigated.fairness.mitigation
    assert isinstance(mitigation, plan.Thresholds), "which a rule comes of"
    gap = f"{mitigated.fairness.criterion}_gap"
    for each in mitigated.measured:
        before = (each.part, each.stage, each.name) == ("validation", "before", gap)
        if before and not each.low > mitigation.tolerance:
            yield (
                f"**That the gap was above {mitigation.tolerance:g} before is not shown** (on the "
                f"validation part {Interval(each.value, each.low, each.high)}). Thresholds then "
                "follow noise as well, and may widen the gap on other rows: see the test part."
            )


def _told(threshold: float) -> str:
    return "never" if threshold > 1 else f"{threshold:.4f}"


def _measured(measured: Sequence[Measured], *, both: bool) -> str:
    cells = {
        (each.part, each.name, each.stage): str(Interval(each.value, each.low, each.high))
        for each in measured
    }
    names = dict.fromkeys((each.part, each.name) for each in measured)
    if not both:
        rows = [(part, _title(name), cells[part, name, "after"]) for part, name in names]
        return table(("part", "", "value"), rows)
    return table(
        ("part", "", "one threshold for all", "with the groups' thresholds"),
        [
            (
                part,
                _title(name),
                cells.get((part, name, "before"), ""),
                cells[part, name, "after"],
            )
            for part, name in names
        ],
    )


def _title(name: str) -> str:
    return name.replace("_", " ")
