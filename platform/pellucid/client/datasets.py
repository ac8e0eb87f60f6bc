"""Data set versions over REST."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import httpx

from pellucid.client.connection import Connection, given, segment
from pellucid.resources.base import Page
from pellucid.resources.datasets import ColumnProfile, Dataset, Lineage

Progress = Callable[[int, int], None]  # bytes sent, bytes in all
Columns = list[ColumnProfile]
Rows = list[dict[str, Any]]

_UPLOAD_TIMEOUT = httpx.Timeout(600, connect=5)  # the service digests a file before it answers


class Datasets:
    """Data set versions."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(
        self,
        file: Path,
        *,
        name: str,
        types: Mapping[str, str] | None = None,
        roles: Mapping[str, str] | None = None,
        constraints: Mapping[str, Mapping[str, Any]] | None = None,
        parent: str | None = None,
        progress: Progress | None = None,
    ) -> Dataset:
        """Upload a file, streamed from disk; the same content again is the same version."""
        fields = {"name": name, "types": json.dumps(dict(types or {}))}
        fields["roles"] = json.dumps(dict(roles or {}))
        fields["constraints"] = json.dumps(dict(constraints or {}))
        if parent:
            fields["parent"] = parent
        with file.open("rb") as opened:
            counted = _Counted(opened, file.stat().st_size, progress)
            return self._connection.fetch(
                Dataset,
                "POST",
                "/v1/datasets",
                data=fields,
                files={"file": (file.name, counted)},
                timeout=_UPLOAD_TIMEOUT,
            )

    def list(
        self, name: str | None = None, cursor: str | None = None, limit: int = 50
    ) -> Page[Dataset]:
        """Versions, newest first."""
        params = given(name=name, cursor=cursor, limit=limit)
        return self._connection.fetch(Page[Dataset], "GET", "/v1/datasets", params=params)

    def get(self, reference: str) -> Dataset:
        """A version, by name (the newest), `name@version` or SHA-256."""
        return self._connection.fetch(Dataset, "GET", _dataset(reference))

    def profile(self, reference: str) -> Columns:
        """What each column holds."""
        found = self._connection.send("GET", _dataset(reference) + "/profile").json()
        return [ColumnProfile.model_validate(column) for column in found]

    def preview(self, reference: str, rows: int = 20) -> Rows:
        """The first rows."""
        params = {"rows": rows}
        return list(
            self._connection.send("GET", _dataset(reference) + "/preview", params=params).json()
        )

    def download(self, reference: str, to: Path) -> None:
        """Write a version's content, a Parquet file, streamed to disk."""
        self._connection.download(_dataset(reference) + "/content", to)

    def lineage(self, reference: str) -> Lineage:
        """Ancestors, descendants, jobs and models of a version."""
        return self._connection.fetch(Lineage, "GET", _dataset(reference) + "/lineage")


class _Counted:
    """A file that says how much of it was read."""

    def __init__(self, file: BinaryIO, size: int, progress: Progress | None) -> None:
        self._file = file
        self._size = size
        self._progress = progress
        self.seek, self.tell, self.fileno = file.seek, file.tell, file.fileno

    def read(self, size: int = -1) -> bytes:
        chunk = self._file.read(size)
        if self._progress:
            self._progress(self._file.tell(), self._size)
        return chunk

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self.read(2**16), b"")


def _dataset(reference: str) -> str:
    return f"/v1/datasets/{segment(reference)}"
