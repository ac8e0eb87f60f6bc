"""What watching a fit from the inside costs: the same training with diagnostics on and off.

    python benchmarks/diagnostics.py [--rounds 9]

An MLP 32-256-256-2 on 100,000 rows in batches of 256, and a small CNN on 6,000 grey images of
28 x 28 in batches of 128, on one thread. Each round trains both ways in turn, so that what else
the machine does meets both; a ratio is of one round. Times are CPU seconds of the process: of all
epochs but the first, and, apart, what is looked at once: rows and network, before and after.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pellucid.jobs.workspace import Workspace
from pellucid.plan import Plan
from pellucid_pipelines import architectures, environment, losses
from pellucid_pipelines.callbacks import Callback
from pellucid_pipelines.callbacks.diagnosing import Diagnosing
from pellucid_pipelines.callbacks.reporting import Reporting
from pellucid_pipelines.features import Features
from pellucid_pipelines.journal import Journal
from pellucid_pipelines.loop import Fit
from pellucid_pipelines.rows import Rows
from pellucid_pipelines.tensors import Target

RESULTS = Path(__file__).parent / "results"
LIMIT = 1.03
Case = tuple[str, dict[str, Any], Features, Rows]


class Clock(Callback):
    """CPU seconds at the end of each epoch."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def epoch_ended(self, fit: Fit, metrics: dict[str, float]) -> None:
        self.times.append(time.process_time())


def cases() -> list[Case]:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(100_000, 32, generator=generator)
    targets = (inputs[:, 0] * inputs[:, 1] > 0).long()
    images = torch.randint(0, 256, (6000, 1, 28, 28), generator=generator, dtype=torch.uint8)
    bright = (images[:, 0, :, :14].float().mean((1, 2)) > 127.5).long()
    mlp = {
        "model": {"kind": "mlp", "widths": [256, 256], "dropout": 0},
        "training": {"epochs": 3, "batch_size": 256},
    }
    cnn = {
        "model": {"kind": "cnn", "widths": [16, 32], "blocks": 1},
        "training": {"epochs": 5, "batch_size": 128},
    }
    return [
        ("MLP 32-256-256-2", mlp, Features.tabular(32), Rows(inputs, targets)),
        ("CNN 16-32", cnn, Features("image", (1, 28, 28)), Rows(images, bright)),
    ]


def trainer(
    parts: dict[str, Any], features: Features, rows: Rows
) -> Callable[[bool], tuple[float, float]]:
    """Trains, watched or not, and returns CPU seconds: of the later epochs, and of the rest."""
    plan = Plan.parse({"name": "watched", "data": {"dataset": "any"}, **parts})
    assert plan.model is not None, "the plan names a model"
    target = Target("y", "classification", (0, 1, 2), (0, 1, 2))
    few = Rows(rows.inputs[:512], rows.targets[:512])

    def run(watched: bool) -> tuple[float, float]:
        torch.manual_seed(0)
        network = architectures.build(plan.model, features, 3)
        with tempfile.TemporaryDirectory() as directory, Journal(Workspace(Path(directory))) as log:
            watching = [Diagnosing(log, features, target)] if watched else []
            clock = Clock()
            fit = Fit(
                network,
                losses.cross_entropy,
                rows,
                few,
                plan,
                device=torch.device("cpu"),
                callbacks=[*watching, Reporting(log), clock],
            )
            clock.times.append(time.process_time())
            fit.run()
            clock.times.append(time.process_time())
        started, first, *_, last, ended = clock.times
        return last - first, (ended - started) - (last - first)

    return run


def measure(case: Case, rounds: int) -> dict[str, Any]:
    """Seconds both ways, and the ratio of each round."""
    name, parts, features, rows = case
    run = trainer(parts, features, rows)
    run(True), run(False)
    times: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    for turn in range(rounds):
        for watched in (True, False) if turn % 2 else (False, True):
            times[watched].append(run(watched))
    on, off = [t for t, _ in times[True]], [t for t, _ in times[False]]
    once = [a - b for (_, a), (_, b) in zip(times[True], times[False], strict=True)]
    ratios = sorted(a / b for a, b in zip(on, off, strict=True))
    return {
        "network": name,
        "steps": (parts["training"]["epochs"] - 1) * rows.steps(parts["training"]["batch_size"]),
        "seconds_on": statistics.median(on),
        "seconds_off": statistics.median(off),
        "ratio": statistics.median(ratios),
        "ratio_low": ratios[len(ratios) // 4],
        "ratio_high": ratios[-1 - len(ratios) // 4],
        "fastest_ratio": min(on) / min(off),
        "seconds_once": statistics.median(once),
    }


def report(found: list[dict[str, Any]], rounds: int) -> None:
    """Print the table and write it to `results/`."""
    lines = [
        "# Diagnostics on against off",
        "",
        f"{environment.cpu_name()}, one thread, PyTorch {torch.__version__}; {rounds} interleaved "
        f"rounds. The goal is a ratio of at most {LIMIT}.",
        "",
        "| network | steps | s on | s off | ratio, median (quartiles) | of the fastest | s once |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row['network']} | {row['steps']} | {row['seconds_on']:.3f} | {row['seconds_off']:.3f} "
        f"| {row['ratio']:.3f} ({row['ratio_low']:.3f} to {row['ratio_high']:.3f}) "
        f"| {row['fastest_ratio']:.3f} | {row['seconds_once']:.2f} |"
        for row in found
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    (RESULTS / "diagnostics.md").write_text(text, encoding="utf-8")
    content = {"cpu": environment.cpu_name(), "torch": torch.__version__, "networks": found}
    (RESULTS / "diagnostics.json").write_text(json.dumps(content, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    report([measure(case, rounds) for case in cases()], rounds)


if __name__ == "__main__":
    main()
