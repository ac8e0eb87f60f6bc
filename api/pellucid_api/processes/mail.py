"""How serving processes ask each other: one request and one reply over a Unix socket."""

import logging
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Literal

import msgspec

from pellucid.errors import PellucidError
from pellucid_api.processes.counts import Report, packed
from pellucid_api.processes.slot import Slot

_KEEP_SECONDS = 1.0  # what a process counted since is lost with it
_BACKLOG = 128

logger = logging.getLogger(__name__)


class Request(msgspec.Struct, frozen=True):
    """To report, or to do something with a model, or to write what waits for the log."""

    what: Literal["report", "load", "unload", "flush"]
    model: str = ""


class Reply(msgspec.Struct, frozen=True):
    """What came of it; an error is for people."""

    report: Report | None = None
    error: str = ""


def ask(slot: Slot, request: Request, patience: float) -> dict[int, Reply | None]:
    """Ask all others at once.

    Args:
        slot: of the process that asks.
        request: the same to each.
        patience: seconds.

    Returns:
        Replies by number; None of a process that runs and did not reply in time. Processes that
        do not run are left out.
    """
    deadline = time.monotonic() + patience
    found: dict[int, Reply | None] = {}
    with ExitStack() as opened:
        asked = {}
        for number in slot.others:
            link = opened.enter_context(socket.socket(socket.AF_UNIX))
            link.settimeout(patience)
            try:
                link.connect(slot.address(number))
                link.sendall(msgspec.msgpack.encode(request))
                link.shutdown(socket.SHUT_WR)
            except (FileNotFoundError, ConnectionRefusedError):
                continue
            except OSError:  # it does not even accept
                found[number] = None
            else:
                asked[number] = link
        for number, link in asked.items():
            found[number] = _reply(link, deadline)
    return found


def _reply(link: socket.socket, deadline: float) -> Reply | None:
    try:
        return msgspec.msgpack.decode(_received(link, deadline), type=Reply)
    except (OSError, msgspec.DecodeError):  # too late, or it died meanwhile
        return None


def _received(link: socket.socket, deadline: float) -> bytes:
    parts: list[bytes] = []
    while True:
        link.settimeout(max(deadline - time.monotonic(), 1e-3))
        part = link.recv(2**16)
        if not part:
            return b"".join(parts)
        parts.append(part)


class Listener(socketserver.ThreadingUnixStreamServer):
    """Answers the others in threads of its own, however busy the event loop is.

    Args:
        slot: of this process.
        handle: what to do with a request; raises `PellucidError`.
        keep: called about every second.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = _BACKLOG

    def __init__(
        self, slot: Slot, handle: Callable[[Request], Reply], keep: Callable[[], object]
    ) -> None:
        self._handle, self._keep = handle, keep
        self._kept_at = time.monotonic()
        self._slot = slot
        slot.leave()  # in the name of the process that died in it
        super().__init__(slot.address(slot.number), _Exchange)
        self._thread = threading.Thread(
            target=self.serve_forever, args=(_KEEP_SECONDS / 2,), name="siblings", daemon=True
        )

    def start(self) -> None:
        """Begin to answer; who has asked already waits for it."""
        self._thread.start()

    def stop(self) -> None:
        """Answer no more."""
        self._slot.leave()
        self.shutdown()
        self.server_close()

    def service_actions(self) -> None:
        """After each request, and twice a second."""
        if time.monotonic() - self._kept_at >= _KEEP_SECONDS:
            self._keep()
            self._kept_at = time.monotonic()

    def answer(self, body: bytes) -> bytes:
        """The reply to a request, as bytes."""
        try:
            return packed(self._handle(msgspec.msgpack.decode(body, type=Request)))
        except PellucidError as error:
            return packed(Reply(error=str(error)))

    def handle_error(self, request: object, client_address: object) -> None:
        """A bug, or a sibling that went away: whoever asked does without the reply."""
        logger.warning("another serving process was not answered", exc_info=True)


class _Exchange(socketserver.BaseRequestHandler):
    server: Listener

    def handle(self) -> None:
        self.request.settimeout(10)
        body = b"".join(iter(lambda: self.request.recv(2**16), b""))
        self.request.sendall(self.server.answer(body))
