"""Speed of training the same MLP on the CPU: ours, skorch, Lightning and a bare loop.

    python benchmarks/training.py [--widths 128 128] [--rounds 7] [--threads 1] [--mlflow]

100,000 rows of 32 numbers, the `mlp` of the default widths (or others), batches of 256, AdamW. Each
round runs every contender once, in an order that changes; ratios are of the same round, so that
what else the machine does meets all of them. skorch and Lightning load data as their documentation
does: arrays in a Dataset, batches from a DataLoader. The bare loop is written by hand over resident
tensors.

Ours is the whole loop of a training job: schedule, clipping, the gradient's norm, validation, and
what a job reports (metrics to its spool, progress events); diagnostics are measured by
`diagnostics.py`. "matrix products" is what the products of the training steps take alone, one after
the other: no loop over this network can be faster on this machine, so the ratio of that row is the
largest that anyone can have.

With `--mlflow` ours runs twice more, while another process ships its metrics as the worker does: to
a server that answers, and to a port where nobody listens.
"""

import argparse
import gc
import itertools
import json
import logging
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pellucid.jobs.workspace import Workspace
from pellucid.plan import Plan
from pellucid.settings import Settings
from pellucid.tracking.server import mlflow_server
from pellucid_pipelines import architectures, environment, losses
from pellucid_pipelines.callbacks.reporting import Reporting
from pellucid_pipelines.features import Features
from pellucid_pipelines.journal import Journal
from pellucid_pipelines.loop import Fit
from pellucid_pipelines.rows import Rows

RESULTS = Path(__file__).parent / "results"
ROWS, WIDTH, BATCH = 100_000, 32, 256
PLAN: dict[str, Any] = {
    "name": "speed",
    "data": {"dataset": "speed"},
    "model": {"kind": "mlp", "widths": [128, 128], "dropout": 0},
    "optimizer": {"kind": "adamw", "lr": 1e-3},
}
TRAINING = {"batch_size": BATCH, "patience": 1000, "precision": "fp32", "device": "cpu"}
Contender = Callable[[int], None]


def data() -> tuple[np.ndarray, np.ndarray]:
    """(N, 32) float32 and (N,) int64."""
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(ROWS, WIDTH)).astype(np.float32)
    return inputs, (inputs[:, 0] * inputs[:, 1] > 0).astype(np.int64)


def network() -> nn.Module:
    """The MLP that everyone trains."""
    torch.manual_seed(0)
    spec = Plan.parse(PLAN).model
    assert spec is not None, "the plan names a model"
    return architectures.build(spec, Features.tabular(WIDTH), 2)


def ours(inputs: np.ndarray, targets: np.ndarray, directory: Path) -> Contender:
    """The loop of a training job, which reports into a job's directory."""
    rows = Rows(torch.from_numpy(inputs), torch.from_numpy(targets))
    few = Rows(rows.inputs[:BATCH], rows.targets[:BATCH])  # the others validate nothing

    def run(epochs: int) -> None:
        plan = Plan.parse(PLAN | {"training": TRAINING | {"epochs": epochs}})
        with Journal(Workspace(directory)) as journal:
            Fit(
                network(),
                losses.cross_entropy,
                rows,
                few,
                plan,
                device=torch.device("cpu"),
                callbacks=[Reporting(journal)],
            ).run()

    return run


def products() -> Contender:
    """The matrix products of a step's forward and backward pass, as often as there are steps."""
    widths = [WIDTH, *PLAN["model"]["widths"], 2]
    sizes = list(itertools.pairwise(widths))
    triples = [(torch.randn(BATCH, m), torch.randn(m, n), torch.randn(BATCH, n)) for m, n in sizes]

    def run(epochs: int) -> None:
        for _ in range(epochs * -(-ROWS // BATCH)):
            for i, (x, w, g) in enumerate(triples):
                torch.mm(x, w)
                torch.mm(x.T, g)
                if i:  # nobody asks for the gradient of the inputs
                    torch.mm(g, w.T)

    return run


def bare(inputs: np.ndarray, targets: np.ndarray) -> Contender:
    """By hand, over resident tensors, and nothing else: no norm, no clipping, no report."""
    x, y = torch.from_numpy(inputs), torch.from_numpy(targets)

    def run(epochs: int) -> None:
        model = network().train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
        for _ in range(epochs):
            for chosen in torch.randperm(ROWS).split(BATCH):
                loss = nn.functional.cross_entropy(model(x[chosen]), y[chosen])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    return run


def skorch(inputs: np.ndarray, targets: np.ndarray) -> Contender:
    """`NeuralNetClassifier.fit` on arrays."""
    from skorch import NeuralNetClassifier

    def run(epochs: int) -> None:
        NeuralNetClassifier(
            network(),
            criterion=nn.CrossEntropyLoss,
            optimizer=torch.optim.AdamW,
            lr=1e-3,
            batch_size=BATCH,
            max_epochs=epochs,
            train_split=None,
            iterator_train__shuffle=True,
            verbose=0,
        ).fit(inputs, targets)

    return run


def lightning(inputs: np.ndarray, targets: np.ndarray) -> Contender:
    """A LightningModule and a DataLoader over a TensorDataset."""
    import lightning as pl
    from torch.utils.data import DataLoader, TensorDataset

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = network()

        def training_step(self, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
            x, y = batch
            return nn.functional.cross_entropy(self.network(x), y)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), lr=1e-3)

    dataset = TensorDataset(torch.from_numpy(inputs), torch.from_numpy(targets))

    def run(epochs: int) -> None:
        pl.Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        ).fit(Module(), DataLoader(dataset, batch_size=BATCH, shuffle=True))

    return run


