"""The data plane's front in the HTTP server itself.

uvicorn parses every request; one for inference that can be answered at once is answered here and
never becomes an ASGI request. Whatever is out of the ordinary goes on to the application, which has
the same data plane behind its routes: another path, method or version of HTTP, a query, a model
that is not in memory, a key that is wrong, a body that is chunked or too large, an earlier request
of the connection that is still under way.
"""

import secrets
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

from starlette.datastructures import Headers
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from pellucid_api.auth import KeyRing
from pellucid_api.engine.pool import ModelPool
from pellucid_api.engine.served import Served
from pellucid_api.plane.dataplane import DataPlane, Pending
from pellucid_api.plane.exchange import Codec, RawHeaders, Reply, header, refusal

_KNOWN = 1024  # paths that are remembered


class Front:
    """What all connections share.

    Args:
        plane: answers.
        pool: finds the model of a path.
        codecs: (first part, last part) of a path -> codec; ("v1", "predict") and the like.
        ring: the valid keys.
        max_body: bytes.
    """

    def __init__(
        self,
        plane: DataPlane,
        pool: ModelPool,
        codecs: Mapping[tuple[str, str], Codec[Reply]],
        ring: KeyRing,
        max_body: int,
    ) -> None:
        self.plane, self.pool, self.max_body = plane, pool, max_body
        self._ring, self._open = ring, not ring
        self._codecs = codecs
        self._known: dict[bytes, tuple[Codec[Reply], str, int | None] | None] = {}
        self._prefix = secrets.token_hex(8)
        self._count = count()

    def identity(self) -> bytes:
        """A new X-Request-ID."""
        return b"%s-%x" % (self._prefix.encode(), next(self._count))

    def allows(self, headers: RawHeaders) -> bool:
        """Whether a request has a valid key."""
        return self._open or self._ring.opens(Headers(raw=list(headers)))

    def find(self, url: bytes) -> tuple[Codec[Reply], Served] | None:
        """Who answers a POST to this URL, if that is in memory."""
        try:
            target = self._known[url]
        except KeyError:
            target = self._parse(url)
            if len(self._known) < _KNOWN:
                self._known[url] = target
        if target is None:
            return None
        codec, name, version = target
        served = self.pool.in_memory(name, version)
        return None if served is None else (codec, served)

    def _parse(self, url: bytes) -> tuple[Codec[Reply], str, int | None] | None:
        match url.decode("latin-1").split("/"):
            case ["", first, "models", name, last] if (first, last) in self._codecs:
                return self._codecs[first, last], name, None
            case ["", first, "models", name, "versions", version, last] if (
                first,
                last,
            ) in self._codecs and version.isdecimal():
                return self._codecs[first, last], name, int(version)
        return None


class Exchange:
    """A request that is answered here; to uvicorn's protocol it looks like one of its own."""

    __slots__ = ("codec", "disconnected", "headers", "identity", "keep_alive", "length", "parts",
                 "pending", "response_complete", "served")  # fmt: skip

    def __init__(
        self, codec: Codec[Reply], served: Served, headers: RawHeaders, length: int, identity: bytes
    ) -> None:
        self.codec, self.served, self.headers = codec, served, headers
        self.length, self.identity = length, identity
        self.parts: list[bytes] = []
        self.pending: Pending | None = None
        self.keep_alive = True
        self.disconnected = False
        self.response_complete = False

    @property
    def message_event(self) -> "Exchange":
        """uvicorn sets this when the client goes away."""
        return self

    def set(self) -> None:
        """Drop what has not run."""
        if self.disconnected and self.pending is not None:
            self.pending.cancel()


class Protocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, with inference answered in it. `front` is set by `bound`."""

    front: Callable[[], Front | None]
    exchange: Exchange | None = None

    def on_message_begin(self) -> None:
        """A request begins; uvicorn makes its scope only once we know that it is for the app."""
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self.exchange = None

    def on_headers_complete(self) -> None:
        """Keep the request, or hand it on."""
        self.exchange = self._exchange()
        if self.exchange is not None:
            self.cycle = self.exchange  # type: ignore[assignment]  # of the same shape
            return
        url, headers, expected = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.headers, self.expect_100_continue = url, headers, expected
        self.scope["headers"] = headers
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if self.exchange is None:
            super().on_body(body)
        else:
            self.exchange.parts.append(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        exchange, front = self.exchange, self.front()
        if exchange is None or front is None:
            super().on_message_complete()
            return
        body = exchange.parts[0] if len(exchange.parts) == 1 else b"".join(exchange.parts)
        exchange.keep_alive = exchange.keep_alive and self.parser.should_keep_alive()
        exchange.pending = front.plane.answer(
            exchange.codec,
            exchange.served,
            exchange.headers,
            body,
            lambda found: self._reply(exchange, found),
        )

    def _exchange(self) -> Exchange | None:
        front = self.front()
        if front is None or (self.cycle is not None and not self.cycle.response_complete):
            return None
        parser = self.parser
        if parser.get_method() != b"POST" or parser.get_http_version() != "1.1":
            return None
        found = front.find(self.url)
        if found is None or self.expect_100_continue or parser.should_upgrade():
            return None
        length = header(self.headers, b"content-length")
        if not length or int(length) > front.max_body or not front.allows(self.headers):
            return None
        identity = header(self.headers, b"x-request-id")
        if identity and not _plain(identity):
            return None
        return Exchange(*found, self.headers, int(length), identity or front.identity())

    def _reply(self, exchange: Exchange, found: Any) -> None:
        if exchange.disconnected or self.transport.is_closing():
            return
        reply = found
        if isinstance(found, Exception):
            reply = refusal(self.url.decode("latin-1"), found)
        parts = [STATUS_LINE[reply.status]]
        for name, value in reply.headers:
            parts += (name, b": ", value, b"\r\n")
        for name, value in self.server_state.default_headers:
            parts += (name, b": ", value, b"\r\n")
        parts.append(b"x-request-id: %s\r\n" % exchange.identity)
        if not exchange.keep_alive:
            parts.append(b"connection: close\r\n")
        parts.append(b"content-length: %d\r\n\r\n" % len(reply.body))
        parts.append(reply.body)
        self.transport.write(b"".join(parts))
        exchange.response_complete = True
        if not exchange.keep_alive:
            self.transport.close()
        self.on_response_complete()


def _plain(identity: bytes) -> bool:
    return len(identity) <= 64 and identity.translate(None, b"._-").isalnum()


def bound(front: Callable[[], Front | None]) -> type[Protocol]:
    """The protocol class of one server; `front` gives None while the application is starting."""
    return type("BoundProtocol", (Protocol,), {"front": staticmethod(front)})
