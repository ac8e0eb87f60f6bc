"""The application: services around the requests, middleware around the routes."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import version

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from pellucid.settings import PREFIX, Settings
from pellucid_api import problems
from pellucid_api.access import AccessLog, Note, to_logging
from pellucid_api.auth import ApiKeys, KeyRing
from pellucid_api.metrics import Asked, Jobs, ServiceCollector, registry_of
from pellucid_api.middleware import BodyLimit, RequestLog
from pellucid_api.openapi import document
from pellucid_api.routes import TAGS, add_routes
from pellucid_api.services import Services
from pellucid_api.uploads import sweep
from pellucid_api.watched import look

_SETTLING_SECONDS = 30.0  # one of several processes waits so long for its models before it listens
GRACE_SECONDS = 20  # when the service stops: calls that are still open then are cut off

_DESCRIPTION = """
Register a data set, submit a training job, and get a network that explains itself, served here.

1. `POST /v1/datasets` uploads a file.
2. `POST /v1/jobs` trains on it; `GET /v1/jobs/{id}/events` shows the progress live.
3. `POST /v1/models/{name}/predict` answers, or `/v2/models/{name}/infer` for clients of the Open
   Inference Protocol.

Errors are `application/problem+json` (RFC 9457): what is wrong, where, and what to do. Lists come
in pages; `next_cursor` asks for the next. Where the service has API keys, send one as
`Authorization: Bearer KEY` or `X-API-Key: KEY`.
"""


def create_app(
    settings: Settings,
    build: Callable[[Settings], Services] = Services.build,
    note: Note | None = to_logging,
) -> FastAPI:
    """The application. Nothing is connected before it starts.

    Args:
        settings: of this process.
        build: makes the services; tests give their own.
        note: takes note of every request; None keeps no access log.
    """
    app = FastAPI(
        title="Pellucid",
        summary="Neural networks you can see through.",
        description=_DESCRIPTION,
        version=version("pellucid"),
        openapi_tags=TAGS,
        lifespan=partial(_lifespan, settings=settings, build=build, note=note),
        redirect_slashes=False,
        redoc_url=None,
    )
    problems.install(app)
    add_routes(app)
    app.openapi = lambda: document(app)  # type: ignore[method-assign]
    app.state.note = note
    _add_middleware(app, settings, note)
    return app


@asynccontextmanager
async def _lifespan(
    app: FastAPI, *, settings: Settings, build: Callable[[Settings], Services], note: Note | None
) -> AsyncIterator[None]:
    """The services, the metrics and the gRPC port, from before the first request to the end."""
    app.state.services = services = await run_in_threadpool(build, settings)
    await _start(services, getattr(app.state, "access", None))
    jobs, watched = Jobs(services.queue.counts), Asked(partial(look, services.database))
    collector = ServiceCollector(services.siblings.census, jobs, watched)
    app.state.metrics = registry_of(collector, alone=services.siblings.slot.alone)
    app.state.rpc = None
    try:
        if settings.grpc_port:
            from pellucid_api.rpc.server import listen  # heavy

            app.state.rpc = await listen(services, note)
        yield
    finally:
        if app.state.rpc is not None:
            await app.state.rpc.stop(GRACE_SECONDS)
        jobs.close()
        watched.close()
        await run_in_threadpool(services.close)


async def _start(services: Services, access: AccessLog | None) -> None:
    await run_in_threadpool(sweep, services.uploads)
    siblings = services.siblings
    if access is not None:
        siblings.lost_lines = lambda: access.lost
    await run_in_threadpool(services.start)
    if not siblings.slot.alone:  # the others answer meanwhile
        await run_in_threadpool(services.pool.settled.wait, _SETTLING_SECONDS)


def _add_middleware(app: FastAPI, settings: Settings, note: Note | None) -> None:
    """Around the routes; the last added is the outermost."""
    app.add_middleware(BodyLimit, limit_of=_body_limits(settings))
    if settings.api_keys:
        app.add_middleware(ApiKeys, ring=KeyRing(settings.api_keys))
    app.add_middleware(RequestLog, note=note)


def _body_limits(settings: Settings) -> Callable[[str, str], tuple[int, str]]:
    uploads = settings.max_upload_bytes, f"{PREFIX}MAX_UPLOAD_BYTES"
    others = settings.max_body_bytes, f"{PREFIX}MAX_BODY_BYTES"

    def limit_of(method: str, path: str) -> tuple[int, str]:
        return uploads if (method, path) == ("POST", "/v1/datasets") else others

    return limit_of
