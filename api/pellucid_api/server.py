"""The server process."""

import asyncio
import gc
import socket
from contextlib import suppress
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.datastructures import State

from pellucid.settings import Settings
from pellucid_api.access import AccessLog
from pellucid_api.app import GRACE_SECONDS, create_app
from pellucid_api.auth import KeyRing
from pellucid_api.plane.http import Front, bound
from pellucid_api.services import Services

# A large request makes a million short-lived objects and no cycle: looking for cycles after every
# 700 of them, which is the default, would double its time.
_GARBAGE_THRESHOLD = 50_000


class _Server(uvicorn.Server):
    """Tells the services of a signal: uvicorn itself waits for streams, which would not end."""

    def __init__(self, config: uvicorn.Config, state: State) -> None:
        super().__init__(config)
        self._state = state

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Once all is imported, leave it to no collection: there are a million such objects."""
        await super().startup(sockets)
        gc.collect()
        gc.freeze()

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


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or Ctrl-C; requests under way are finished, streams are ended."""
    gc.set_threshold(_GARBAGE_THRESHOLD)
    access = AccessLog(settings.log_format)
    app = create_app(settings, note=access.note if settings.access_log else None)
    app.state.access = access
    config = configured(app, settings, host=settings.host, port=settings.port)
    access.start()
    with suppress(KeyboardInterrupt):  # raised again by uvicorn, once it has shut down
        _Server(config, app.state).run()


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
