"""uvicorn's HTTP protocol, closed to what it lets through.

uvicorn and httptools refuse most of what would let one request pass for two (RFC 9112, section
11.2). This adds the rest: a body behind `Upgrade`, of which uvicorn makes a second request;
trailers, which it mixes with the headers; other transfer codings than chunked; requests after
`Connection: close`. It bounds what uvicorn does not: the size of a head, pipelined requests, and
how long a client may take, for which one sweep a second looks at all connections. Nothing is
timed for each request: uvicorn's own keep-alive timer is not used.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterable
from typing import Any, ClassVar, Literal, NamedTuple

import httptools
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from pellucid_api.problems import broken

IDLE, HEAD, BODY = range(3)  # which part of a request is arriving
MAX_HEAD = 2**16  # bytes: of a head, and of a chunked body between two of its data
_SLOWEST = 1024  # bytes/s; a body may take so much longer than other requests
_SWEEP_SECONDS = 1.0
_UPGRADING = (b"connection", b"upgrade", b"http2-settings")

logger = logging.getLogger(__name__)


class Broken(Exception):
    """Raised in the parser's callbacks: the request is refused and the connection closed."""


class _Flow(FlowControl):
    """Reads on only when all pipelined requests have begun, so that they cannot pile up."""

    def __init__(self, transport: asyncio.Transport, pipeline: deque[Any]) -> None:
        super().__init__(transport)
        self._pipeline = pipeline

    def resume_reading(self) -> None:
        if not self._pipeline:
            super().resume_reading()


class _Dropped(list[tuple[bytes, bytes]]):
    """Where the trailers of a chunked body go: nobody asked for them."""

    def append(self, _: tuple[bytes, bytes], /) -> None:
        pass


class _Deaf:
    """The parser of a connection that is closed once its last response is written."""

    def feed_data(self, _: bytes) -> None:
        pass


class _Wait(NamedTuple):
    """What a connection waits for. It is the same as a second ago if all of these are."""

    kind: Literal["idle", "head", "body", "write"]
    subject: object  # another one for each request
    size: int
    allowed: float  # seconds

    def same(self, other: "_Wait | None") -> bool:
        return (
            other is not None
            and self.kind == other.kind
            and self.subject is other.subject
            and (self.kind != "write" or self.size == other.size)
        )


class Sweep:
    """Looks at a server's connections once a second, while there are any.

    Args:
        patience: seconds for a request to arrive and for a client to read on.
    """

    def __init__(self, patience: float) -> None:
        self.patience = patience
        self.period = min(_SWEEP_SECONDS, patience / 4)
        self._running = False

    def start(self, loop: asyncio.AbstractEventLoop, connections: Iterable[Any]) -> None:
        """Sweep these connections, unless that is being done."""
        if not self._running:
            self._running = True
            loop.call_later(self.period, self._turn, loop, connections)

    def _turn(self, loop: asyncio.AbstractEventLoop, connections: Iterable[Any]) -> None:
        self._running = False
        now = loop.time()
        for connection in list(connections):
            if isinstance(connection, Guarded):
                connection.look(now)
                self.start(loop, connections)


