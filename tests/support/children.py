"""What the processes of a test's parent do: each gets the end of a pipe, to say that it serves."""

import os
import signal
import sys
import time
from pathlib import Path


def fail(_link):
    sys.exit(3)


def serve_once(link):
    """Serve, then crash at the first start; at the second, ask the parent to end."""
    link.send(None)
    first = Path(os.environ["CRASHED"])
    if first.exists():
        os.kill(os.getppid(), signal.SIGTERM)
        time.sleep(60)
    first.touch()
    os._exit(5)


def deaf(link):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(os.environ["READY"]).touch()
    link.send(None)
    time.sleep(300)
