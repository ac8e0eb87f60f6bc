"""A service in a process of its own, to be killed: `python -m support.serving_process HOME`."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TESTS = Path(__file__).parents[1]


@contextmanager
def serving_process(home: Path) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """The process, which serves the model `credit`, and its port; killed at the end."""
    process = subprocess.Popen(
        [sys.executable, "-m", "support.serving_process", str(home)],
        cwd=TESTS,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,  # closed, the process ends
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        yield process, int(process.stdout.readline())
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


def main(home: Path) -> None:
    from pellucid.settings import Settings
    from pellucid.tracking.contract import CHAMPION
    from pellucid.tracking.memory import MemoryTracker
    from support.serving import make_bundle, serving

    registry = MemoryTracker(home / f"registry-{os.getpid()}")
    make_bundle(home / f"bundle-{os.getpid()}")
    registry.register("run-1", "credit", home / f"bundle-{os.getpid()}", {})
    registry.set_alias("credit", CHAMPION, 1)
    # Short-lived spools, so that some of them are being sealed when the process dies.
    settings = Settings(home=home, device="cpu", prediction_segment_seconds=0.5)
    with serving(settings, registry) as client:
        print(client.base_url.port, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
