"""Speed and exactness of explanations: explain.onnx against `shap` and Captum, and over HTTP.

    python benchmarks/explanations.py [--only PART ...] [--rounds 5] [--seconds 2]

speed: an MLP 30-256-256 with 100 background rows and TabM with the plan's defaults, on one core and
one thread: prediction, explanation, amortised explanation, `shap.DeepExplainer` and Captum's
DeepLiftShap take turns. parity: the same values as those give, for every architecture. gaps: do
values add up on 1,000 rows of three data sets? agreement: with exact Shapley values. served: our
server as a user starts it on one core, the load (wrk) on another. counterfactuals: German credit.

`--only` measures some parts and keeps the others of the last run.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from explaining import accuracy, decisions, parity, report, served, speed
from inference.wrk import wrk
from runs import SHARED

from pellucid_pipelines import environment

OUT = Path(__file__).parent / "results" / "explanations"
_VERSIONS = (
    "python",
    "pellucid",
    "torch",
    "onnxruntime",
    "onnxruntime-gpu",
    "shap",
    "captum",
    "numpy",
)


def main() -> None:
    arguments = parse()
    parts = parts_of(arguments)
    chosen = arguments.only or list(parts)
    if "served" in chosen:
        wrk()
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # our server ends with us
    os.sched_setaffinity(0, {arguments.server_core})
    torch.set_num_threads(1)
    kept = arguments.out.with_suffix(".json")
    content: dict[str, Any] = {"measured": {}}
    if arguments.only and kept.exists():
        content = json.loads(kept.read_text(encoding="utf-8"))
    for name in chosen:
        print(name, file=sys.stderr, flush=True)
        content[name] = parts[name]()
        content["measured"][name] = how(arguments)
        write(content, arguments.out)
    print(arguments.out.with_suffix(".md").read_text(encoding="utf-8"))


def parts_of(given: argparse.Namespace) -> dict[str, Callable[[], Any]]:
    """What is measured, by name."""
    exact = {"MLP 10-256-256": given.exact_rows, "TabM": max(1, given.exact_rows // 5)}
    cores = given.server_core, given.load_core
    return {
        "speed": lambda: speed.measure(given.rounds, given.seconds, given.epochs),
        "parity": parity.measure,
        "gaps": lambda: accuracy.gaps(given.data, given.rows, given.epochs),
        "agreement": lambda: accuracy.agreement(exact, given.epochs),
        "served": lambda: served.measure(given.rounds, given.seconds, given.epochs, *cores),
        "counterfactuals": lambda: decisions.measure(given.rows, 2 * given.epochs),
    }


def how(given: argparse.Namespace) -> str:
    """Under what conditions a part was measured."""
    load = os.getloadavg()[0]
    return (
        f"{given.rounds} rounds of {given.seconds:g} s, networks trained for {given.epochs} "
        f"epochs; {os.cpu_count()} cores, load {load:.1f} at its end"
    )


def write(content: dict[str, Any], out: Path) -> None:
    """Write figures and page."""
    versions = {"captum": version("captum"), **environment.versions()}
    content["versions"] = {name: versions[name] for name in _VERSIONS if name in versions}
    content["cpu"] = environment.cpu_name()
    out.parent.mkdir(parents=True, exist_ok=True)
    figures = json.dumps(content, indent=2) + "\n"
    out.with_suffix(".json").write_text(figures, encoding="utf-8")
    page = "\n".join(report.lines(content)) + "\n"
    out.with_suffix(".md").write_text(page, encoding="utf-8")


def parse() -> argparse.Namespace:
    parts = ("speed", "parity", "gaps", "agreement", "served", "counterfactuals")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=parts, metavar="PART",
                        help=f"some of: {', '.join(parts)}")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2, help="of each measurement")
    parser.add_argument("--epochs", type=int, default=15, help="of training")
    parser.add_argument("--rows", type=int, default=1000, help="whose values must add up")
    parser.add_argument("--exact-rows", type=int, default=50, help="of the MLP; a fifth of TabM")
    parser.add_argument("--data", type=Path, default=SHARED)
    parser.add_argument("--server-core", type=int, default=0)
    parser.add_argument("--load-core", type=int, default=1)
    parser.add_argument("--out", type=Path, default=OUT)
    return parser.parse_args()


if __name__ == "__main__":
    main()
