"""Versions into memory: fetched, opened, warmed and verified, in room that is made for them."""

import logging
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from pellucid.bundle import Bundle
from pellucid.errors import DeviceUnavailable, ModelNotReady, PellucidError
from pellucid.tracking.contract import Registry
from pellucid_api.engine.cache import ModelCache
from pellucid_api.engine.devices import Device, choose_device
from pellucid_api.engine.guard import Guard
from pellucid_api.engine.model import Model
from pellucid_api.engine.served import Limits, Served
from pellucid_api.engine.shelf import Key, Shelf, resident, size_in_memory, size_on_disk
from pellucid_api.engine.statistics import Ledger

logger = logging.getLogger(__name__)


class Loader:
    """Loads one version at a time.

    Args:
        registry: versions come from there,
        cache: by way of the local disk,
        shelf: into memory.
        ledger: of what they have done.
        limits: of each version's queue.
    """

    def __init__(
        self, registry: Registry, cache: ModelCache, shelf: Shelf, ledger: Ledger, limits: Limits
    ) -> None:
        self._registry, self._cache = registry, cache
        self._shelf, self._ledger, self._limits = shelf, ledger, limits
        self._guard = Guard()
        self.lock = threading.RLock()  # hold it, and nothing is loaded meanwhile
        self.device: Device | None = None
        self.device_error: DeviceUnavailable | None = None

    def choose(self, wanted: str) -> None:
        """Choose the device; before that, nothing can be loaded.

        Raises:
            DeviceUnavailable: the wanted one is not there.
        """
        try:
            self.device = choose_device(wanted)
        except DeviceUnavailable as error:
            self.device_error = error
            raise

    def stop(self) -> None:
        """Stop every run."""
        self._guard.stop()

    def bundle(self, name: str, version: int) -> Bundle:
        """A version's bundle, downloaded unless it is here. Raises `NotFound`, `InvalidData`."""
        self.require_registered(name, version)
        with self.lock, _telling(name, version):
            return self._cache.fetch(self._registry, name, version)

    def require_registered(self, name: str, version: int) -> None:
        """Raise `NotFound`, unless the version is on the disk or in the registry."""
        if not self._cache.path(name, version).exists():
            self._registry.version(name, version)

    def load(self, name: str, version: int, leaving: Collection[Key] = ()) -> Served:
        """The version, loaded if it is not in memory.

        Args:
            name: of the model.
            version: of it.
            leaving: versions that it replaces, whose room it may take.

        Raises:
            PellucidError: it cannot be had, opened or verified, or there is no memory for it.
        """
        with self.lock, _telling(name, version):
            return self._shelf.get(name, version) or self._load(name, version, leaving)

    def _load(self, name: str, version: int, leaving: Collection[Key]) -> Served:
        if self.device is None:
            raise self.device_error or ModelNotReady("The device is not chosen yet.")
        bundle = self._cache.fetch(self._registry, name, version)
        files = size_on_disk(bundle)
        self._shelf.make_room(name, version, files, leaving)
        before = resident()
        model = Model(bundle, self.device, self._limits.threads)
        statistics = self._ledger.of(name, version, self._shelf.versions(name))
        served = Served(name, version, model, self._limits, self._guard, statistics)
        served.warm()
        size = size_in_memory(files, resident() - before)
        self._shelf.make_room(name, version, size, leaving)
        self._shelf.put(served, size)
        if self._limits.explain_early:
            for explainer in served.explainers.values():
                explainer.open()  # in a thread that yields; nobody waits for it
        logger.info("%s version %d is loaded on %s", name, version, model.device)
        return served


@contextmanager
def _telling(name: str, version: int) -> Iterator[None]:
    """Whatever keeps a version from being loaded is that version's failure, and of no other."""
    try:
        yield
    except PellucidError:
        raise
    except Exception as error:  # a full disk, or ONNX Runtime, whose errors share no base class
        raise ModelNotReady(
            f"It cannot be loaded: {error}", where={"model": name, "version": version}
        ) from error
