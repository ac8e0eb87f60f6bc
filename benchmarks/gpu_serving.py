"""Serving on a GPU: our server against ONNX Runtime with IO binding in process, in the same run.

    python benchmarks/gpu_serving.py [--device cuda:0] [--rounds 3] [--seconds 5]

The CNN of `serving.py`, asked over the Open Inference Protocol with binary tensors. Ours runs as a
user starts it, and must answer as the CPU does, to 1e-4, and say that it runs on the device. "In
process" copies each batch to the device, runs it and copies the answers back, without HTTP, in
batches of all rows that the connections can have under way, but of no more than the server makes.
`--device cpu --cases 1x4 16x2` shows only that the benchmark works.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import httpx
from inference import models
from inference.contenders import OURS
from inference.formats import BINARY
from inference.models import Network
from inference.processes import APPS, Place, serving
from inference.wrk import Load, wrk

from pellucid.settings import Settings
from pellucid_pipelines import environment

OUT = Path(__file__).parent / "results" / "gpu-serving"
GOAL = 0.8  # of in process, for large batches


@dataclass(frozen=True)
class Case:
    """Requests of so many images over so many connections."""

    rows: int
    connections: int

    @property
    def large(self) -> bool:
        """Whether the network's time is most of it."""
        return self.rows > 1

    @classmethod
    def of(cls, text: str) -> "Case":
        """From ROWSxCONNECTIONS."""
        rows, _, connections = text.partition("x")
        return cls(int(rows), int(connections))


CASES = [Case(1, 64), Case(16, 64), Case(64, 64), Case(256, 8)]


def main() -> None:
    arguments = parse()
    wrk()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # our server ends with us
    most = Settings.load().max_batch_rows
    rounds: list[list[dict[str, Any]]] = []
    with tempfile.TemporaryDirectory() as scratch:
        place = shared(Path(scratch))
        network = models.write(place.scratch)["cnn"]
        for _ in range(arguments.rounds):
            rounds.append(measure(network, place, arguments, most))
    text = "\n".join(page(rounds, arguments, most)) + "\n"
    print(text)
    if arguments.device == "cpu":
        return
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.with_suffix(".md").write_text(text, encoding="utf-8")
    content = {
        "card": card(),
        "device": arguments.device,
        "seconds": arguments.seconds,
        "most_rows": most,
        "rounds": rounds,
        "versions": environment.versions(),
    }
    arguments.out.with_suffix(".json").write_text(
        json.dumps(content, indent=2) + "\n", encoding="utf-8"
    )


def shared(scratch: Path) -> Place:
    """A third of the cores for the load, the others for the server."""
    cores = sorted(os.sched_getaffinity(0))
    split = max(1, len(cores) * 2 // 3)
    server, load = cores[:split], cores[split:] or cores
    return Place(frozenset(server), frozenset(load), scratch, scratch)


def measure(
    network: Network, place: Place, arguments: argparse.Namespace, most: int
) -> list[dict[str, Any]]:
    """Every case once, both ways."""
    ours = replace(OURS, environment={"PELLUCID_DEVICE": arguments.device})
    found: list[dict[str, Any]] = []
    with serving(ours, network, place) as url:  # which compares its answers
        require(url, arguments.device)
        for case in arguments.cases:
            load = Load(network, BINARY, case.rows, case.connections)
            served = load.run(url, arguments.seconds, place.load_cores, place.scratch)
            found.append({"case": asdict(case), "served": asdict(served)})
            print(f"{case}: {served.rows_per_s:,.0f} rows/s", file=sys.stderr, flush=True)
    for entry, case in zip(found, arguments.cases, strict=True):  # alone on the device
        rows = min(case.rows * case.connections, most)
        entry["in_process"] = in_process(rows, network, place, arguments)
        entry["ratio"] = entry["served"]["rows_per_s"] / entry["in_process"]["rows_per_s"]
    return found


def require(url: str, device: str) -> None:
    """End unless the server says that its model runs on the device."""
    (model,) = httpx.get(f"{url}/health/ready").json()["models"]
    if model["device"].partition(":")[0] != device.partition(":")[0]:
        raise SystemExit(f"{device} was asked for, and the model runs on {model['device']}")


def in_process(
    rows: int, network: Network, place: Place, arguments: argparse.Namespace
) -> dict[str, float]:
    """ONNX Runtime alone on the server's cores."""
    done = subprocess.run(
        [sys.executable, APPS / "bound.py", str(rows), str(arguments.seconds), arguments.device],
        env=os.environ | {"MODEL": str(network.path), "MODEL_NAME": network.name, "PORT": "0"},
        preexec_fn=lambda: os.sched_setaffinity(0, place.server_cores),
        stdout=subprocess.PIPE,
        check=True,
    )
    found: dict[str, float] = json.loads(done.stdout)
    return found


def page(rounds: list[list[dict[str, Any]]], arguments: argparse.Namespace, most: int) -> list[str]:
    """The table, medians over the rounds."""
    lines = [
        f"# Serving a CNN on {card()} ({arguments.device})",
        "",
        f"Medians of {len(rounds)} rounds of {arguments.seconds:g} s each; images of 3x32x32 in "
        f"float32 without TF32, runs of at most {most} rows. Ratios are of the same round.",
        "",
        "| a request | connections | served, rows/s | p50, ms | p99, ms | in process, rows/s "
        "| without copies, rows/s | ratio |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for i, case in enumerate(arguments.cases):
        served = [each[i]["served"] for each in rounds]
        alone = [each[i]["in_process"] for each in rounds]
        ratio = median(each[i]["ratio"] for each in rounds)
        told = f"{ratio:.2f}"
        if case.large:
            told += " (goal met)" if ratio >= GOAL else f" (goal: {GOAL})"
        rates = [
            f"{median(each[key] for each in alone):,.0f}" for key in ("rows_per_s", "resident")
        ]
        lines.append(
            f"| {case.rows} images | {case.connections} "
            f"| {median(each['rows_per_s'] for each in served):,.0f} "
            f"| {median(each['p50'] for each in served):.1f} "
            f"| {median(each['p99'] for each in served):.1f} "
            f"| {rates[0]} | {rates[1]} | {told} |"
        )
    return [*lines, "", f"{environment.cpu_name()}, {len(os.sched_getaffinity(0))} cores."]


def card() -> str:
    """The GPU's name, or the processor's."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        return environment.cpu_name()
    return done.stdout.splitlines()[0].strip()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda:0", help="as PELLUCID_DEVICE takes it")
    parser.add_argument("--cases", nargs="+", type=Case.of, default=CASES,
                        metavar="ROWSxCONNECTIONS")  # fmt: skip
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement")
    parser.add_argument("--out", type=Path, default=OUT)
    return parser.parse_args()


if __name__ == "__main__":
    main()
