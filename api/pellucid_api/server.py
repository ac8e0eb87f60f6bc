"""The HTTP server process."""

import functools
import gc
from contextlib import suppress
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.datastructures import State

from pellucid.settings import Settings
from pellucid_api.app import create_app
from pellucid_api.auth import KeyRing
from pellucid_api.plane.http import Front, bound
from pellucid_api.services import Services

# A large request makes a million short-lived objects and no cycle: looking for cycles after every
# 700 of them, which is the default, would double its time.
_GARBAGE_THRESHOLD = 50_000
_GRACE_SECONDS = 20  # then requests that are still open are cut off


class _Server(uvicorn.Server):
    """Tells the services of a signal: uvicorn itself waits for streams, which would not end."""

    def __init__(self, config: uvicorn.Config, state: State) -> None:
        super().__init__(config)
        self._state = state

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop taking requests; a second Ctrl-C stops at once."""
        services: Services | None = getattr(self._state, "services", None)  # None while starting
        if services is not None:
            services.stopping.set()
        super().handle_exit(sig, frame)


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or Ctrl-C; requests under way are finished, streams are ended."""
    gc.set_threshold(_GARBAGE_THRESHOLD)
    app = create_app(settings)
    config = configured(app, settings, host=settings.host, port=settings.port)
    with suppress(KeyboardInterrupt):  # raised again by uvicorn, once it has shut down
        _Server(config, app.state).run()


def configured(app: FastAPI, settings: Settings, **options: Any) -> uvicorn.Config:
    """uvicorn's configuration for the application, with inference answered in its protocol."""

    @functools.cache
    def front() -> Front:
        services: Services = app.state.services
        return services.front(KeyRing(settings.api_keys))

    return uvicorn.Config(
        app,
        http=bound(lambda: front() if hasattr(app.state, "services") else None),
        log_config=None,
        access_log=False,
        server_header=False,
        **{"timeout_graceful_shutdown": _GRACE_SECONDS, **options},
    )
