"""Training time of one plan on the CPU and on CUDA, and whether both learn the same.

    python benchmarks/gpu.py [--rows 200000] [--epochs 5] [--devices cpu cuda]

The data are synthetic credit applications, the network a wide MLP. The time is that of the whole
fit, its warm-up and checkpoints included, divided by the epochs.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from runs import schema_of

from pellucid.datasets import synthetic
from pellucid.jobs.workspace import Request, Workspace
from pellucid.plan import Plan, resolve
from pellucid_pipelines import data, environment
from pellucid_pipelines.fitting import train
from pellucid_pipelines.journal import Journal
from pellucid_pipelines.loop import predict

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    arguments = parse()
    table, roles = synthetic.credit(arguments.rows)
    plan, schema = resolve(
        Plan.parse(
            {
                "name": "gpu",
                "data": {"dataset": "gpu"},
                "model": {"kind": "mlp", "widths": [1024, 1024, 1024]},
                "training": {"epochs": arguments.epochs, "batch_size": 4096},
            }
        ),
        schema_of(table, roles),
        classes=2,
    )
    examples = data.prepare(table, data.split(table, plan), schema, plan)
    request = Request(
        job_id="gpu",
        attempt=1,
        plan=plan.model_dump(mode="json"),
        data_schema=schema,
        data_version="gpu",
        data_path="",
    )
    rows = [measure(request, plan, examples, torch.device(name)) for name in arguments.devices]
    report(arguments.rows, rows)


def measure(
    request: Request, plan: Plan, examples: data.Data, device: torch.device
) -> dict[str, Any]:
    """Seconds an epoch and the test loss on one device."""
    with tempfile.TemporaryDirectory() as directory:
        workspace = Workspace(Path(directory))
        started = time.perf_counter()
        with Journal(workspace) as journal:
            network, state = train(request, plan, examples, device, workspace, journal)
        seconds = (time.perf_counter() - started) / state.epoch
    test = examples.parts.test
    logits = predict(network, examples.rows(test).inputs).double().flatten()
    truth = torch.as_tensor(examples.truth(test)).double()
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, truth).item()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else environment.cpu_name()
    return {"device": device.type, "name": name, "seconds_an_epoch": seconds, "log_loss": loss}


def report(count: int, rows: list[dict[str, Any]]) -> None:
    """Print the table and write it to `results/`."""
    lines = [f"# Training on {count:,} rows, MLP 3 x 1024, batches of 4,096", ""]
    lines += ["| device | | seconds an epoch | test log loss |", "|---|---|---:|---:|"]
    lines += [
        "| {device} | {name} | {seconds_an_epoch:.3f} | {log_loss:.4f} |".format_map(row)
        for row in rows
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "gpu.md").write_text(text, encoding="utf-8")
    content = {"rows": rows, "versions": environment.versions()}
    (RESULTS / "gpu.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--devices", nargs="+", choices=("cpu", "cuda"), default=("cpu", "cuda"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
