"""Networks of images with the default plan: accuracy on test rows, mean of several seeds.

    python benchmarks/images.py [--only NAME ...] [--seeds 3]

MNIST: the 10,000 images of its test part, of which the first 8,000 train and 2,000 test. Digits:
scikit-learn's 1,797 images of 8 x 8 pixels, 80/20 at random, another split for each seed. A fifth
of the training rows chooses when to stop. Images enter as PNG files, as in production.
"""

import argparse
import gzip
import io
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import torch
from PIL import Image
from runs import trained
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from pellucid.datasets.splits import Parts
from pellucid.schema import Role
from pellucid_pipelines import environment

ROOT = Path(__file__).parent
SHARED = ROOT.parent.parent / "shared" / "data"
VALIDATION = 0.2  # share of the rows that are not test rows
Split = tuple[np.ndarray, np.ndarray]


class Task(NamedTuple):
    """Images (N, height, width), their labels, and seed -> (rows to learn from, test rows)."""

    images: np.ndarray
    labels: np.ndarray
    split: Callable[[int], Split]


def mnist() -> Task:
    def read(name: str, header: int) -> np.ndarray:
        return np.frombuffer(gzip.decompress((SHARED / name).read_bytes())[header:], np.uint8)

    images = read("mnist_t10k_images.idx3.gz", 16).reshape(-1, 28, 28)
    labels = read("mnist_t10k_labels.idx1.gz", 8)
    return Task(images, labels, lambda _seed: (np.arange(8000), np.arange(8000, 10_000)))


def digits() -> Task:
    given = load_digits()
    images = (given.images * 255 / 16).round().astype(np.uint8)

    def split(seed: int) -> Split:
        rows = np.arange(len(images))
        learn, test = train_test_split(
            rows, test_size=0.2, random_state=seed, stratify=given.target
        )
        return learn, test

    return Task(images, given.target, split)


TASKS = {"mnist": mnist, "digits": digits}
WANTED = {
    ("mnist", "cnn"): 0.988,
    ("mnist", "hybrid"): 0.975,
    ("digits", "cnn"): 0.985,
}


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def one_run(task: Task, table: pa.Table, kind: str, seed: int) -> dict[str, float]:
    """Accuracy on the test rows, CPU seconds of training, and epochs."""
    learn, test = task.split(seed)
    rows, validation = train_test_split(
        learn, test_size=VALIDATION, random_state=seed, stratify=task.labels[learn]
    )
    content = {
        "task": "classification",
        "model": {"kind": kind},
        "training": {"seed": seed},
    }
    parts = Parts(np.sort(rows), np.sort(validation), np.sort(test))
    run = trained(table, {"digit": Role.TARGET}, content, parts)
    return {"accuracy": run.accuracy, "seconds": round(run.cpu_seconds, 1), "epochs": run.epochs}


def measure(name: str, kind: str, seeds: int) -> dict[str, object]:
    task = TASKS[name]()
    files = pa.array([png(each) for each in task.images], pa.large_binary())
    table = pa.table({"image": files, "digit": pa.array(task.labels.astype(np.int64))})
    runs = [one_run(task, table, kind, seed) for seed in range(seeds)]
    accuracies = [run["accuracy"] for run in runs]
    return {
        "task": name,
        "model": kind,
        "accuracy": statistics.mean(accuracies),
        "standard_error": statistics.stdev(accuracies) / seeds**0.5 if seeds > 1 else None,
        "wanted": WANTED[name, kind],
        "seconds": statistics.mean(run["seconds"] for run in runs),
        "runs": runs,
    }


def as_table(results: list[dict[str, object]], versions: dict[str, str], threads: int) -> str:
    lines = [
        "# Images, default plan",
        "",
        f"`python benchmarks/images.py`, {threads} thread(s), torch {versions['torch']}. Accuracy "
        "on test rows: mean over seeds, with its standard error.",
        "",
        "| data | model | seeds | accuracy | wanted | CPU s a run |",
        "|---|---|---|---|---|---|",
    ]
    for each in results:
        error = each["standard_error"]
        spread = "" if error is None else f" ± {100 * error:.2f}"
        lines.append(
            f"| {each['task']} | `{each['model']}` | {len(each['runs'])} | "
            f"{100 * each['accuracy']:.2f}%{spread} | {100 * each['wanted']:.1f}% | "
            f"{each['seconds']:.0f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", help="such as mnist/cnn; default: all")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    kept = ROOT / "results" / "images.json"
    results = json.loads(kept.read_text())["results"] if given.only and kept.exists() else []
    for name, kind in WANTED:
        if given.only and f"{name}/{kind}" not in given.only:
            continue
        result = measure(name, kind, given.seeds)
        print(json.dumps(result), flush=True)
        results = [each for each in results if (each["task"], each["model"]) != (name, kind)]
        results.append(result)
    versions = environment.versions()
    kept.write_text(json.dumps({"environment": versions, "results": results}, indent=2) + "\n")
    text = as_table(results, versions, torch.get_num_threads())
    kept.with_suffix(".md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
