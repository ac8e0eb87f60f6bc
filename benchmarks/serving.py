"""Speed of serving: ours against the servers that people use, over the same two networks.

    python benchmarks/serving.py [--rounds 3] [--seconds 5] [--only NAME ...] [--cases NAME ...]

An MLP 32-256-256-2 and a small CNN over images of 3x32x32, in ONNX Runtime with one thread. Every
server is one worker process on one core; the load (wrk, connections kept alive) has another. Ours
runs as a user starts it: with validation, metrics, the access log and the prediction log; the
others log nothing. Each has an environment of its own, is asked in its own documented format, and
must answer as the network does in this process before it is measured. Peers that can batch do.

Each round runs every contender once, in an order that changes; ratios are of the same round. "In
process" is ONNX Runtime alone, in batches of all rows that the connections can have under way. The
overload at the end is an open loop at 80% and at 300% of the rate that a closed loop reached.
"""

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from inference import models, report
from inference.cases import CASES, Case
from inference.contenders import EVERYONE, IN_PROCESS, OURS, Contender
from inference.models import Network
from inference.overload import offer
from inference.processes import APPS, Absent, Place, check, serving, versions
from inference.results import Results
from inference.wrk import Load, Measured, wrk

from pellucid_pipelines.environment import cpu_name

OUT = Path(__file__).parent / "results" / "serving"
OVERLOADED = ("binary-64-c8", "cnn-json-c16")  # one core can offer three times what these bear
SHARES = (0.8, 3.0)
_WORST_CONNECTIONS = 16


def main() -> None:
    arguments = parse()
    wrk()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # our servers end with us
    os.sched_setaffinity(0, {arguments.load_core})
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)  # of connections, for servers as well
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    chosen = [each for each in EVERYONE if each is OURS or each.key in arguments.only]
    cases = [CASES[key] for key in arguments.cases]
    results = Results(arguments.rounds)
    with tempfile.TemporaryDirectory() as scratch:
        place = Place(
            frozenset({arguments.server_core}),
            frozenset({arguments.load_core}),
            arguments.environments,
            Path(scratch),
        )
        networks = models.write(place.scratch)
        for number in range(arguments.rounds):
            turn = number % len(chosen)
            for contender in chosen[turn:] + chosen[:turn]:
                run(contender, cases, networks, number, arguments.seconds, place, results)
            for case in cases:
                network = networks[case.network]
                found = in_process(case, network, arguments.seconds, place)
                results.add(case.key, IN_PROCESS, number, found)
            write(results, arguments)
        for case in cases:
            if case.key in OVERLOADED and not arguments.no_overload:
                overload(case, networks[case.network], arguments.seconds, place, results)
    print(write(results, arguments))


def run(
    contender: Contender,
    cases: list[Case],
    networks: dict[str, Network],
    number: int,
    seconds: float,
    place: Place,
    results: Results,
) -> None:
    """Measure all cases of a contender, once."""
    if contender.name in results.absent:
        return
    for name, network in networks.items():
        taken = [case for case in cases if case.network == name and contender.takes(case)]
        if not taken:
            continue
        try:
            with serving(contender, network, place) as url:
                for case in taken:
                    found = measure(contender, case, network, url, seconds, place, results)
                    results.add(case.key, contender.name, number, found)
            if contender.name not in results.versions:
                results.versions[contender.name] = versions(contender, place)
        except Absent as error:
            results.absent[contender.name] = str(error)
            print(f"{contender.name}: {error}", file=sys.stderr, flush=True)
            return


def measure(
    contender: Contender,
    case: Case,
    network: Network,
    url: str,
    seconds: float,
    place: Place,
    results: Results,
) -> Measured | None:
    """One case; None, and the reason among the absent, if not all is answered rightly."""
    form = contender.form(case)
    try:
        check(url, contender, form, network)
        load = Load(network, form, case.rows, case.connections)
        found = load.run(url, seconds, place.load_cores, place.scratch)
    except (Absent, RuntimeError) as error:
        results.absent[f"{contender.name}, {case.title}"] = str(error)
        print(f"{contender.name}, {case.key}: {error}", file=sys.stderr, flush=True)
        return None
    rate, times = f"{found.rows_per_s:,.0f} rows/s", f"p50 {found.p50:.2f} p99 {found.p99:.2f} ms"
    print(f"{contender.name}, {case.key}: {rate}, {times}", file=sys.stderr, flush=True)
    return found


def in_process(case: Case, network: Network, seconds: float, place: Place) -> Measured:
    """ONNX Runtime alone on the servers' core, in batches of all rows under way."""
    done = subprocess.run(
        [sys.executable, APPS / "in_process.py", str(case.rows * case.connections), str(seconds)],
        env=os.environ | {"MODEL": str(network.path), "MODEL_NAME": network.name, "PORT": "0"},
        preexec_fn=lambda: os.sched_setaffinity(0, place.server_cores),
        capture_output=True,
        check=True,
    )
    return Measured(**json.loads(done.stdout))


def overload(case: Case, network: Network, seconds: float, place: Place, results: Results) -> None:
    """Offer ours less and more than it can bear."""
    form = OURS.form(case)
    with serving(OURS, network, place) as url:
        load = Load(network, form, case.rows, _WORST_CONNECTIONS)
        capacity = load.run(url, seconds, place.load_cores, place.scratch).rows_per_s / case.rows
        results.overload[case.key] = {}
        for share in SHARES:
            found = offer(url, network, form, case.rows, share * capacity, seconds)
            results.overload[case.key][str(share)] = found.as_dict()
            print(f"{case.key} at {share:.0%}: {found.as_dict()}", file=sys.stderr, flush=True)


def write(results: Results, arguments: argparse.Namespace) -> str:
    """Write the page and its figures; gives the page."""
    load = os.getloadavg()[0]
    footer = f"{cpu_name()}, {os.cpu_count()} cores; load {load:.1f} at the end."
    text = "\n".join(report.lines(results, arguments.seconds, footer)) + "\n"
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.with_suffix(".md").write_text(text, encoding="utf-8")
    content = {"cpu": cpu_name(), "load": load, "seconds": arguments.seconds, **results.as_dict()}
    arguments.out.with_suffix(".json").write_text(
        json.dumps(content, indent=2) + "\n", encoding="utf-8"
    )
    return text


def parse() -> argparse.Namespace:
    names = [each.key for each in EVERYONE]
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "pellucid-benchmarks"
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5, help="of each measurement")
    parser.add_argument("--only", nargs="*", choices=names, default=names, metavar="NAME",
                        help=f"ours and some of: {', '.join(names)}")  # fmt: skip
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="NAME",
                        help=f"some of: {', '.join(CASES)}")  # fmt: skip
    parser.add_argument("--no-overload", action="store_true")
    parser.add_argument("--environments", type=Path, default=cache,
                        help="where the peers are installed; a few GB")  # fmt: skip
    parser.add_argument("--server-core", type=int, default=0)
    parser.add_argument("--load-core", type=int, default=1)
    parser.add_argument("--out", type=Path, default=OUT)
    return parser.parse_args()


if __name__ == "__main__":
    main()
