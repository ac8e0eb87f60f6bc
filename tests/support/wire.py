"""A raw connection to a service: what is sent is sent as it is."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

import httpx


class Response(NamedTuple):
    status: int
    headers: dict[str, str]  # names in lower case
    body: bytes


def request(
    path: str,
    body: bytes = b"",
    *headers: str,
    method: str = "POST",
    version: str = "1.1",
    length: bool = True,
) -> bytes:
    """A request as bytes; without `length` it does not tell that of its body."""
    lines = [f"{method} {path} HTTP/{version}", "Host: localhost", *headers]
    if length:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


GET = request("/health/live", method="GET", length=False)


class Wire:
    """A connection on which responses are read one by one."""

    def __init__(self, url: httpx.URL) -> None:
        self.socket = socket.create_connection((url.host, url.port), timeout=60)
        self.file = self.socket.makefile("rb")

    def send(self, *parts: bytes, pause: float = 0.0) -> None:
        for part in parts:
            self.socket.sendall(part)
            time.sleep(pause)

    def leave(self) -> None:
        """Send no more."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def response(self) -> Response | None:
        """The next response, or None at the end."""
        line = self.file.readline()
        if not line:
            return None
        headers = {}
        while (header := self.file.readline()) != b"\r\n":
            assert header, "the response has no end"
            name, _, value = header.decode().partition(":")
            headers[name.lower()] = value.strip()
        body = b""
        if headers.get("transfer-encoding") == "chunked":
            while size := int(self.file.readline(), 16):
                body += self.file.read(size)
                self.file.readline()
            self.file.readline()
        else:
            body = self.file.read(int(headers.get("content-length", 0)))
        return Response(int(line.split()[1]), headers, body)

    def rest(self) -> list[Response]:
        """Every response until the server closes."""
        found = []
        with suppress(ConnectionResetError):
            while one := self.response():
                found.append(one)
        return found

    def close(self) -> None:
        self.file.close()
        self.socket.close()


@contextmanager
def wire(client: httpx.Client) -> Iterator[Wire]:
    """A connection to the service of a client."""
    connection = Wire(client.base_url)
    try:
        yield connection
    finally:
        connection.close()
