"""What is to be said about the rows themselves: none, too few, of the future, with no reference."""

from pellucid.analysis.watching.signals import Signal, Status
from pellucid.monitoring.checks.judging import Case, absent
from pellucid.monitoring.log import PredictionLog
from pellucid.monitoring.profiles.windows import Window


def rows(log: PredictionLog, window: Window) -> int:
    """How many rows a window has."""
    columns = ("version",)
    with log.window(
        window.model, window.start, window.end, version=window.version, columns=columns
    ) as batches:
        return sum(len(batch) for batch in batches)


def signals(case: Case, ahead: int) -> list[Signal]:
    """About a window's traffic.

    Args:
        case: the window.
        ahead: rows that carry times of the future.
    """
    found = [_clock(ahead), _rows(case)]
    if case.reference.profile is None and case.reference.run_id:
        found.append(_no_profile(case))
    return found


def _rows(case: Case) -> Signal:
    least = case.settings.monitor_min_rows
    if not case.rows:
        return absent(
            "rows",
            "No predictions came in this window, so there is nothing to judge. If there should "
            "have been some, look at whoever asks the model, and whether the log is on.",
        )
    enough = case.rows >= least
    return Signal(
        kind="traffic",
        subject="rows",
        status=Status.OK if enough else Status.UNCLEAR,
        summary=f"{case.rows:,} predictions."
        if enough
        else f"Only {case.rows:,} predictions: fewer than {least:,}, so silence is no all-clear. "
        "Longer windows hold more (PELLUCID_MONITOR_SECONDS).",
        statistic="rows",
        current=float(case.rows),
        threshold=float(least),
    )


def _no_profile(case: Case) -> Signal:
    if case.reference.manifest is None:
        reason = "It was made elsewhere, and has no reference profile"
    else:
        reason = "It was trained before versions had reference profiles"
    return absent(
        "profile",
        f"{reason}: drift cannot be judged. Train the model here again and promote the new "
        "version; labels sent to /v1/feedback are counted all the same.",
    )


def _clock(ahead: int) -> Signal:
    return Signal(
        kind="traffic",
        subject="clock",
        status=Status.ALARM if ahead else Status.OK,
        summary=f"{ahead:,} predictions carry times of the future, and are in windows yet to "
        "come: the clock of a serving machine is ahead. Synchronise it (NTP)."
        if ahead
        else "No prediction carries a time of the future.",
        statistic="rows",
        current=float(ahead),
        effect=float(ahead) if ahead else None,
        threshold=1.0,
    )
