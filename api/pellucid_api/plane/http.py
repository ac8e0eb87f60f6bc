"""The data plane's front in the HTTP server itself.

uvicorn parses every request; one for inference that can be answered at once is answered here and
never becomes an ASGI request. Whatever is out of the ordinary goes on to the application, which has
the same data plane behind its routes: another path, method or version of HTTP, a query, a model
that is not in memory, a key that is wrong, a body that is chunked or too large, an earlier request
of the connection that is still under way.
"""

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import count
from typing import Any, ClassVar

from starlette.datastructures import Headers
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from pellucid_api.access import Entry, Note
from pellucid_api.auth import KeyRing
from pellucid_api.engine.pool import ModelPool
from pellucid_api.engine.served import Served
from pellucid_api.plane.dataplane import DataPlane, Pending
from pellucid_api.plane.exchange import (
    Codec,
    Reply,
    RequestHeaders,
    refusal,
    request_headers,
)
from pellucid_api.plane.guarded import BODY, IDLE, Guarded, Sweep
from pellucid_api.plane.routed import Routed

_KNOWN = 1024  # paths that are remembered, and heads of replies


class Front:
    """What all connections share.

    Args:
        plane: answers.
        pool: finds the model of a path.
        codecs: (first part, last part) of a path -> codec; ("v1", "predict") and the like.
        ring: the valid keys.
        max_body: bytes.
        note: takes note of every request for the access log; None keeps none.
    """

    def __init__(
        self,
        plane: DataPlane,
        pool: ModelPool,
        codecs: Mapping[tuple[str, str], Codec[Reply]],
        ring: KeyRing,
        max_body: int,
        note: Note | None = None,
    ) -> None:
        self.plane, self.pool, self.max_body, self.note = plane, pool, max_body, note
        self._ring, self._open = ring, not ring
        self._codecs = codecs
        self._known: dict[bytes, tuple[Codec[Reply], str, int | None] | None] = {}
        self._heads: dict[tuple[int, tuple[tuple[bytes, bytes], ...]], bytes] = {}
        self._standing: object = None  # headers of all replies, as the known heads have them
        self._prefix = secrets.token_hex(8).encode()
        self._count = count()

    def identity(self) -> bytes:
        """A new X-Request-ID."""
        return b"%s-%x" % (self._prefix, next(self._count))

    def allows(self, headers: RequestHeaders) -> bool:
        """Whether a request has a valid key."""
        return self._open or self._ring.opens(Headers(raw=list(headers.items())))

    def head(self, reply: Reply, standing: Sequence[tuple[bytes, bytes]]) -> bytes:
        """The first lines of a reply, up to those that differ between all replies.

        Args:
            reply: to a request.
            standing: headers of all replies; another object each second, for the date.
        """
        if self._standing is not standing or len(self._heads) > _KNOWN:
            self._standing, self._heads = standing, {}
        key = reply.status, tuple(reply.headers)
        head = self._heads.get(key)
        if head is None:
            lines = [b"%s: %s\r\n" % pair for pair in (*reply.headers, *standing)]
            head = self._heads[key] = STATUS_LINE[reply.status] + b"".join(lines)
        return head

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

    __slots__ = ("codec", "disconnected", "front", "headers", "identity", "keep_alive", "parts",
                 "pending", "received", "response_complete", "served", "url")  # fmt: skip

    def __init__(
        self,
        front: Front,
        codec: Codec[Reply],
        served: Served,
        url: bytes,
        headers: RequestHeaders,
        identity: bytes,
    ) -> None:
        self.front, self.codec, self.served = front, codec, served
        self.url, self.headers, self.identity = url, headers, identity
        self.received = time.perf_counter()
        self.parts: list[bytes] = []
        self.pending: Pending | Routed | None = None
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


class Protocol(Guarded):
    """uvicorn's HTTP protocol, with inference answered in it; see `bound`."""

    front: ClassVar[Front | None] = None
    find_front: ClassVar[Callable[[], Front | None]]
    exchange: Exchange | None = None

    def on_headers_complete(self) -> None:
        """Keep the request, or hand it on."""
        self.exchange = exchange = self._exchange()
        if exchange is None:
            super().on_headers_complete()
            return
        self.stage = BODY
        self.cycle = self.running = exchange  # type: ignore[assignment]  # of the same shape

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if self.exchange is None:
            super().on_body(body)
        else:
            self.exchange.parts.append(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        exchange = self.exchange
        if exchange is None:
            super().on_message_complete()
            return
        self.stage = IDLE
        body = exchange.parts[0] if len(exchange.parts) == 1 else b"".join(exchange.parts)
        exchange.keep_alive = exchange.keep_alive and self.parser.should_keep_alive()
        exchange.pending = exchange.front.plane.answer(
            exchange.codec,
            exchange.served,
            exchange.headers,
            body,
            partial(self._reply, exchange),
        )

    def refused(self, status: int) -> None:
        """Take note of a request that was none."""
        front = self.front or self._front()
        if front is not None and front.note is not None:
            now = time.perf_counter()
            front.note(Entry(now, now, b"-", self.url, status, b"-", self.client, 0))

    def _exchange(self) -> Exchange | None:
        front = self.front or self._front()
        if front is None or (self.cycle is not None and not self.cycle.response_complete):
            return None
        parser = self.parser
        if parser.get_method() != b"POST" or parser.get_http_version() != "1.1":
            return None
        found = front.find(self.url)
        if found is None or self.expect_100_continue or parser.should_upgrade():
            return None
        if self.flow.write_paused or self.transport.is_closing():
            return None  # who does not read his answers, or is gone, gets no more of them
        headers = request_headers(self.headers)
        length = headers.get(b"content-length")
        if not length or int(length) > front.max_body or not front.allows(headers):
            return None
        identity = headers.get(b"x-request-id")
        if identity is None:
            identity = front.identity()
        elif not _plain(identity):
            return None
        return Exchange(front, *found, self.url, headers, identity)

    @classmethod
    def _front(cls) -> Front | None:
        cls.front = cls.find_front()
        return cls.front

    def _reply(self, exchange: Exchange, found: Any) -> None:
        if exchange.disconnected or self.transport.is_closing():
            exchange.pending = None
            return
        reply: Reply = found
        if isinstance(found, Exception):
            reply = refusal(exchange.url.decode("latin-1"), found)
        front, identity, size = exchange.front, exchange.identity, len(reply.body)
        head = front.head(reply, self.server_state.default_headers)
        end = b"" if exchange.keep_alive else b"connection: close\r\n"
        line = b"%sx-request-id: %s\r\n%scontent-length: %d\r\n\r\n%s"
        self.transport.write(line % (head, identity, end, size, reply.body))
        exchange.response_complete = True
        exchange.pending = None  # it holds the exchange: a cycle would wait for the collector
        if front.note is not None:
            front.note((exchange.received, time.perf_counter(), b"POST", exchange.url, reply.status,
                        identity, self.client, size))  # fmt: skip
        if not exchange.keep_alive:
            self.transport.close()
        self.on_response_complete()


def _plain(identity: bytes) -> bool:
    return len(identity) <= 64 and identity.translate(None, b"._-").isalnum()


def bound(front: Callable[[], Front | None], patience: float) -> type[Protocol]:
    """The protocol class of one server.

    Args:
        front: gives None while the application is starting.
        patience: seconds for a request to arrive.
    """
    shared = {"find_front": staticmethod(front), "sweep": Sweep(patience)}
    return type("BoundProtocol", (Protocol,), shared)
