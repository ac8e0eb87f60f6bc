"""Signals, sinks and receivers for the tests of alerts."""

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pellucid.analysis.watching.signals import Signal, Status
from pellucid.errors import PellucidError, Unavailable
from pellucid.monitoring.alerts.sinks.contract import Message

START = datetime(2026, 11, 1, tzinfo=UTC)


def hours(count: float) -> datetime:
    return START + timedelta(hours=count)


def seconds(count: float) -> datetime:
    return START + timedelta(seconds=count)


def signal(status: str = "alarm", **changes: Any) -> Signal:
    given: dict[str, Any] = {
        "kind": "performance",
        "subject": "roc_auc",
        "status": Status(status),
        "summary": "ROC AUC fell from 0.80 to 0.71.",
        "statistic": "roc_auc",
        "effect": 0.09,
    }
    return Signal(**given | changes)


@dataclass
class FakeSink:
    """Keeps what it is sent; while it has an error, raises that."""

    error: Exception | None = None
    taken: list[Message] = field(default_factory=list)
    tried: int = 0

    def send(self, message: Message) -> None:
        self.tried += 1
        if self.error:
            raise self.error
        self.taken.append(message)

    @property
    def told(self) -> list[tuple[str, tuple[str, ...]]]:
        return [(each.event, tuple(a.subject for a in each.alerts)) for each in self.taken]


DOWN = Unavailable("Nobody answers.")
REFUSED = PellucidError("It answered 400.")


@dataclass
class Receiver:
    """What an HTTP server was sent, and the statuses that it answers; then 200."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)


@contextmanager
def http_receiver() -> Iterator[Receiver]:
    """A real HTTP server on loopback."""
    found = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            found.requests.append((self.path, headers, body))
            status = found.statuses.pop(0) if found.statuses else 200
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("location", f"{found.url}/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class Mailbox:
    """What an SMTP server was sent, and how it behaves."""

    trusting: ssl.SSLContext | None = None  # of a client that knows its certificate

    port: int = 0
    encrypted: bool = False
    mails: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)  # by command, in place of the usual


def _certified(directory: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server that is localhost, by a certificate of its own, and a client that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    today = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = directory / "server.pem"
    path.write_bytes(secret + made.public_bytes(pem))
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    return server, ssl.create_default_context(cadata=made.public_bytes(pem).decode())


@contextmanager
def smtp_server(certificates: Path | None = None) -> Iterator[Mailbox]:
    """A real SMTP server on loopback that lets every user in; with a folder, by STARTTLS."""
    box = Mailbox()
    loop = asyncio.new_event_loop()
    context = None
    if certificates:
        context, box.trusting = _certified(certificates)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def say(text: str) -> None:
            writer.write(f"{text}\r\n".encode())
            await writer.drain()

        usual = {
            "EHLO": "250-here\r\n250 AUTH PLAIN",
            "AUTH": "235 in",
            "DATA": "354 go on",
            "QUIT": "221 bye",
        }
        await say("220 here")
        while line := (await reader.readline()).decode().strip():
            box.commands.append(line)
            verb = line.split()[0].upper()
            if verb == "EHLO" and context and not box.encrypted:
                await say("250-here\r\n250 STARTTLS")
                continue
            if verb == "STARTTLS":
                await say("220 go on")
                await writer.start_tls(context)
                box.encrypted = True
                continue
            await say(box.answers.get(verb, usual.get(verb, "250 fine")))
            if verb == "DATA" and verb not in box.answers:
                text = await reader.readuntil(b"\r\n.\r\n")
                box.mails.append(text.decode())
                await say("250 taken")
            if verb == "QUIT":
                break
        writer.close()

    server = loop.run_until_complete(asyncio.start_server(talk, "127.0.0.1", 0))
    box.port = server.sockets[0].getsockname()[1]
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield box
    finally:
        loop.call_soon_threadsafe(server.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.run_until_complete(server.wait_closed())
        loop.close()
