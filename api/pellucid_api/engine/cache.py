"""Bundles on the local disk, so that a restart serves without the registry."""

import fcntl
import json
import logging
import re
import shutil
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pellucid.bundle import MANIFEST, Bundle
from pellucid.errors import InvalidData, NotFound
from pellucid.jobs.workspace import write_atomically
from pellucid.plan import NAME_PATTERN
from pellucid.tracking.contract import Registry
from pellucid_api.engine.foreign import adopt

KEPT = 5  # versions of a model kept on the disk: a rollback needs no download
_STALE = 86_400.0  # seconds; a download that is older was cut off with its process

logger = logging.getLogger(__name__)


class ModelCache:
    """`NAME/VERSION` directories with bundles, and the champions that were served last."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._champions = root / "champions.json"
        self._created = root / "models.json"
        self._noted: dict[str, int] = {}

    def path(self, name: str, version: int) -> Path:
        """Where the version's bundle lies. Raises `NotFound` for what cannot be a name."""
        if not re.fullmatch(NAME_PATTERN, name):
            raise NotFound(f"{name!r} is no model name.", where={"model": name})
        return self.root / name / str(version)

    def renew(self, created: dict[str, int]) -> None:
        """Remove what is of a deleted model whose name another one has now.

        Args:
            created: when each registered model was, by its name.
        """
        with self._held("models"):
            noted = self.created()
            for name, when in created.items():
                if noted.get(name, when) != when:
                    logger.warning("%s is another model of its name: the old one is removed", name)
                    shutil.rmtree(self.root / name, ignore_errors=True)
            if noted | created != noted:
                write_atomically(self._created, json.dumps(noted | created).encode())

    def created(self) -> dict[str, int]:
        """When the models were registered whose versions may lie here, by their names."""
        return _numbers(self._created)

    def fetch(self, registry: Registry, name: str, version: int) -> Bundle:
        """The bundle with verified hashes, downloaded unless it is here and whole.

        An ONNX model that was made elsewhere becomes a bundle here.

        Raises:
            InvalidData: what the registry gives is neither, or damaged.
            NotFound, TrackerUnavailable: from the registry.
        """
        path = self.path(name, version)
        found = _whole(path)
        if found is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            with self._held(
                f"{name}-{version}"
            ):  # one process downloads, and the others wait for it
                found = _whole(path) or self._download(registry, name, version, path)
        return found

    def _download(self, registry: Registry, name: str, version: int, path: Path) -> Bundle:
        # What is damaged on this disk, the registry has whole.
        shutil.rmtree(path, ignore_errors=True)
        partial = path.with_name(f".{version}.{uuid.uuid4().hex}")
        try:
            registry.download(name, version, partial)
            if (partial / MANIFEST).is_file():
                Bundle.open(partial)
            else:
                adopt(partial, name)
            partial.rename(path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        self._prune(path)
        return Bundle.open(path)

    def remember(self, champions: Mapping[str, int]) -> None:
        """Note which version of each model is served, if that is news.

        What cannot be written is logged, and is news again at the next call.
        """
        if champions == self._noted:
            return
        try:
            write_atomically(self._champions, json.dumps(dict(champions)).encode())
        except OSError as error:
            logger.error("a restart without the registry would serve older versions: %s", error)
        else:
            self._noted = dict(champions)

    def recall(self) -> dict[str, int]:
        """What was served last; nothing if that cannot be read."""
        return _numbers(self._champions)

    @contextmanager
    def _held(self, what: str) -> Iterator[None]:
        """Hold a part of the cache against other processes; one that dies lets go of it."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / f".{what}.lock").open("wb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _prune(self, newest: Path) -> None:
        champion = str(self.recall().get(newest.parent.name))
        found = sorted(map(_aged, newest.parent.iterdir()))
        cut_off = [path for age, path in found if path.name.startswith(".") and age > _STALE]
        versions = [path for _, path in found if path.name.isdecimal()]
        for path in (*cut_off, *versions[KEPT:]):
            if path.name != champion:
                shutil.rmtree(path, ignore_errors=True)


def _numbers(path: Path) -> dict[str, int]:
    try:
        found = json.loads(path.read_bytes())
        return {str(name): int(number) for name, number in found.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _whole(path: Path) -> Bundle | None:
    """What lies there, if it is not damaged."""
    try:
        return Bundle.open(path) if path.exists() else None
    except InvalidData:
        return None


def _aged(path: Path) -> tuple[float, Path]:
    """Seconds since the last change; none of what another process has just removed."""
    try:
        return time.time() - path.stat().st_mtime, path
    except FileNotFoundError:
        return 0.0, path
