"""The models that are served: champions and who competes with them, other versions on demand.

The registry's aliases and traffic rules are followed. A request holds the `Served` that it began
with. A version that is replaced stays alive until the last such request lets go of it, and is then
freed: draining is reference counting.
"""

import logging
import threading
from collections.abc import Mapping
from difflib import get_close_matches

from pellucid.bundle import Bundle
from pellucid.errors import (
    DeviceUnavailable,
    ModelNotReady,
    NotFound,
    PellucidError,
    Unavailable,
)
from pellucid.tracking.contract import CHAMPION, Registry
from pellucid.tracking.traffic import Lineup, lineup_of
from pellucid_api.engine.cache import ModelCache
from pellucid_api.engine.devices import Device
from pellucid_api.engine.leaders import Failure, Leaders
from pellucid_api.engine.loader import Loader
from pellucid_api.engine.served import Limits, Served
from pellucid_api.engine.shelf import Shelf
from pellucid_api.engine.statistics import Ledger

_PATIENCE = 10.0  # seconds, for a round under way to end

logger = logging.getLogger(__name__)


class ModelPool:
    """Champions of all registered models, their competitors, and other versions asked for.

    Args:
        registry: asked every `poll_seconds` in a thread of its own.
        cache: bundles on the local disk.
        device: as the settings want it.
        poll_seconds: how soon a moved alias is noticed.
        memory: bytes for all versions; 0 is half of what this process may use.
        limits: of each version's queue.
    """

    def __init__(
        self,
        registry: Registry,
        cache: ModelCache,
        *,
        device: str,
        poll_seconds: float,
        memory: int,
        limits: Limits,
    ) -> None:
        self._registry = registry
        self._cache = cache
        self._wanted_device = device
        self._poll_seconds = poll_seconds
        self._asking = threading.Lock()  # else an older answer might be followed after a newer one
        self._serving = threading.Lock()  # one thread at a time decides what is served
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="model-pool", daemon=True)
        self.shelf = Shelf(memory)
        self.ledger = Ledger()
        self._loader = Loader(registry, cache, self.shelf, self.ledger, limits)
        self._leaders = Leaders(self._loader, self.shelf, self.ledger)
        self._created = cache.created()  # when each model was registered
        self.registered: frozenset[str] = frozenset()  # as of the last answer
        self.unloaded: frozenset[str] = frozenset()  # models that do not serve until asked for
        self.registry_error: Unavailable | None = None
        self.settled = threading.Event()  # the first load is done

    def start(self) -> None:
        """Load what was served last, then follow the registry."""
        self._thread.start()

    def stop(self) -> None:
        """Stop following."""
        self._stopping.set()
        self._loader.stop()
        if self._thread.is_alive():
            self._thread.join(_PATIENCE)

    @property
    def device(self) -> Device | None:
        """Where models run; None if it is not chosen yet, or is not there."""
        return self._loader.device

    @property
    def failures(self) -> dict[str, Failure]:
        """The champions that could not be loaded, by model."""
        failures = self._leaders.failures
        return {name: found for (name, role), found in failures.items() if role == CHAMPION}

    def failure(self, name: str, role: str) -> Failure | None:
        """Why a model's version of this role is not in it, if it could not be loaded."""
        return self._leaders.failures.get((name, role))

    def champions(self) -> list[Served]:
        """What is served now, by name."""
        champions = self._leaders.champions
        return [champions[name] for name in sorted(champions)]

    def loaded(self, name: str) -> list[int]:
        """The model's versions in memory, ascending."""
        return self.shelf.versions(name)

    def in_memory(self, name: str, version: int | None) -> Served | None:
        """The champion, or a certain version, if no wait is needed for it."""
        if version is None:
            return self._leaders.champions.get(name)
        return self.shelf.get(name, version)

    def champion(self, name: str) -> Served:
        """The version that answers for a model.

        Raises:
            NotFound: no such model is registered.
            ModelNotReady: it has no champion, or its champion is not loaded (yet).
        """
        if served := self._leaders.champions.get(name):
            return served
        raise self._missing(name)

    def version(self, name: str, version: int) -> Served:
        """A certain version, loaded on demand.

        Raises:
            NotFound: no such version is registered.
            ModelNotReady: it cannot be loaded, or there is no memory for it.
        """
        self._require_loaded(name)
        if served := self.shelf.get(name, version):
            return served
        self._loader.require_registered(name, version)  # what is not there is not waited for
        with self._loader.lock:
            self._require_loaded(name)  # it may have been unloaded since
            try:
                return self._loader.load(name, version)
            except Unavailable:
                raise
            except PellucidError as error:
                where = {"model": name, "version": version}
                raise ModelNotReady(str(error), where=where) from error

    def load(self, name: str) -> Served:
        """Load the champion now, of a model that was unloaded too.

        Raises:
            NotFound: no such model is registered.
            ModelNotReady: it has no champion, or its champion cannot be loaded.
        """
        with self._serving:
            self.unloaded -= {name}
            self._leaders.forgive(name)
        self.refresh()
        return self.champion(name)

    def unload(self, name: str) -> None:
        """Serve no version of a model until `load`, or until the process starts again.

        Raises:
            NotFound: no such model is registered.
        """
        with self._serving, self._loader.lock:
            if name not in self.registered:
                self.champion(name)  # says what is missing
            self.unloaded |= {name}
            self._retire(name)

    def bundle(self, name: str, version: int) -> Bundle:
        """A version's bundle, downloaded unless it is here. Raises `NotFound`, `InvalidData`."""
        return self._loader.bundle(name, version)

    def obstacle(self) -> str:
        """Why predictions cannot be served as the settings want it; empty if they can."""
        if error := self._loader.device_error or self._leaders.device_error:
            return str(error)
        if not self.settled.is_set():
            return "The models are being loaded."
        if self.failures and not self._leaders.champions:
            return "No champion could be loaded."
        return ""

    def refresh(self) -> None:
        """Ask the registry once, and serve what it says.

        A champion that fails verification leaves the one before it in place.
        """
        with self._asking:
            try:
                models = self._registry.models()
            except Unavailable as error:
                self.registry_error = error
                return
            self.registry_error = None
            self.registered = frozenset(model.name for model in models)
            self._renew({model.name: model.created for model in models})
            self._serve({m.name: found for m in models if (found := lineup_of(m))})

    def _renew(self, created: dict[str, int]) -> None:
        """Let go of models that were deleted, and whose names others have now."""
        if all(self._created.get(name) == when for name, when in created.items()):
            return
        for name, when in created.items():
            if self._created.get(name, when) != when:
                with self._serving, self._loader.lock:
                    self._retire(name)
        self._cache.renew(created)
        self._created |= created

    def _retire(self, name: str) -> None:
        self._leaders.retire(name)
        for version in self.shelf.versions(name):
            self.shelf.drop(name, version)

    def _follow(self) -> None:
        try:
            self._loader.choose(self._wanted_device)
            self._serve({name: Lineup(champion) for name, champion in self._cache.recall().items()})
        except DeviceUnavailable as error:
            logger.error("%s", error)
        except Exception:
            logger.exception("what was served last cannot be loaded")
        while True:
            try:
                self.refresh()
            except Exception:  # the thread must outlive a surprise; the next round may do better
                logger.exception("following the registry failed")
            self.settled.set()
            if self._stopping.wait(self._poll_seconds):
                return

    def _serve(self, wanted: Mapping[str, Lineup]) -> None:
        with self._serving:
            self._leaders.follow({n: each for n, each in wanted.items() if n not in self.unloaded})
            self._cache.remember(self._leaders.versions)

    def _require_loaded(self, name: str) -> None:
        if name in self.unloaded:
            raise _unloaded(name)

    def _missing(self, name: str) -> PellucidError:
        """Why a model has no champion here."""
        where = {"model": name}
        if failure := self.failure(name, CHAMPION):
            reason = f"Version {failure.version} cannot be served: {failure.reason}"
            return ModelNotReady(reason, where=where | {"version": failure.version})
        if name in self.unloaded:
            return _unloaded(name)
        if name in self.registered:
            return ModelNotReady(
                f"The model {name!r} has no champion loaded.",
                where=where,
                remedy=f"Promote a version: POST /v1/models/{name}/promote.",
            )
        if not self.settled.is_set() or self.registry_error:
            return ModelNotReady(
                f"The model {name!r} is not loaded, and the registry has not answered.",
                where=where,
                remedy="Try again once MLflow answers.",
            )
        near = get_close_matches(name, self.registered, n=3)
        return NotFound(
            f"There is no model {name!r}.",
            where=where,
            remedy=f"Did you mean {' or '.join(near)}?" if near else "GET /v1/models lists all.",
        )


def _unloaded(name: str) -> ModelNotReady:
    return ModelNotReady(
        f"The model {name!r} was unloaded.",
        where={"model": name},
        remedy=f"Load it: POST /v2/repository/models/{name}/load.",
    )
