"""What signals mean together, in plain language."""

from collections.abc import Sequence

from pellucid.analysis.watching.signals import Signal, SignalKind, Status

_ORDER = (Status.ALARM, Status.OK, Status.UNCLEAR, Status.ABSENT)
_SHOWN = 3  # subjects of a kind in a headline,
_KINDS = 3  # and kinds
# kind: what alarms of it are called, one and several
_NAMES: dict[SignalKind, tuple[str, str]] = {
    "performance": ("the measured performance fell", "the measured performance fell"),
    "estimate": ("the estimated performance fell", "the estimated performance fell"),
    "output": ("the model's answers moved", "the model's answers moved"),
    "drift": ("one input column drifts", "{count} input columns drift"),
    "missing": ("values are missing in one column", "values are missing in {count} columns"),
    "unseen": ("one column has values never seen", "{count} columns have values never seen"),
    "outside": ("one column leaves its range", "{count} columns leave their range"),
    "type": ("one column changed its type", "{count} columns changed their type"),
    "multivariate": ("columns changed together", "columns changed together"),
    "sequential": ("a stream changed", "{count} streams changed"),
    "bias": ("one disparity between groups", "{count} disparities between groups"),
    "traffic": ("the traffic itself needs a look", "the traffic itself needs a look"),
}

_OUTPUTS = {
    "outputs.probabilities.": "score of {}",
    "outputs.label": "decisions",
    "outputs.value.": "predicted step {}",
    "outputs.value": "predicted value",
    "outputs.confidence": "confidence",
}


def overall(signals: Sequence[Signal]) -> Status:
    """One status for many: alarm if there is any, else ok if something could be told.

    That rows came is no finding about the model; that they are too few is no all-clear.
    """
    found = {each.status for each in signals if each.kind != "traffic"}
    traffic = {each.status for each in signals if each.kind == "traffic"} - {Status.OK}
    if Status.UNCLEAR in traffic:
        found.discard(Status.OK)
    return next((status for status in _ORDER if status in found | traffic), Status.ABSENT)


def alarms(signals: Sequence[Signal]) -> list[Signal]:
    """What alarms: what hurts most first, then by how much it matters to the model."""
    rank = list(_NAMES)
    found = [each for each in signals if each.status is Status.ALARM]
    return sorted(found, key=lambda each: (rank.index(each.kind), -(each.importance or 0.0)))


def verdict(signals: Sequence[Signal], rows: int) -> str:
    """A headline of one or two sentences."""
    status = overall(signals)
    if status is Status.ALARM:
        return _alarm(alarms(signals))
    if status is Status.OK:
        unclear = sum(each.status is Status.UNCLEAR for each in signals)
        rest = f" {unclear} questions have too few rows for an answer." if unclear else ""
        return (
            f"Nothing changed that is both certain and large enough to matter, in {rows:,} rows."
            + rest
        )
    if status is Status.UNCLEAR:
        return f"Too few rows to tell: {rows:,} in this window."
    reasons = (each.summary for each in signals if each.status is Status.ABSENT)
    reason = next(reasons, "nothing was judged.")
    return f"Nothing can be told: {reason[:1].lower()}{reason[1:]}"


def subject(name: str) -> str:
    """What a signal is about, for people: outputs have names of their own."""
    for prefix, said in _OUTPUTS.items():
        if name.startswith(prefix):
            return said.format(name.removeprefix(prefix)).rstrip()
    return name


def said(signal: Signal) -> str:
    """A signal's summary, with the output's name for people."""
    name = signal.subject.split(" by ")[0]
    return signal.summary.replace(name, subject(name)) if subject(name) != name else signal.summary


def _alarm(found: Sequence[Signal]) -> str:
    kinds = list(dict.fromkeys(each.kind for each in found))
    parts = []
    for kind in kinds[:_KINDS]:
        same = [each for each in found if each.kind == kind]
        one, several = _NAMES[kind]
        said = one if len(same) == 1 else several.format(count=len(same))
        parts.append(f"{said} ({_subjects(same)})")
    rest = sum(each.kind in kinds[_KINDS:] for each in found)
    if rest:
        parts.append("one more alarm" if rest == 1 else f"{rest} more alarms")
    together = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    return f"{together[:1].upper()}{together[1:]}."


def _subjects(found: Sequence[Signal]) -> str:
    names = [subject(each.subject) for each in found[:_SHOWN]]
    more = len(found) - len(names)
    return ", ".join(names) + (f" and {more} more" if more else "")
