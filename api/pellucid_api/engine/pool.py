"""The models that are served: champions followed by alias, other versions on demand.

A request holds the `Served` that it began with. A version that is replaced stays alive until the
last such request lets go of it, and is then freed: draining is reference counting.
"""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from pellucid.bundle import Bundle
from pellucid.errors import DeviceUnavailable, ModelNotReady, NotFound, PellucidError, Unavailable
from pellucid.tracking.contract import CHAMPION, Registry
from pellucid_api.engine.cache import ModelCache
from pellucid_api.engine.model import Device, Model, choose_device
from pellucid_api.engine.served import Limits, Served

ON_DEMAND = 4  # versions other than champions kept in memory
_FIRST_WAIT, _LONGEST_WAIT = 5.0, 300.0  # seconds before a version that failed is tried again

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """A champion that could not be loaded."""

    version: int
    reason: str
    wait: float
    retry_at: float  # monotonic seconds


class ModelPool:
    """Champions of all registered models, and the last few other versions asked for.

    Args:
        registry: asked every `poll_seconds` in a thread of its own.
        cache: bundles on the local disk.
        device: as the settings want it.
        poll_seconds: how soon a moved alias is noticed.
        executor: makes the runs that are long.
        limits: of each version's queue.
    """

    def __init__(
        self,
        registry: Registry,
        cache: ModelCache,
        *,
        device: Literal["auto", "cpu", "cuda"],
        poll_seconds: float,
        executor: Executor,
        limits: Limits,
    ) -> None:
        self._registry = registry
        self._executor = executor
        self._limits = limits
        self._cache = cache
        self._wanted_device: Literal["auto", "cpu", "cuda"] = device
        self._poll_seconds = poll_seconds
        self._champions: dict[str, Served] = {}  # replaced whole, so reading needs no lock
        self._others: OrderedDict[tuple[str, int], Served] = OrderedDict()
        self._lock = threading.Lock()  # of _others
        self._loading = threading.Lock()  # one version is loaded at a time
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="model-pool", daemon=True)
        self.failures: dict[str, Failure] = {}
        self.registered: frozenset[str] = frozenset()  # as of the last answer
        self.device: Device | None = None
        self.device_error: DeviceUnavailable | None = None
        self.registry_error: Unavailable | None = None
        self.settled = threading.Event()  # the first load is done

    def start(self) -> None:
        """Load what was served last, then follow the registry."""
        self._thread.start()

    def stop(self) -> None:
        """Stop following."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout=self._poll_seconds + 5)

    def champions(self) -> list[Served]:
        """What is served now, by name."""
        return [self._champions[name] for name in sorted(self._champions)]

    def loaded(self, name: str) -> list[int]:
        """The model's versions in memory, ascending."""
        with self._lock:
            found = {version for model, version in self._others if model == name}
        if champion := self._champions.get(name):
            found.add(champion.version)
        return sorted(found)

    def in_memory(self, name: str, version: int | None) -> Served | None:
        """The champion, or a certain version, if no wait is needed for it."""
        champion = self._champions.get(name)
        if version is None or (champion and champion.version == version):
            return champion
        return self._recent(name, version)

    def champion(self, name: str) -> Served:
        """The version that answers for a model.

        Raises:
            NotFound: no such model is registered.
            ModelNotReady: it has no champion, or its champion is not loaded (yet).
        """
        if served := self._champions.get(name):
            return served
        where = {"model": name}
        if failure := self.failures.get(name):
            reason = f"Version {failure.version} cannot be served: {failure.reason}"
            raise ModelNotReady(reason, where=where | {"version": failure.version})
        if name in self.registered:
            raise ModelNotReady(
                f"The model {name!r} has no champion loaded.",
                where=where,
                remedy=f"Promote a version: POST /v1/models/{name}/promote.",
            )
        if not self.settled.is_set() or self.registry_error:
            raise ModelNotReady(
                f"The model {name!r} is not loaded, and the registry has not answered.",
                where=where,
                remedy="Try again once MLflow answers.",
            )
        near = get_close_matches(name, self.registered, n=3)
        raise NotFound(
            f"There is no model {name!r}.",
            where=where,
            remedy=f"Did you mean {' or '.join(near)}?" if near else "GET /v1/models lists all.",
        )

    def version(self, name: str, version: int) -> Served:
        """A certain version, loaded on demand.

        Raises:
            NotFound: no such version is registered.
            ModelNotReady: it cannot be loaded.
        """
        champion = self._champions.get(name)
        if champion and champion.version == version:
            return champion
        if served := self._recent(name, version):
            return served
        if not self._cache.path(name, version).exists():
            self._registry.version(name, version)  # what is not registered is not waited for
        with self._loading:
            if served := self._recent(name, version):
                return served
            try:
                served = self._load(name, version)
            except Unavailable:
                raise
            except PellucidError as error:
                where = {"model": name, "version": version}
                raise ModelNotReady(str(error), where=where) from error
        with self._lock:
            self._others[name, version] = served
            if len(self._others) > ON_DEMAND:
                self._others.popitem(last=False)
        return served

    def bundle(self, name: str, version: int) -> Bundle:
        """A version's bundle, downloaded unless it is here. Raises `NotFound`, `InvalidData`."""
        if not self._cache.path(name, version).exists():
            self._registry.version(name, version)
        with self._loading:
            return self._cache.fetch(self._registry, name, version)

    def obstacle(self) -> str:
        """Why predictions cannot be served as the settings want it; empty if they can."""
        if self.device_error:
            return str(self.device_error)
        if not self.settled.is_set():
            return "The models are being loaded."
        if self.failures and not self._champions:
            return "No champion could be loaded."
        return ""

    def refresh(self) -> None:
        """Ask the registry once, and serve what it says.

        A champion that fails verification leaves the one before it in place.
        """
        try:
            models = self._registry.models()
        except Unavailable as error:
            self.registry_error = error
            return
        self.registry_error = None
        self.registered = frozenset(model.name for model in models)
        self._serve({m.name: m.aliases[CHAMPION] for m in models if CHAMPION in m.aliases})

    def _follow(self) -> None:
        try:
            self.device = choose_device(self._wanted_device)
            self._serve(self._cache.recall())
        except DeviceUnavailable as error:
            self.device_error = error
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

    def _serve(self, wanted: Mapping[str, int]) -> None:
        before = {served.name: served.version for served in self._champions.values()}
        self.failures = {
            name: failure
            for name, failure in self.failures.items()
            if wanted.get(name) == failure.version
        }
        for name, version in wanted.items():
            if before.get(name) == version:
                self.failures.pop(name, None)
            elif self._may_try(name):
                self._try(name, version)
        gone = self._champions.keys() - wanted.keys()
        self._champions = {n: s for n, s in self._champions.items() if n not in gone}
        after = {served.name: served.version for served in self._champions.values()}
        if after != before:
            self._cache.remember(after)

    def _may_try(self, name: str) -> bool:
        failure = self.failures.get(name)
        return failure is None or time.monotonic() >= failure.retry_at

    def _try(self, name: str, version: int) -> None:
        try:
            with self._loading:
                served = self._recent(name, version) or self._load(name, version)
        except PellucidError as error:
            previous = self.failures.get(name)
            wait = min(previous.wait * 2, _LONGEST_WAIT) if previous else 0.0
            # What is not the version's fault is tried again at the next poll.
            wait = 0.0 if isinstance(error, Unavailable) else max(wait, _FIRST_WAIT)
            self.failures[name] = Failure(version, str(error), wait, time.monotonic() + wait)
            if isinstance(error, DeviceUnavailable):
                self.device_error = error
            logger.error("%s version %d is not served: %s", name, version, error)
            return
        self.failures.pop(name, None)
        self.device_error = None
        self._champions = self._champions | {name: served}
        logger.info("%s version %d serves on %s", name, version, served.model.device)

    def _load(self, name: str, version: int) -> Served:
        if self.device is None:
            raise self.device_error or ModelNotReady("The device is not chosen yet.")
        model = Model(self._cache.fetch(self._registry, name, version), self.device)
        served = Served(name, version, model, self._executor, self._limits)
        served.warm()
        return served

    def _recent(self, name: str, version: int) -> Served | None:
        with self._lock:
            served = self._others.get((name, version))
            if served:
                self._others.move_to_end((name, version))
            return served
