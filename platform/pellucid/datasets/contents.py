"""Contents on disk, named by their digest.

    ROOT/SHA256/data.parquet    the canonical content, never changed
    ROOT/SHA256/profile.json    its profile
    ROOT/.incoming/...          what is being read; removed when it ends, well or not

A content is published by renaming its finished directory, so that it is there whole or not at
all, and the same content arriving twice at once ends as one.
"""

import errno
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from pellucid.datasets.engine import storage_errors
from pellucid.datasets.ingest import Ingested, ingest
from pellucid.datasets.profiling import profile_file
from pellucid.resources.datasets import ColumnProfile
from pellucid.schema import Schema, StorageType

_DATA = "data.parquet"
_PROFILE = "profile.json"
_ABANDONED_SECONDS = 24 * 3600


class Contents:
    """The directory of contents."""

    def __init__(self, root: Path, max_cell_bytes: int) -> None:
        self._root = root
        self._max_cell_bytes = max_cell_bytes

    def take(
        self,
        source: Path,
        *,
        file: str,
        types: Mapping[str, StorageType],
        describe: Callable[[Ingested], Schema],
    ) -> tuple[Ingested, Schema]:
        """Read a file and keep its content; nothing is kept on any error.

        Args:
            source: the file; it is only read.
            file: what the user calls it.
            types: types to use instead of the inferred ones.
            describe: gives the schema, or refuses what was read.

        Raises:
            InvalidData: the content, or a column in `types`, cannot be taken; or as `describe`.
            StorageFull: no space was left.
        """
        with storage_errors(file), self._incoming() as directory:
            content, scratch = directory / "content", directory / "scratch"
            content.mkdir()
            scratch.mkdir()
            ingested = ingest(
                source,
                content / _DATA,
                file=file,
                scratch=scratch,
                types=types,
                max_cell_bytes=self._max_cell_bytes,
            )
            schema = describe(ingested)
            if not self.path(ingested.sha256).exists():
                profiles = profile_file(content / _DATA, ingested.types, file=file, scratch=scratch)
                _write_profiles(content / _PROFILE, profiles)
                self._publish(content, ingested.sha256)
        return ingested, schema

    def path(self, sha256: str) -> Path:
        """The Parquet file of a content."""
        return self._root / sha256 / _DATA

    def profiles(self, sha256: str) -> list[ColumnProfile]:
        """The profiles of a content's columns; roles and warnings are the version's."""
        text = (self._root / sha256 / _PROFILE).read_text(encoding="utf-8")
        return [ColumnProfile.model_validate(profile) for profile in json.loads(text)]

    @contextmanager
    def _incoming(self) -> Iterator[Path]:
        """A directory of this upload's own, removed at the end."""
        root = self._root / ".incoming"
        root.mkdir(parents=True, exist_ok=True)
        for left in root.iterdir():  # by processes that were killed
            with suppress(FileNotFoundError):  # a concurrent upload's, or swept by it
                if time.time() - left.stat().st_mtime > _ABANDONED_SECONDS:
                    shutil.rmtree(left, ignore_errors=True)
        directory = Path(tempfile.mkdtemp(dir=root))
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def _publish(self, content: Path, sha256: str) -> None:
        try:
            content.rename(self._root / sha256)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            return  # the same content arrived at the same time, and was first
        descriptor = os.open(self._root, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _write_profiles(path: Path, profiles: list[ColumnProfile]) -> None:
    with path.open("w", encoding="utf-8") as file:
        json.dump([profile.model_dump(mode="json") for profile in profiles], file)
        file.flush()
        os.fsync(file.fileno())
