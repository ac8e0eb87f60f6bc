"""The server process: the only one, or one of several."""

import asyncio
import gc
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.datastructures import State
from uvicorn.config import STARTUP_FAILURE

from pellucid.settings import Settings
from pellucid_api.access import AccessLog
from pellucid_api.app import GRACE_SECONDS, create_app
from pellucid_api.auth import KeyRing
from pellucid_api.plane.http import Front, bound
from pellucid_api.processes.slot import ALONE, Slot, share
from pellucid_api.services import Services

# A large request makes a million short-lived objects and no cycle: looking for cycles after every
# 700 of them, which is the default, would double its time.
_GARBAGE_THRESHOLD = 50_000


class _Server(uvicorn.Server):
    """Tells the services of a signal: uvicorn itself waits for streams, which would not end."""

    def __init__(
        self, config: uvicorn.Config, state: State, listening: Callable[[], None] | None
    ) -> None:
        super().__init__(config)
        self._state, self._listening = state, listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Once all is imported, leave it to no collection: there are a million such objects."""
        await super().startup(sockets)
        gc.collect()
        gc.freeze()
        if self.started and self._listening is not None:
            self._listening()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop taking requests; a second Ctrl-C stops at once."""
        services: Services | None = getattr(self._state, "services", None)  # None while starting
        if services is not None:
            services.stopping.set()
        super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let gRPC finish while HTTP does; the application waits for both before it closes."""
        rpc = getattr(self._state, "rpc", None)
        ending = None if rpc is None else asyncio.create_task(rpc.stop(GRACE_SECONDS))
        await super().shutdown(sockets)
        if ending is not None:
            await ending
        # Here, since uvicorn then raises the signal again, which ends the process.
        access: AccessLog | None = getattr(self._state, "access", None)
        if access is not None:
            await asyncio.to_thread(access.stop)


def serve(
    settings: Settings,
    slot: Slot = ALONE,
    listening: Callable[[], None] | None = None,
    build: Callable[[Settings, Slot], Services] | None = None,
) -> None:
    """Serve until SIGTERM or Ctrl-C; requests under way are finished, streams are ended.

    Args:
        settings: of the service.
        slot: of this process among several.
        listening: called once requests are taken.
        build: makes the services; tests give their own.

    Raises:
        SystemExit: the service could not start; its log says why.
    """
    gc.set_threshold(_GARBAGE_THRESHOLD)
    access = AccessLog(settings.log_format)

    def built(settings: Settings) -> Services:
        return build(settings, slot) if build else Services.build(settings, slot=slot)

    app = create_app(settings, built, note=access.note if settings.access_log else None)
    app.state.access = access
    config = configured(app, settings, host=settings.host, port=settings.port)
    sockets = None if slot.alone else [share(settings.host, settings.port)]
    access.start()
    server = _Server(config, app.state, listening)
    with suppress(KeyboardInterrupt):  # raised again by uvicorn, once it has shut down
        server.run(sockets)
    if not server.started:
        sys.exit(STARTUP_FAILURE)


def configured(app: FastAPI, settings: Settings, **options: Any) -> uvicorn.Config:
    """uvicorn's configuration for the application, with inference answered in its protocol."""

    def front() -> Front | None:
        services: Services | None = getattr(app.state, "services", None)  # None while starting
        return (
            None if services is None else services.front(KeyRing(settings.api_keys), app.state.note)
        )

    return uvicorn.Config(
        app,
        http=bound(front, settings.request_timeout),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        **{"timeout_graceful_shutdown": GRACE_SECONDS, **options},
    )
