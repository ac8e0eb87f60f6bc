"""Sequence networks with their default plans: digits read row by row, and a forecast.

    python benchmarks/sequences.py [--seeds 3] [--only KIND ...] [--data DIRECTORY]

Digits: the 10,000 images of MNIST's test part, each 28 steps of 28 channels in list columns; the
first 8,000 are learnt from (the last 1,000 of them choose when to stop), the rest is the test part.
Forecast: hourly bike rentals, the next 24 hours from the last 72, split by time; against the value
of the same hour a day and a week before.
"""

import argparse
import gzip
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
from runs import RESULTS, SHARED, Run, footer, trained, write

from pellucid.datasets.splits import Parts
from pellucid.schema import Role

KINDS = ("rnn", "lstm", "gru", "tcn", "transformer")
_STEPS, _AHEAD = 72, 24


def main() -> None:
    arguments = parse()
    kinds = arguments.only or KINDS
    table, roles = digits(arguments.data)
    parts = Parts(np.arange(7000), np.arange(7000, 8000), np.arange(8000, 10000))
    found: dict[str, list[Run]] = {kind: [] for kind in kinds}
    for seed in range(arguments.seeds):
        for kind in kinds:
            content = {"model": {"kind": kind}, "training": {"seed": seed}}
            run = trained(table, roles, content, parts)
            found[kind].append(run)
            print(f"seed {seed}, {kind}: {run.accuracy:.4f}, {run.epochs} epochs,", end=" ")
            print(f"{run.cpu_seconds:.0f} s", flush=True)
    report(found, {} if arguments.no_forecast else forecast(arguments.data))


def digits(directory: Path) -> tuple[pa.Table, dict[str, Role]]:
    """A row per image: list columns c0 to c27 with a value per row of pixels, and the digit."""
    with gzip.open(directory / "mnist_t10k_images.idx3.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28) / 255
    with gzip.open(directory / "mnist_t10k_labels.idx1.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    offsets = pa.array(28 * np.arange(len(images) + 1), pa.int32())
    columns = {
        f"c{i}": pa.ListArray.from_arrays(offsets, images[:, :, i].ravel()) for i in range(28)
    }
    return pa.table(columns | {"digit": labels.astype(str)}), {"digit": Role.TARGET}


def forecast(directory: Path) -> dict[str, float]:
    """RMSE of the next 24 hours: the default network, and two seasonal naive forecasts."""
    table = pc.read_csv(directory / "bike_hour.csv")
    table = table.select(["instant", "cnt", "hr", "workingday", "temp", "hum"])
    content = {
        "target": "cnt",
        "data": {
            "dataset": "bike",
            "windows": {"time": "instant", "steps": _STEPS, "horizon": _AHEAD, "stride": 6},
        },
    }
    run = trained(table, {}, content)
    counts = table["cnt"].to_numpy()
    last = run.examples.table["instant"].to_numpy()[run.examples.parts.test]  # from 1, hourly
    ahead = last[:, None] - 1 + np.arange(1 - _AHEAD, 1)
    assert (counts[ahead] == run.truth).all()
    predictions = {"gru": run.prediction}
    predictions |= {"a day before": counts[ahead - 24], "a week before": counts[ahead - 168]}
    return {
        name: float(np.sqrt(np.mean((values - run.truth) ** 2)))
        for name, values in predictions.items()
    }


def report(found: dict[str, list[Run]], errors: dict[str, float]) -> None:
    seeds = max(map(len, found.values()), default=0)
    lines = [
        f"# Sequences, default plans, {seeds} seeds",
        "",
        "MNIST digits row by row: test accuracy on 2,000 images, learnt from 8,000.",
        "",
        "| | " + " | ".join(f"seed {seed}" for seed in range(seeds)) + " | mean | CPU s |",
        "|---|" + "---:|" * (seeds + 2),
    ]
    for kind, runs in found.items():
        values = [run.accuracy for run in runs]
        cells = [*(f"{value:.4f}" for value in values), f"**{np.mean(values):.4f}**"]
        cells.append(f"{np.mean([run.cpu_seconds for run in runs]):.0f}")
        lines.append(f"| {kind} | {' | '.join(cells)} |")
    if errors:
        lines += ["", "Bike rentals, the next 24 hours:", "", "| | RMSE |", "|---|---:|"]
        lines += [f"| {name} | {value:.1f} |" for name, value in errors.items()]
    write("sequences", lines + footer())
    content = {
        "accuracy": {kind: [run.accuracy for run in runs] for kind, runs in found.items()},
        "rmse": errors,
    }
    (RESULTS / "sequences.json").write_text(json.dumps(content, indent=2) + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=KINDS)
    parser.add_argument("--no-forecast", action="store_true")
    parser.add_argument("--data", type=Path, default=SHARED)
    return parser.parse_args()


if __name__ == "__main__":
    main()
