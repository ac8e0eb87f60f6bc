"""Servers as processes: environments, starting, checking, ending."""

import os
import socket
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import httpx
import numpy as np
import psutil

from inference.contenders import Contender
from inference.formats import Format
from inference.models import Network
from inference.ours import command as our_command

APPS = Path(__file__).parent / "apps"
_START_SECONDS = 30
_TOLERANCE = 1e-4
ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class Absent(Exception):  # a result, not a mistake
    """A contender that cannot be measured here, and why."""


@dataclass(frozen=True)
class Place:
    """Where things run: the servers' cores, the load's cores, environments, scratch files."""

    server_cores: frozenset[int]
    load_cores: frozenset[int]
    environments: Path
    scratch: Path


def python_of(contender: Contender, place: Place) -> Path:
    """The interpreter that has what the contender needs, installed if it is not yet.

    Raises:
        Absent: pip cannot install it.
    """
    if not contender.packages:
        return Path(sys.executable)
    return installed(contender.key, contender.packages, place.environments)


def installed(name: str, packages: tuple[str, ...], environments: Path) -> Path:
    """The interpreter of a virtual environment that has some packages, made if it is not there.

    Raises:
        Absent: pip cannot install them.
    """
    digest = sha256(" ".join(packages).encode()).hexdigest()[:8]
    root = environments / f"{name}-{digest}"
    python = root / "bin" / "python"
    if not (root / "installed").exists():
        print(f"installing {' '.join(packages)}", file=sys.stderr)
        venv.create(root, with_pip=True, clear=True)
        command = [str(python), "-m", "pip", "install", "--quiet", *packages]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise Absent(f"pip cannot install it: {_last(done.stderr)}")
        (root / "installed").touch()
    return python


def versions(contender: Contender, place: Place) -> dict[str, str]:
    """Of the packages that make the contender what it is."""
    names = [package.split("[")[0].split("==")[0] for package in contender.packages]
    names = names or ["pellucid", "uvicorn", "httptools", "uvloop", "msgspec"]
    code = (
        "import sys; from importlib.metadata import version; "
        "print(*[f'{n} {version(n)}' for n in sys.argv[1:]], sep='\\n')"
    )
    command = [str(python_of(contender, place)), "-c", code, *names]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(line.split(" ", 1) for line in found.stdout.splitlines())


@contextmanager
def serving(contender: Contender, network: Network, place: Place) -> Iterator[str]:
    """The URL of a contender that serves a network on its cores, and answers rightly.

    Raises:
        Absent: it cannot be installed, does not start, or answers wrongly.
    """
    python, port = python_of(contender, place), free_port()
    home = place.scratch / f"{contender.key}-{network.name}"
    home.mkdir(exist_ok=True)
    environment = os.environ | dict.fromkeys(ONE_THREAD, "1")
    environment |= {
        "MODEL": str(network.path), "MODEL_NAME": network.name, "PORT": str(port),
        "PYTHONPATH": str(APPS), "PYTHONWARNINGS": "ignore",
        # Triton runs Python in a process of its own, which must find the same libpython.
        "LD_LIBRARY_PATH": sysconfig.get_config_var("LIBDIR") or "",
    }  # fmt: skip
    if contender.app is None:
        command, more = our_command(home, network, port)
        environment |= more
        del environment["PYTHONPATH"]
    else:
        arguments = contender.module or (str(APPS / contender.app),)
        command = [str(python), *(each.format(port=port) for each in arguments)]
    log = home / "log.txt"
    with running(command, environment | contender.environment, place.server_cores, log) as process:
        url = f"http://127.0.0.1:{port}"
        _wait(process, url, contender, network, log)
        yield url


@contextmanager
def running(
    command: list[str], environment: dict[str, str], cores: frozenset[int], log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """A process on some cores, in its log's directory; it and what it started end with this."""
    with log.open("w") as file:
        process = subprocess.Popen(
            command,
            env=environment,
            cwd=log.parent,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: os.sched_setaffinity(0, cores),
        )
    try:
        yield process
    finally:
        _end(process)


def _wait(
    process: subprocess.Popen[bytes], url: str, contender: Contender, network: Network, log: Path
) -> None:
    """Until it answers as the model does."""
    until = time.monotonic() + _START_SECONDS
    while True:
        time.sleep(0.2)
        try:
            check(url, contender, contender.json, network)
        except Absent as error:
            told = f"{error}; {_last(log.read_text(errors='replace'))}"
        else:
            return
        if process.poll() is not None:
            raise Absent(f"it ends at its start: {told}")
        if time.monotonic() > until:
            raise Absent(f"it does not start: {told}")


def check(url: str, contender: Contender, form: Format, network: Network) -> None:
    """Compare its answers to 1 and to 64 rows with the model's own.

    Raises:
        Absent: they differ by more than 1e-4, or there are none.
    """
    for count in (1, 64):
        rows = network.rows(count, seed=count)
        message = form.write(rows)
        target = url + form.path.format(model=network.name)
        try:
            reply = httpx.post(target, content=message.body, headers=message.headers, timeout=30)
        except httpx.HTTPError as error:
            raise Absent(repr(error)) from error
        if reply.status_code != 200:
            raise Absent(f"HTTP {reply.status_code}: {reply.text[:200]}")
        if contender.check:
            found = form.read(dict(reply.headers), reply.content)
            expected = network.answer(rows)
            if found.shape != expected.shape or np.abs(found - expected).max() > _TOLERANCE:
                raise Absent(f"other answers than in process, of shape {found.shape}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """It and all that it started."""
    try:
        family = psutil.Process(process.pid)
        family = [family, *family.children(recursive=True)]
    except psutil.NoSuchProcess:
        family = []
    process.terminate()
    _, alive = psutil.wait_procs(family, timeout=15)
    for each in alive:
        each.kill()
    process.wait()


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _last(text: str) -> str:
    """The last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it says nothing"
