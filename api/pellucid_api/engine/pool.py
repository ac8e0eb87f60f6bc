"""The models that are served: champions and who competes with them, other versions on demand.

The registry's aliases and traffic rules are followed. A request holds the `Served` that it began
with. A version that is replaced stays alive until the last such request lets go of it, and is then
freed: draining is reference counting.
"""

import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from pellucid.bundle import Bundle
from pellucid.errors import (
    DeviceUnavailable,
    ModelNotReady,
    NotFound,
    PellucidError,
    TrackerUnavailable,
    Unavailable,
)
from pellucid.tracking.contract import CHALLENGER, CHAMPION, SHADOW, Registry
from pellucid.tracking.traffic import Contender, Lineup, lineup_of
from pellucid_api.engine.cache import ModelCache
from pellucid_api.engine.guard import Guard
from pellucid_api.engine.model import Device, Model, choose_device
from pellucid_api.engine.served import Limits, Served
from pellucid_api.engine.shelf import Key, Shelf, resident, size_in_memory, size_on_disk
from pellucid_api.engine.statistics import Ledger
from pellucid_api.engine.trial import Comparison, Trial

_FIRST_WAIT, _LONGEST_WAIT = 5.0, 300.0  # seconds before a version that failed is tried again

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """A version that could not be loaded for its role."""

    version: int
    reason: str
    wait: float
    retry_at: float  # monotonic seconds


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
        device: Literal["auto", "cpu", "cuda"],
        poll_seconds: float,
        memory: int,
        limits: Limits,
    ) -> None:
        self._registry = registry
        self._limits = limits
        self._cache = cache
        self._wanted_device: Literal["auto", "cpu", "cuda"] = device
        self._poll_seconds = poll_seconds
        self._champions: dict[str, Served] = {}  # replaced whole, so reading needs no lock
        self._failures: dict[tuple[str, str], Failure] = {}  # by model and role
        self._loading = threading.Lock()  # one version is loaded at a time
        self._serving = threading.Lock()  # one thread at a time decides what is served
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="model-pool", daemon=True)
        self._guard = Guard()
        self.shelf = Shelf(memory)
        self.ledger = Ledger()
        self.registered: frozenset[str] = frozenset()  # as of the last answer
        self.unloaded: frozenset[str] = frozenset()  # models that do not serve until asked for
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
        self._guard.stop()
        if self._thread.is_alive():
            self._thread.join(timeout=self._poll_seconds + 5)

    @property
    def failures(self) -> dict[str, Failure]:
        """The champions that could not be loaded, by model."""
        return {name: found for (name, role), found in self._failures.items() if role == CHAMPION}

    def failure(self, name: str, role: str) -> Failure | None:
        """Why a model's version of this role is not in it, if it could not be loaded."""
        return self._failures.get((name, role))

    def champions(self) -> list[Served]:
        """What is served now, by name."""
        return [self._champions[name] for name in sorted(self._champions)]

    def loaded(self, name: str) -> list[int]:
        """The model's versions in memory, ascending."""
        return self.shelf.versions(name)

    def in_memory(self, name: str, version: int | None) -> Served | None:
        """The champion, or a certain version, if no wait is needed for it."""
        return self._champions.get(name) if version is None else self.shelf.get(name, version)

    def champion(self, name: str) -> Served:
        """The version that answers for a model.

        Raises:
            NotFound: no such model is registered.
            ModelNotReady: it has no champion, or its champion is not loaded (yet).
        """
        if served := self._champions.get(name):
            return served
        where = {"model": name}
        if failure := self.failure(name, CHAMPION):
            reason = f"Version {failure.version} cannot be served: {failure.reason}"
            raise ModelNotReady(reason, where=where | {"version": failure.version})
        self._require_loaded(name)
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
            ModelNotReady: it cannot be loaded, or there is no memory for it.
        """
        self._require_loaded(name)
        if served := self.shelf.get(name, version):
            return served
        if not self._cache.path(name, version).exists():
            self._registry.version(name, version)  # what is not registered is not waited for
        with self._loading:
            self._require_loaded(name)  # it may have been unloaded since
            try:
                return self.shelf.get(name, version) or self._load(name, version)
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
            self._failures = {key: each for key, each in self._failures.items() if key[0] != name}
        self.refresh()
        return self.champion(name)

    def unload(self, name: str) -> None:
        """Serve no version of a model until `load`, or until the process starts again.

        Raises:
            NotFound: no such model is registered.
        """
        with self._serving, self._loading:
            if name not in self.registered and name not in self._champions:
                self.champion(name)  # says what is missing
            self.unloaded |= {name}
            self._champions = {n: served for n, served in self._champions.items() if n != name}
            self.shelf.hold({key for served in self._champions.values() for key in _keys(served)})
            for version in self.shelf.versions(name):
                self.shelf.drop(name, version)

    def _require_loaded(self, name: str) -> None:
        if name in self.unloaded:
            raise ModelNotReady(
                f"The model {name!r} was unloaded.",
                where={"model": name},
                remedy=f"Load it: POST /v2/repository/models/{name}/load.",
            )

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
        self._serve({m.name: found for m in models if (found := lineup_of(m))})

    def _follow(self) -> None:
        try:
            self.device = choose_device(self._wanted_device)
            self._serve({name: Lineup(champion) for name, champion in self._cache.recall().items()})
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

    def _serve(self, wanted: Mapping[str, Lineup]) -> None:
        with self._serving:
            self._follow_up({n: found for n, found in wanted.items() if n not in self.unloaded})

    def _follow_up(self, wanted: Mapping[str, Lineup]) -> None:
        before = {name: served.version for name, served in self._champions.items()}
        self._failures = {
            (name, role): failure
            for (name, role), failure in self._failures.items()
            if name in wanted and _version_of(role, wanted[name]) == failure.version
        }
        for name, lineup in wanted.items():
            self._line_up(name, lineup)
        self._champions = {n: served for n, served in self._champions.items() if n in wanted}
        self.shelf.hold({key for served in self._champions.values() for key in _keys(served)})
        after = {name: served.version for name, served in self._champions.items()}
        if after != before:
            self._cache.remember(after)

    def _line_up(self, name: str, lineup: Lineup) -> None:
        """Let the champion serve, then those that compete with it."""
        leader = self._champions.get(name)
        contending = {each.version for each in (lineup.challenger, lineup.shadow) if each}
        leaving: tuple[Key, ...] = ()
        if leader and leader.version != lineup.champion and leader.version not in contending:
            leaving = ((name, leader.version),)
        champion = self._in_role(name, CHAMPION, lineup.champion, leaving)
        if champion is None and leader:
            champion = self.shelf.get(name, leader.version)
        if champion is None:
            return
        trial = leader.trial if leader and leader.model is champion.model else None
        self._lead(champion, trial)  # at once: loading the others may take long
        challenger = self._comparison(champion, CHALLENGER, lineup.challenger, trial)
        shadow = self._comparison(champion, SHADOW, lineup.shadow, trial)
        self._lead(champion, Trial(challenger, shadow) if challenger or shadow else None)

    def _lead(self, champion: Served, trial: Trial | None) -> None:
        leader = self._champions.get(champion.name)
        if leader is None or leader.model is not champion.model or leader.trial != trial:
            leader = champion.leading(trial) if trial else champion
            self._champions = self._champions | {champion.name: leader}

    def _comparison(
        self, champion: Served, role: str, wanted: Contender | None, trial: Trial | None
    ) -> Comparison | None:
        """The champion against the contender of a role: the one that goes on, or a new one."""
        if wanted is None:
            return None
        contender = self._in_role(champion.name, role, wanted.version)
        if contender is None or contender is champion:
            return None
        found = trial.of(role) if trial else None
        if found is None or (found.champion, found.contender) != (champion, contender):
            return Comparison(role, champion, contender, wanted.share)
        found.share = wanted.share
        return found

    def _in_role(
        self, name: str, role: str, version: int, leaving: tuple[Key, ...] = ()
    ) -> Served | None:
        """The version, loaded if it is not here; None if it cannot be, which is noted."""
        served = self.shelf.get(name, version)
        failure = self._failures.get((name, role))
        if served is None and failure and time.monotonic() < failure.retry_at:
            return None
        try:
            with self._loading:
                served = self.shelf.get(name, version) or self._load(name, version, leaving)
                self.shelf.retain(name, version)
        except PellucidError as error:
            self._note(name, role, version, error)
            return None
        self._failures.pop((name, role), None)
        self.device_error = None
        return served

    def _note(self, name: str, role: str, version: int, error: PellucidError) -> None:
        previous = self._failures.get((name, role))
        wait = min(previous.wait * 2, _LONGEST_WAIT) if previous else 0.0
        # What is not the version's fault is tried again at the next poll.
        wait = 0.0 if isinstance(error, TrackerUnavailable) else max(wait, _FIRST_WAIT)
        failure = Failure(version, str(error), wait, time.monotonic() + wait)
        self._failures[name, role] = failure
        self.ledger.failed(name)
        if isinstance(error, DeviceUnavailable):
            self.device_error = error
        logger.error("%s version %d does not serve as %s: %s", name, version, role, error)

    def _load(self, name: str, version: int, leaving: tuple[Key, ...] = ()) -> Served:
        """Open, warm and verify a version, in memory that is made free for it."""
        if self.device is None:
            raise self.device_error or ModelNotReady("The device is not chosen yet.")
        bundle = self._cache.fetch(self._registry, name, version)
        files = size_on_disk(bundle)
        self.shelf.make_room(name, version, files, leaving)
        before = resident()
        model = Model(bundle, self.device)
        statistics = self.ledger.of(name, version)
        served = Served(name, version, model, self._limits, self._guard, statistics)
        served.warm()
        size = size_in_memory(files, resident() - before)
        self.shelf.make_room(name, version, size, leaving)
        self.shelf.put(served, size)
        logger.info("%s version %d is loaded on %s", name, version, served.model.device)
        return served


def _version_of(role: str, lineup: Lineup) -> int | None:
    if role == CHAMPION:
        return lineup.champion
    contender = lineup.challenger if role == CHALLENGER else lineup.shadow
    return contender.version if contender else None


def _keys(leader: Served) -> tuple[Key, ...]:
    """Of the champion and of those that compete with it."""
    contenders = leader.trial.contenders if leader.trial else ()
    return tuple((each.name, each.version) for each in (leader, *contenders))
