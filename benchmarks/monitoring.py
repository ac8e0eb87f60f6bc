"""Monitoring: can its alarms be trusted, does it see what it must, and what does it cost?

    python benchmarks/monitoring.py [--only PART ...] [--years 1000] [--size 1.0]

false_alarms: a year of daily windows without drift, many times. power: shifts that must be found.
speed: 10M x 50 rows of Parquet against a stored profile, and beside Evidently's default preset at
1M x 10. bias: 10M predictions by group; the same as fairlearn. mitigation: thresholds by group.
estimates: CBPE under covariate shift. feedback: a million labels in one file. storm: 10,000 firing
evaluations. bike: a year of real drift over HTTP.

`--only` measures some parts and keeps the others of the last run. `--size 0.01` makes the large
ones small, to see that everything runs.
"""

import argparse
import json
import os
import signal
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from runs import SHARED
from watching import report
from watching.parts import NAMES, part
from watching.scale import Scale

from pellucid_pipelines import environment

OUT = Path(__file__).parent / "results" / "monitoring"
_VERSIONS = ("python", "pellucid", "numpy", "pyarrow", "duckdb", "onnxruntime", "torch")


def main() -> None:
    arguments = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # our services end with us
    kept = arguments.out.with_suffix(".json")
    content: dict[str, Any] = {"measured": {}}
    if arguments.only and kept.exists():
        content = json.loads(kept.read_text(encoding="utf-8"))
    scale = Scale(
        arguments.size, arguments.years, arguments.processes, arguments.data, arguments.environments
    )
    for name in arguments.only or NAMES:
        print(name, file=sys.stderr, flush=True)
        content[name] = part(name).measure(scale)
        content["measured"][name] = how(scale)
        write(content, arguments.out)
    print(arguments.out.with_suffix(".md").read_text(encoding="utf-8"))


def how(scale: Scale) -> str:
    """Under what conditions a part was measured."""
    size = "full size" if scale.size == 1 else f"**at {scale.size:g} of the size**"
    return f"{size}; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at its end"


def write(content: dict[str, Any], out: Path) -> None:
    """Write figures and page."""
    versions = {"fairlearn": version("fairlearn"), **environment.versions()}
    versions |= {name: version(name) for name in ("pyarrow", "duckdb") if name not in versions}
    content["versions"] = {name: versions[name] for name in _VERSIONS if name in versions}
    content["versions"]["fairlearn"] = versions["fairlearn"]
    content["cpu"] = environment.cpu_name()
    out.parent.mkdir(parents=True, exist_ok=True)
    figures = json.dumps(content, indent=2) + "\n"
    out.with_suffix(".json").write_text(figures, encoding="utf-8")
    page = "\n".join(report.lines(content)) + "\n"
    out.with_suffix(".md").write_text(page, encoding="utf-8")


def parse() -> argparse.Namespace:
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "pellucid-benchmarks"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", choices=NAMES, metavar="PART",
                        help=f"some of: {', '.join(NAMES)}")  # fmt: skip
    parser.add_argument("--years", type=int, default=1000, help="simulated for each window size")
    parser.add_argument("--size", type=float, default=1.0, help="of large tables; 1: as promised")
    parser.add_argument("--processes", type=int, default=os.cpu_count(), help="of simulations")
    parser.add_argument("--environments", type=Path, default=cache,
                        help="where Evidently is installed")  # fmt: skip
    parser.add_argument("--data", type=Path, default=SHARED)
    parser.add_argument("--out", type=Path, default=OUT)
    return parser.parse_args()


if __name__ == "__main__":
    main()
