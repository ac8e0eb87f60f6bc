"""What happens around every request: an identity, a log line, a limit to its body."""

import logging
import re
import time
import uuid
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pellucid.errors import TooLarge
from pellucid_api.problems import respond, unexpected

logger = logging.getLogger("pellucid_api.access")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class RequestLog:
    """Gives a request its id, logs its end, and turns what nobody caught into a plain 500.

    A caller's own X-Request-ID is kept, so that one id follows a request through several services.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and log it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        identity = _identity(Headers(scope=scope).get("x-request-id", ""))
        started = time.perf_counter()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = identity
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except Exception:
            logger.exception("request %s failed: %s %s", identity, scope["method"], scope["path"])
            if status:  # the response has begun; closing the connection is all that is left
                raise
            await unexpected(scope["path"])(scope, receive, send_with_id)
        finally:
            milliseconds = 1000 * (time.perf_counter() - started)
            quiet = "/health/" in scope["path"]
            logger.log(
                logging.DEBUG if quiet else logging.INFO,
                "%s %s %d %.1f ms %s",
                scope["method"],
                scope["path"],
                status,
                milliseconds,
                identity,
            )


class BodyLimit:
    """Refuses a body over the limit: at once if it says its length, else when it gets there.

    Args:
        app: what is behind.
        limit_of: the limit in bytes for a method and a path, and the setting that holds it.
    """

    def __init__(self, app: ASGIApp, limit_of: Callable[[str, str], tuple[int, str]]) -> None:
        self.app = app
        self._limit_of = limit_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 413, or pass on with a watched body."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit, setting = self._limit_of(scope["method"], scope["path"])
        error = TooLarge(
            f"The body is larger than {limit:,} bytes, the limit of such a request.",
            where={"limit_bytes": limit},
            remedy=f"Send less at once, or raise {setting}.",
        )
        length = Headers(scope=scope).get("content-length", "")
        if length.isdecimal() and int(length) > limit:
            await respond(scope["path"], error)(scope, receive, send)
            return
        received = 0

        async def receive_within_limit() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise HTTPException(413) from error  # FastAPI lets only this class through
            return message

        await self.app(scope, receive_within_limit, send)


def _identity(given: str) -> str:
    return given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
