"""The page of the results."""

from collections.abc import Iterator
from typing import Any

from watching.parts import NAMES, part


def lines(content: dict[str, Any]) -> Iterator[str]:
    """The whole page."""
    yield "# Monitoring: alarms to trust, and what they cost"
    measured = {name: content[name] for name in NAMES if name in content}
    yield from _acceptance(measured)
    for name, found in measured.items():
        yield from ("", f"## {part(name).TITLE}", "")
        if "absent" in found:
            yield f"Not measured: {found['absent']}."
        else:
            yield from part(name).page(found)
    yield from ("", "## Measured with", "")
    for name, told in content["measured"].items():
        yield f"- {name}: {told}"
    versions = ", ".join(f"{name} {version}" for name, version in content["versions"].items())
    yield from ("", f"{content['cpu']}. Versions: {versions}.")


def _acceptance(measured: dict[str, Any]) -> Iterator[str]:
    yield from ("", "## Acceptance", "", "| | measured | limit | |", "|---|---:|---:|---|")
    for name, found in measured.items():
        if "absent" in found:
            continue
        for promise in part(name).promises(found):
            sign = "at most" if promise.at_most else "at least"
            kept = "kept" if promise.kept else "**not kept**"
            yield f"| {promise.text} | {promise.value:.3g} | {sign} {promise.limit:g} | {kept} |"
