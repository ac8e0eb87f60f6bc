"""What happens around every request: an identity, a log line, a limit to its body."""

import logging
import re
import time
import uuid
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pellucid.errors import TooLarge
from pellucid_api.access import CLIENT_LEFT, Entry, Note, to_logging
from pellucid_api.problems import respond, unexpected

logger = logging.getLogger(__name__)
_QUIET = ("/health", "/v2/health/", "/ping")  # asked every few seconds, and seldom of interest
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class RequestLog:
    """Gives a request its id, logs its end, and turns what nobody caught into a plain 500.

    A caller's own X-Request-ID is kept, so that one id follows a request through several services.

    Args:
        app: what is behind.
        note: takes note of every request but those that ask for the service's health; None
            keeps no log.
    """

    def __init__(self, app: ASGIApp, note: Note | None = to_logging) -> None:
        self.app = app
        self._note = note

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and log it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        identity = _identity(Headers(scope=scope).get("x-request-id", ""))
        started = time.perf_counter()
        status = size = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status, size
            size += len(message.get("body", b""))
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = identity
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        except ClientDisconnect:  # in the midst of its body: nobody reads an answer
            status = CLIENT_LEFT
        except Exception:
            logger.exception("request %s failed: %s %s", identity, scope["method"], scope["path"])
            if status:  # the response has begun; closing the connection is all that is left
                raise
            await unexpected(scope["path"])(scope, receive, send_with_id)
        finally:
            if self._note is not None and not scope["path"].startswith(_QUIET):
                self._note(_entry(scope, started, status, identity, size))


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


def _entry(scope: Scope, started: float, status: int, identity: str, size: int) -> Entry:
    path = scope.get("raw_path") or scope["path"].encode()
    now = time.perf_counter()
    client = tuple(scope["client"]) if scope.get("client") else None
    return Entry(
        started, now, scope["method"].encode(), path, status, identity.encode(), client, size
    )
