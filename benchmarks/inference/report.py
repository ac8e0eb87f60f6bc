"""Tables of the results, as Markdown."""

import math
from collections.abc import Iterator

from inference.acceptance import promises
from inference.cases import CASES, Case
from inference.contenders import IN_PROCESS, NAMES, OURS
from inference.results import Results, quartiles


def lines(results: Results, seconds: float, footer: str) -> Iterator[str]:
    """The whole page."""
    yield "# Serving: rows per second and latency"
    yield ""
    yield (
        f"Medians of {results.rounds} rounds of {seconds:g} s each, with the least and the most; "
        "latencies of whole requests as wrk measures them; ours over theirs in the same round, "
        "with the quartiles. One core for the server, one for the load."
    )
    yield from _overview(results)
    for case in CASES.values():
        yield from _case(results, case)
    yield from _overload(results)
    yield from _acceptance(results)
    if results.absent:
        yield from ("", "## Not measured", "")
        yield from (f"- {name}: {reason}" for name, reason in results.absent.items())
    yield from ("", "## Versions", "")
    for name, versions in results.versions.items():
        yield f"- {name}: {', '.join(f'{k} {v}' for k, v in versions.items())}"
    yield from ("", footer)


def _overview(results: Results) -> Iterator[str]:
    cases = [case for case in CASES.values() if (case.key, OURS.name) in results.found]
    yield from ("", "Rows per second:", "")
    yield "| | " + " | ".join(case.title for case in cases) + " |"
    yield "|---|" + "---:|" * len(cases)
    for name in NAMES:
        medians = [results.median(case.key, name) for case in cases]
        if any(medians):
            cells = " | ".join("" if each is None else f"{each:,.0f}" for each in medians)
            yield f"| {_bold(name)} | {cells} |"


def _case(results: Results, case: Case) -> Iterator[str]:
    if (case.key, OURS.name) not in results.found:
        return
    yield from ("", f"## {case.title}", "")
    yield "| | rows/s | least to most | p50 ms | p99 ms | ours over it | quartiles |"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    for name in NAMES:
        rates = results.values(case.key, name)
        if not rates:
            continue
        median = results.median(case.key, name)
        p50, p99 = (results.median(case.key, name, which) for which in ("p50", "p99"))
        times = "| |" if name == IN_PROCESS else f"{p50:.3f} | {p99:.3f} |"
        low, middle, high = quartiles(results.ratios(case.key, OURS.name, name) or [math.nan])
        yield (
            f"| {_bold(name)} | {median:,.0f} | {min(rates):,.0f} to {max(rates):,.0f} | {times} "
            f"{middle:.2f} | {low:.2f} to {high:.2f} |"
        )


def _overload(results: Results) -> Iterator[str]:
    if not results.overload:
        return
    yield from (
        "",
        "## Overload",
        "",
        "Open loop, Poisson arrivals, after two seconds of them; latencies in ms.",
        "",
    )
    yield "| | offered/s | accepted | p50 | p99 | refused | p50 | p99 | unsent, broken |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    for case, loads in results.overload.items():
        for share, found in loads.items():
            yield (
                f"| {CASES[case].title}, {float(share):.0%} | {found['offered_per_s']:,.0f} of "
                f"{found['wanted_per_s']:,.0f} | {found['accepted']:,.0f} | "
                f"{found['accepted_p50']:.2f} | {found['accepted_p99']:.2f} | "
                f"{found['refused']:,.0f} | {found['refused_p50']:.2f} | "
                f"{found['refused_p99']:.2f} | {found['unsent']:,.0f}, {found['broken']:,.0f} |"
            )


def _acceptance(results: Results) -> Iterator[str]:
    yield from ("", "## Acceptance", "", "| | measured | limit | |", "|---|---:|---:|---|")
    for promise in promises(results):
        sign = "at most" if promise.at_most else "at least"
        kept = "kept" if promise.kept else "**not kept**"
        yield f"| {promise.text} | {promise.value:.3g} | {sign} {promise.limit:g} | {kept} |"


def _bold(name: str) -> str:
    return f"**{name}**" if name == OURS.name else name
