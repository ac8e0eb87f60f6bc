"""One of several serving processes, from its own side."""

import os
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from pellucid.logs import configure_logging
from pellucid.settings import Settings
from pellucid_api.processes.slot import Slot

if TYPE_CHECKING:
    from pellucid_api.services import Services

Build = Callable[[Settings, Slot], "Services"]


def run(settings: Settings, slot: Slot, parent: Connection, build: Build | None = None) -> None:
    """Serve until SIGTERM, or until the parent is gone.

    Args:
        settings: the same for all.
        slot: of this process.
        parent: is told as soon as requests are taken.
        build: makes the services; tests give their own.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of a terminal: the parent says when to end
    configure_logging(settings.log_format)
    from pellucid_api.server import serve  # heavy: what the parent itself does without

    threading.Thread(target=_watch, args=(parent,), name="parent", daemon=True).start()
    serve(settings, slot, lambda: parent.send(None), build)


def _watch(parent: Connection) -> None:
    """End with the parent, however that went: nobody else would ever end this process."""
    try:
        parent.recv()
    except EOFError:
        os.kill(os.getpid(), signal.SIGTERM)