def main() -> None:
    arguments = parse()
    if arguments.ship:
        ship(*arguments.ship)
        return
    torch.set_num_threads(arguments.threads)
    PLAN["model"]["widths"] = arguments.widths
    warnings.filterwarnings("ignore")
    inputs, targets = data()
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        home = Path(scratch)
        contenders = {
            OURS: ours(inputs, targets, home / "job"),
            "bare loop": bare(inputs, targets),
            "skorch": skorch(inputs, targets),
            "Lightning": lightning(inputs, targets),
            "matrix products": products(),
        }
        if arguments.mlflow:
            up = stack.enter_context(server(home / "mlflow"))
            for name, url in ((UP, up), (DOWN, f"http://127.0.0.1:{free_port()}")):
                stack.enter_context(shipping(home / name.replace(" ", "-"), url))
                contenders[name] = ours(inputs, targets, home / name.replace(" ", "-"))
        speeds = measure(contenders, arguments.rounds, arguments.epochs)
    report(speeds, arguments.threads)


OURS, UP, DOWN = "Pellucid", "Pellucid, MLflow up", "Pellucid, MLflow down"


@contextmanager
def server(home: Path) -> Iterator[str]:
    """The address of an MLflow server of ours."""
    import httpx

    home.mkdir()
    port = free_port()
    command = mlflow_server(f"sqlite:///{home / 'mlflow.db'}", str(home / "artifacts"), port=port)
    url = f"http://127.0.0.1:{port}"
    with started(command.arguments, command.environment):
        for _ in range(240):
            try:
                httpx.get(f"{url}/health").raise_for_status()
                break
            except httpx.HTTPError:
                time.sleep(0.5)
        yield url


@contextmanager
def shipping(directory: Path, url: str) -> Iterator[None]:
    """A process that ships the metrics of a job's directory, as a worker does."""
    with started([sys.executable, __file__, "--ship", str(directory), url], {}):
        time.sleep(5)  # it imports MLflow
        yield


@contextmanager
def started(arguments: list[str], environment: dict[str, str]) -> Iterator[None]:
    """A process group of its own, ended at the end."""
    process = subprocess.Popen(
        arguments,
        env=os.environ | environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def ship(directory: str, url: str) -> None:
    """Ship until this process is killed."""
    from pellucid.tracking.mlflow import connect
    from pellucid.tracking.shipper import MetricShipper

    tracker, _ = connect(Settings(mlflow_url=url))
    workspace = Workspace(Path(directory))
    MetricShipper(tracker, workspace, lambda: tracker.open_run("speed", "speed", {})).start()
    signal.pause()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def measure(contenders: dict[str, Contender], rounds: int, epochs: int) -> dict[str, list[float]]:
    """Name -> samples per second of every round; a first round, not counted, warms up."""
    names = list(contenders)
    speeds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds + 1):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            gc.collect()
            started = time.perf_counter()
            contenders[name](epochs)
            if number:
                speeds[name].append(epochs * ROWS / (time.perf_counter() - started))
    return speeds


def report(speeds: dict[str, list[float]], threads: int) -> None:
    """Print the table and write it to `results/`."""
    rounds = len(speeds[OURS])
    shape = "-".join(map(str, [WIDTH, *PLAN["model"]["widths"], 2]))
    lines = [
        f"# Training an MLP {shape} on {ROWS:,} rows, batches of {BATCH}, {threads} thread(s)",
        "",
        f"Medians of {rounds} rounds; ours over theirs in the same round, with the quartiles.",
        "",
        "| | samples/s | ours over it | quartiles |",
        "|---|---:|---:|---:|",
    ]
    rows = {}
    for name, values in speeds.items():
        ratios = [a / b for a, b in zip(speeds[OURS], values, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        rows[name] = {"samples_per_s": statistics.median(values), "ratio": [low, middle, high]}
        cells = f"{statistics.median(values):,.0f} | {middle:.3f} | {low:.3f} to {high:.3f}"
        lines.append(f"| {name} | {cells} |")
    if UP in speeds:
        ratios = [a / b for a, b in zip(speeds[DOWN], speeds[UP], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        rows["down over up"] = {"ratio": [low, middle, high]}
        lines += ["", f"MLflow down over up: {middle:.3f} ({low:.3f} to {high:.3f})."]
    load = os.getloadavg()[0]
    found = {name: metadata.version(name) for name in ("torch", "skorch", "lightning")}
    versions = ", ".join(f"{name} {version}" for name, version in found.items())
    lines += [
        "",
        f"On {environment.cpu_name()}, {os.cpu_count()} cores; load {load:.1f} at the end.",
        f"Versions: {versions}.",
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"training-{shape}.md").write_text(text, encoding="utf-8")
    content = {"rows": rows, "threads": threads, "load": load, "versions": found, "speeds": speeds}
    (RESULTS / f"training-{shape}.json").write_text(
        json.dumps(content, indent=2) + "\n", encoding="utf-8"
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--widths", type=int, nargs="+", default=[128, 128])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--mlflow", action="store_true")
    parser.add_argument("--ship", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
