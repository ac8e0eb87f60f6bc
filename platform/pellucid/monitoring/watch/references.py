"""What the monitor keeps of each version: its manifest, its reference profile, its sample.

They come from the registry once. A window can then be judged while the registry is down, and
without the model itself, which may be large.
"""

import logging
import shutil
import tempfile
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from pellucid.bundle import MANIFEST, PROFILE, SAMPLE, Bundle, Manifest
from pellucid.errors import InvalidData
from pellucid.monitoring import layout
from pellucid.monitoring.profiles.profiling import ReferenceProfile
from pellucid.tracking.contract import RegisteredModel, Registry

_KEPT = (MANIFEST, PROFILE, SAMPLE)
_FOREIGN = "made-elsewhere"  # a file that stands for the manifest of a version that has none
_IN_MEMORY = 8  # profiles

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reference:
    """What a version's windows are compared to.

    Attributes:
        manifest: None of a model that was made elsewhere.
        profile: None of such a model, and of a version that was trained before there were any.
        sample: held-out rows with their outputs; None where there are none.
        run_id: the version's MLflow run; "" while the registry does not tell.
    """

    manifest: Manifest | None
    profile: ReferenceProfile | None
    sample: Path | None
    run_id: str = ""


class References:
    """The references of all versions, on the disk and the last ones in memory.

    Args:
        root: where they are kept.
        registry: where they come from.
    """

    def __init__(self, root: Path, registry: Registry) -> None:
        self._root, self._registry = root, registry
        self._held: OrderedDict[Path, Reference] = OrderedDict()

    def of(self, model: RegisteredModel, version: int) -> Reference:
        """That of a version.

        Raises:
            InvalidData: the bundle is damaged.
            NotFound: the version was deleted.
            TrackerUnavailable: it is not kept here yet, and the registry does not answer.
        """
        # A model that is deleted and registered again counts its versions from 1 again.
        path = self._root / layout.directory_of(model.name) / f"{model.created}-{version}"
        if path not in self._held:
            self._held[path] = self._load(path, model.name, version)
        self._held.move_to_end(path)
        while len(self._held) > _IN_MEMORY:
            self._held.popitem(last=False)
        return self._held[path]

    def _load(self, path: Path, name: str, version: int) -> Reference:
        if not path.is_dir():
            self._fetch(path, name, version)
        run_id = (path / "run").read_text(encoding="utf-8")
        if (path / _FOREIGN).exists():
            return Reference(None, None, None, run_id)
        try:
            manifest = Manifest.model_validate_json((path / MANIFEST).read_bytes())
        except (OSError, ValidationError) as error:
            shutil.rmtree(path, ignore_errors=True)  # the next time it comes from the registry
            raise InvalidData(
                f"The manifest cannot be read: {error}.", where={"file": str(path)}
            ) from error
        sample = path / SAMPLE
        profile = ReferenceProfile.find(path)
        return Reference(manifest, profile, sample if sample.is_file() else None, run_id)

    def _fetch(self, path: Path, name: str, version: int) -> None:
        """Download the version, verify it, and keep the small files: all of them or none."""
        path.parent.mkdir(parents=True, exist_ok=True)
        run_id = self._registry.version(name, version).run_id
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as scratch:
            bundle, kept = Path(scratch, "bundle"), Path(scratch, "kept")
            self._registry.download(name, version, bundle)
            kept.mkdir()
            (kept / "run").write_text(run_id, encoding="utf-8")
            if not (bundle / MANIFEST).is_file():
                (kept / _FOREIGN).touch()
            else:
                Bundle.open(bundle)
                for file in _KEPT:
                    if (bundle / file).is_file():
                        shutil.copyfile(bundle / file, kept / file)
            kept.rename(path)
