"""The page of the results."""

import statistics
from collections.abc import Iterator
from typing import Any

from inference.results import quartiles

from explaining.acceptance import beside, promises, ratios
from explaining.peers import POINTS
from explaining.served import FULL
from explaining.speed import EXPLANATION, PREDICTION


def lines(content: dict[str, Any]) -> Iterator[str]:
    """The whole page."""
    yield "# Explanations: speed and exactness"
    sections = (
        ("speed", _speed),
        ("parity", _parity),
        ("gaps", _gaps),
        ("agreement", _agreement),
        ("served", _served),
        ("counterfactuals", _counterfactuals),
    )
    yield from _acceptance(content)
    for name, section in sections:
        if content.get(name):
            yield from section(content[name])
    yield from ("", "## Measured with", "")
    for name, told in content["measured"].items():
        yield f"- {name}: {told}"
    versions = ", ".join(f"{name} {version}" for name, version in content["versions"].items())
    yield from ("", f"{content['cpu']}. Versions: {versions}.")


def _acceptance(content: dict[str, Any]) -> Iterator[str]:
    yield from ("", "## Acceptance", "", "| | measured | limit | |", "|---|---:|---:|---|")
    for promise in promises(content):
        sign = "at most" if promise.at_most else "at least"
        kept = "kept" if promise.kept else "**not kept**"
        yield f"| {promise.text} | {promise.value:.3g} | {sign} {promise.limit:g} | {kept} |"


def _speed(found: dict[str, Any]) -> Iterator[str]:
    yield from (
        "",
        "## In process, one thread",
        "",
        "Milliseconds a call, medians of the rounds; ratios are of the same round, with quartiles. "
        "An explanation gives the prediction as well; the peers' do not. They compare to the same "
        "background rows, each of which counts alike for them.",
    )
    for network, sizes in found["cases"].items():
        told = found["networks"][network]
        yield from (
            "",
            f"### {network}",
            "",
            f"Method {told['method']}, {told['background']} background rows, "
            f"{told['width']} inputs; explain.onnx has {told['explainer_bytes'] / 1e6:.1f} MB. "
            f"Amortised: {_measures(told['amortized'])}.",
            "",
            "| rows | | p50 | p99 | over prediction | explanation is faster by |",
            "|---:|---|---:|---:|---:|---:|",
        )
        for rows, rounds in sizes.items():
            for name, times in rounds.items():
                p50, p99 = (statistics.median(t[which] for t in times) for which in ("p50", "p99"))
                over, faster = ratios(rounds, name, PREDICTION), ratios(rounds, name, EXPLANATION)
                told_p99 = f"{p99:.3f}" if min(t["calls"] for t in times) >= 100 else ""
                others = name not in (PREDICTION, EXPLANATION)
                yield (
                    f"| {rows} | {name} | {p50:.3f} | {told_p99} | {_spread(over)} | "
                    f"{_spread(faster) if others else ''} |"
                )
    yield ""
    yield from (f"- Not measured: {name}: {why}." for name, why in found["absent"].items())


def _measures(values: dict[str, float] | None) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in (values or {}).items()) or "none"


def _spread(values: list[float]) -> str:
    low, middle, high = quartiles(values)
    return f"{middle:.1f} ({low:.1f} to {high:.1f})"


def _parity(found: list[dict[str, Any]]) -> Iterator[str]:
    yield from (
        "",
        "## The same values as others",
        "",
        "Largest difference relative to the largest value, float64, networks of the plan's sizes "
        "with random weights. DeepSHAP against `shap` and Captum; gradients on the path from one "
        f"background row, {POINTS} points, against Captum's.",
        "",
        "| architecture | input | method | against | difference |",
        "|---|---|---|---|---:|",
    )
    for each in found:
        for peer, value in each["difference"].items():
            told = value if isinstance(value, str) else f"{value:.1e}"
            yield (
                f"| {each['architecture']} | {each['input']} | {each['method']} | {peer} | {told} |"
            )


def _gaps(found: list[dict[str, Any]]) -> Iterator[str]:
    yield from (
        "",
        "## Values add up",
        "",
        "|base + sum - prediction| of explain.onnx relative to the mean |prediction - base|. Rows "
        "outside the tolerance are run again with four times the steps, as served.",
        "",
        "| data | network | method | rows | background | steps | rows with more | largest "
        "| median |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|",
    )
    for each in found:
        if "absent" in each:
            title = f"{each['task']} | {each['network']}"
            yield f"| {title} | not measured: {each['absent']} | | | | | | |"
            continue
        yield (
            f"| {each['task']} | {each['network']} | {each['method']} | {each['rows']} | "
            f"{each['background']} | {each['steps'] or ''} | {each['refined']:.1%} | "
            f"{each['largest']:.1e} | {each['median']:.1e} |"
        )


def _agreement(found: list[dict[str, Any]]) -> Iterator[str]:
    yield from (
        "",
        "## Agreement with exact Shapley values",
        "",
        "DeepSHAP of each row against the exact values of the same game over all sets of columns.",
        "",
        "| network | columns | background | rows | Spearman, mean | lowest | mean error |",
        "|---|---:|---:|---:|---:|---:|---:|",
    )
    for each in found:
        yield (
            f"| {each['network']} | {each['columns']} | {each['background']} | {each['rows']} | "
            f"{each['spearman']:.4f} | {each['lowest']:.4f} | {each['relative_error']:.1%} |"
        )


def _served(found: dict[str, Any]) -> Iterator[str]:
    yield from (
        "",
        "## Over HTTP",
        "",
        "The MLP with 100 background rows, JSON; one core for the server, one for the load (wrk). "
        "No row is sent twice. Medians of the rounds, latencies of whole requests in ms.",
        "",
        "| explanations | rows/s | p50 | p99 |",
        "|---|---:|---:|---:|",
    )
    for title, rounds in found["explanations"].items():
        yield f"| {title} | {_measured(rounds)} |"
    yield from (
        "",
        f"Predictions, alone and beside explanations ({FULL.title}) at full load:",
        "",
        "| predictions | alone, rows/s | p50 | p99 | beside, rows/s | p50 | p99 "
        "| p99 beside over alone | explained rows/s meanwhile |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    )
    for title, each in found["predictions"].items():
        low, middle, high = quartiles(beside(found, title))
        meanwhile = statistics.median(each["rows_per_s"] for each in found["beside"][title])
        yield (
            f"| {title} | {_measured(each['alone'])} | {_measured(each['beside'])} | "
            f"{middle:.2f} ({low:.2f} to {high:.2f}) | {meanwhile:,.0f} |"
        )


def _measured(rounds: list[dict[str, float]]) -> str:
    rate, p50, p99 = (
        statistics.median(each[name] for each in rounds) for name in ("rows_per_s", "p50", "p99")
    )
    return f"{rate:,.0f} | {p50:.2f} | {p99:.2f}"


def _counterfactuals(found: dict[str, Any]) -> Iterator[str]:
    yield from ("", "## Counterfactuals on German credit", "")
    if "absent" in found:
        yield f"Not measured: {found['absent']}."
        return
    yield (
        f"Of {found['declined']} declined rows {found['verified']} got one that the model itself "
        f"grants; {found['median_changed']} columns changed in the median, at most "
        f"{found['most_changed']}; immutable columns touched: {found['immutable_touched']}. "
        f"A search ran {found['median_rows_searched']:,.0f} rows in the median."
    )
