"""Bundles on the local disk, so that a restart serves without the registry."""

import json
import re
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

from pellucid.bundle import MANIFEST, Bundle
from pellucid.errors import InvalidData, NotFound
from pellucid.jobs.workspace import write_atomically
from pellucid.plan import NAME_PATTERN
from pellucid.tracking.contract import Registry
from pellucid_api.engine.foreign import adopt

KEPT = 5  # versions of a model kept on the disk: a rollback needs no download


class ModelCache:
    """`NAME/VERSION` directories with bundles, and the champions that were served last."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._champions = root / "champions.json"

    def path(self, name: str, version: int) -> Path:
        """Where the version's bundle lies. Raises `NotFound` for what cannot be a name."""
        if not re.fullmatch(NAME_PATTERN, name):
            raise NotFound(f"{name!r} is no model name.", where={"model": name})
        return self.root / name / str(version)

    def fetch(self, registry: Registry, name: str, version: int) -> Bundle:
        """The bundle with verified hashes, downloaded unless it is here and whole.

        An ONNX model that was made elsewhere becomes a bundle here.

        Raises:
            InvalidData: what the registry gives is neither, or damaged.
            NotFound, TrackerUnavailable: from the registry.
        """
        path = self.path(name, version)
        if path.exists():
            try:
                return Bundle.open(path)
            except InvalidData:
                shutil.rmtree(path)  # damaged on this disk: the registry has a whole one
        partial = path.with_name(f".{version}.{uuid.uuid4().hex}")
        try:
            partial.parent.mkdir(parents=True, exist_ok=True)
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
        """Note which version of each model is served."""
        write_atomically(self._champions, json.dumps(dict(champions)).encode())

    def recall(self) -> dict[str, int]:
        """What was served last."""
        try:
            found = json.loads(self._champions.read_bytes())
        except (FileNotFoundError, ValueError):
            return {}
        return {str(name): int(version) for name, version in found.items()}

    def _prune(self, newest: Path) -> None:
        champion = self.recall().get(newest.parent.name)
        versions = [path for path in newest.parent.iterdir() if path.name.isdecimal()]
        versions.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for path in versions[KEPT:]:
            if path.name != str(champion):
                shutil.rmtree(path, ignore_errors=True)
