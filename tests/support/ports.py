"""Ports for servers that tests start."""

import os
import random
import socket

_LOWEST, _HIGHEST = 10_000, 32_000
_CHANCE = random.Random(f"{os.getpid()} {os.environ.get('PYTEST_XDIST_WORKER', '')}")


def free_port() -> int:
    """A port that nobody listens at, and that the kernel gives nobody by itself.

    It lies below those for outgoing connections and for whoever asks for any port (from 32,768 on;
    see `net.ipv4.ip_local_port_range`): there, somebody else may have it before the server starts.
    """
    while True:
        port = _CHANCE.randint(_LOWEST, _HIGHEST)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
