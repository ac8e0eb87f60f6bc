"""Which of several equal processes this one is, and the addresses that they share."""

import fcntl
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from pellucid.errors import InvalidSettings, Unavailable
from pellucid.settings import PREFIX

_POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Slot:
    """One of several processes; they know each other by their numbers.

    Args:
        number: from 0.
        count: of all processes.
        folder: of their sockets, and of what must outlive one of them. A process that is started
            again has the slot of the one that died.
    """

    number: int = 0
    count: int = 1
    folder: Path = Path()

    @property
    def alone(self) -> bool:
        """Whether there are no others."""
        return self.count == 1

    @property
    def others(self) -> list[int]:
        """The numbers of the others."""
        return [number for number in range(self.count) if number != self.number]

    def address(self, number: int) -> str:
        """The Unix socket on which a process answers the others."""
        return str(self.folder / f"{number}.socket")

    def keep(self, content: bytes) -> None:
        """Write what the next process in this slot, or one that asks for this one, will need."""
        partial = self.folder / f"{self.number}.partial"
        partial.write_bytes(content)
        partial.replace(self._kept(self.number))

    def kept(self, number: int) -> bytes | None:
        """What was kept last in a slot; None if nothing was."""
        with suppress(FileNotFoundError):
            return self._kept(number).read_bytes()
        return None

    @contextmanager
    def first(self, patience: float) -> Iterator[None]:
        """Hold the others off who want the same, so that all processes do it in one order.

        Raises:
            Unavailable: another one holds us off for longer than `patience` seconds.
        """
        if self.alone:
            yield
            return
        deadline = time.monotonic() + patience
        with (self.folder / "order.lock").open("wb") as file:
            while not _locked(file):
                if time.monotonic() > deadline:
                    raise Unavailable("Another process is at it.", remedy="Send the same later.")
                time.sleep(_POLL_SECONDS)
            yield

    def leave(self) -> None:
        """Take away the socket: what is kept stays for the heir."""
        with suppress(OSError):
            Path(self.address(self.number)).unlink()

    def _kept(self, number: int) -> Path:
        return self.folder / f"{number}.counts"


ALONE = Slot()


def _locked(file: IO[bytes]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def reserve(host: str, port: int, setting: str) -> socket.socket:
    """Take an address for processes that will share it. It listens to nobody itself.

    It is bound as an address that is shared with nobody, which fails where another service has
    it, and opened to sharing then: to processes of the same user that ask for it.

    Raises:
        InvalidSettings: the port is taken, the address is none of this machine's, or the platform
            cannot share ports.
    """
    if not hasattr(socket, "SO_REUSEPORT"):
        raise InvalidSettings(
            "This platform cannot share a port among processes.",
            where={"setting": "api_processes"},
            remedy=f"Set {PREFIX}API_PROCESSES=1.",
        )
    found = socket.socket(_family(host))
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # closed connections linger
        found.bind((host, port))
    except OSError as error:
        found.close()
        raise InvalidSettings(
            f"Nothing can listen on {host} port {port}: {error.strerror}.",
            where={"setting": setting},
            remedy=f"Stop the process that has it, or choose a port: {PREFIX}{setting.upper()}.",
        ) from error
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return found


def share(host: str, port: int) -> socket.socket:
    """This process's own socket of a shared address; the kernel spreads connections over all."""
    found = socket.socket(_family(host))
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    found.bind((host, port))
    return found


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