class Guarded(HttpToolsProtocol):
    """One connection. `sweep` is shared by those of a server."""

    sweep: ClassVar[Sweep]
    stage = IDLE
    running: Any = None  # the cycle that is being answered; `cycle` is the newest
    _upgrading = False
    _counted: object = None  # the request whose bytes are counted
    _bytes = 0  # that have arrived of a request that came in pieces
    _silent = 0  # of those, since the last of its data
    _wait: _Wait | None = None
    _since = 0.0  # loop time at which `_wait` began

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to watch."""
        super().connection_made(transport)
        self.flow = _Flow(transport, self.pipeline)
        self.sweep.start(self.loop, self.connections)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request that is being answered, too, if pipelined ones came after it."""
        running = self.running
        super().connection_lost(exc)
        if running is not None and running is not self.cycle and not running.response_complete:
            running.disconnected = True
            running.message_event.set()
        self.pipeline.clear()

    def data_received(self, data: bytes) -> None:
        """Parse what has arrived."""
        rest = data
        while rest:
            try:
                self.parser.feed_data(rest)
                break
            except httptools.HttpParserUpgrade as upgrade:
                rest = self._without_upgrade(rest[upgrade.args[0] :])
            except httptools.HttpParserError as error:
                cause = error.__context__
                if cause is not None and not isinstance(cause, Broken | httptools.HttpParserError):
                    logger.error("a request could not be taken", exc_info=cause)
                self._refuse(400, str(cause if isinstance(cause, Broken) else error))
                return
        if self.stage:
            self._unfinished(len(data))

    def on_message_begin(self) -> None:
        """A request begins; uvicorn makes its scope only once we know that it is for the app."""
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self.stage = HEAD

    def on_headers_complete(self) -> None:
        """Hand the request to the application, if it is in order."""
        if self.transport.is_closing():
            raise Broken("The connection is closed.")
        url, headers, expected = self.url, self.headers, self.expect_100_continue
        self._check()
        self.stage = BODY
        self._upgrading = self.parser.should_upgrade()
        if self._upgrading:
            return
        super().on_message_begin()
        self.url, self.headers, self.expect_100_continue = url, headers, expected
        self.scope["headers"] = headers
        super().on_headers_complete()
        self.headers = _Dropped()

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._silent = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole."""
        if not self._upgrading:  # else it comes again
            self.stage = IDLE
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Begin the next request, as uvicorn does, but set no timer."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        if self.flow.read_paused:
            self.flow.resume_reading()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self.running = cycle
        super()._start_asgi_task(cycle, app)

    def _check(self) -> None:
        if self.parser.get_method() == b"CONNECT":
            raise Broken("This is not a proxy.")
        if (version := self.parser.get_http_version()) not in ("1.0", "1.1"):
            raise Broken(f"HTTP/{version} is not spoken here.")
        names = [name for name, _ in self.headers]
        if names.count(b"host") > 1 or (version == "1.1" and b"host" not in names):
            raise Broken("A request has one Host header.")
        for name, value in self.headers:
            if name == b"transfer-encoding" and value.strip().lower() != b"chunked":
                raise Broken("The only transfer coding is chunked.")

    def _without_upgrade(self, rest: bytes) -> bytes:
        """The request that asked for another protocol, and what came after it, asking no more.

        httptools ends such a request with its head, and would take its body for the next one.
        """
        lines = [b"%s: %s\r\n" % pair for pair in self.headers if pair[0] not in _UPGRADING]
        tokens = b",".join(value.lower() for name, value in self.headers if name == b"connection")
        if b"close" in [token.strip() for token in tokens.split(b",")]:
            lines.append(b"connection: close\r\n")
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        return b"%s %s HTTP/%s\r\n%s\r\n%s" % (method, self.url, version, b"".join(lines), rest)

    def _unfinished(self, size: int) -> None:
        """Count the bytes of a request that came in pieces."""
        if self._counted is not self.headers:
            self._counted, self._bytes, self._silent = self.headers, 0, 0
        self._bytes += size
        if self.stage == HEAD and self._bytes > MAX_HEAD:
            self._refuse(431, f"The request's head is larger than {MAX_HEAD:,} bytes.")
        elif isinstance(self.headers, _Dropped):
            self._silent += size
            if self._silent > 4 * MAX_HEAD:  # one read may bring so much, and data before it
                self._refuse(400, f"More than {MAX_HEAD:,} bytes of the body are no data.")

    def look(self, now: float) -> None:
        """Close the connection if it has waited for too long; called by the sweep."""
        wait = self._waiting()
        if wait is None or not wait.same(self._wait):
            self._wait, self._since = wait, now
        elif now - self._since > wait.allowed:
            if wait.kind == "write":
                self.transport.abort()
            elif wait.kind == "idle":
                self.transport.close()
            else:
                self._refuse(408, f"The request did not arrive within {wait.allowed:.0f} s.")

    def _waiting(self) -> _Wait | None:
        patience = self.sweep.patience
        if self.flow.write_paused:
            return _Wait("write", None, self.transport.get_write_buffer_size(), patience)
        if self.stage and self.flow.read_paused:
            return None  # it is we who do not read
        if self.stage == HEAD:
            return _Wait("head", self.headers, 0, patience)
        if self.stage == BODY:
            arrived = self._bytes if self._counted is self.headers else 0
            return _Wait("body", self.headers, 0, patience + arrived / _SLOWEST)
        if self.cycle is not None and not self.cycle.response_complete:
            return None
        idle = patience if self.cycle is None else float(self.timeout_keep_alive)
        return _Wait("idle", self.headers, 0, idle)

    def _refuse(self, status: int, reason: str) -> None:
        """Answer what cannot be a request, and close; earlier requests are answered first."""
        self.parser = _Deaf()  # type: ignore[assignment]  # nothing else is asked of it
        stage, self.stage = self.stage, IDLE
        cycle: Any = self.cycle
        if self.transport.is_closing():
            return
        if cycle is not None and not cycle.response_complete:
            if stage == BODY and cycle is not self.running:  # it has not begun, and never will
                self.pipeline.popleft()
                self.cycle = cycle = self.pipeline[0][0] if self.pipeline else self.running
                stage = IDLE
            if stage != BODY:
                cycle.keep_alive = False
                return
            cycle.disconnected = True
            cycle.message_event.set()
            if getattr(cycle, "response_started", False):
                self.transport.close()
                return
        self.refused(status)
        response = broken(self.url.decode("latin-1"), status, reason)
        parts = [STATUS_LINE[status]]
        for name, value in (*response.raw_headers, *self.server_state.default_headers):
            parts += (name, b": ", value, b"\r\n")
        parts += (b"connection: close\r\n\r\n", bytes(response.body))
        self.transport.write(b"".join(parts))
        self.transport.close()

    def refused(self, status: int) -> None:
        """Hear of a refusal."""
