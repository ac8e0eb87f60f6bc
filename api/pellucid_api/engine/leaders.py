"""Who serves in which role: the champions, and the versions that compete with them.

What the registry wants is followed. A version that cannot serve leaves the one before it in its
place, and is tried again, ever more seldom.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

from pellucid.errors import DeviceUnavailable, PellucidError, TrackerUnavailable
from pellucid.tracking.contract import CHALLENGER, CHAMPION, SHADOW
from pellucid.tracking.traffic import Contender, Lineup
from pellucid_api.engine.loader import Loader
from pellucid_api.engine.served import Served
from pellucid_api.engine.shelf import Key, Shelf
from pellucid_api.engine.statistics import Ledger
from pellucid_api.engine.trial import Comparison, Trial

_FIRST_WAIT, _LONGEST_WAIT = 5.0, 300.0  # seconds before a version that failed is tried again

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """A version that could not be loaded for its role."""

    version: int
    error: PellucidError
    wait: float
    retry_at: float  # monotonic seconds

    @property
    def reason(self) -> str:
        """For people."""
        return str(self.error)


class Leaders:
    """The champions in memory, each with those that compete with it.

    Any thread may read; one at a time may call the methods that change something.
    """

    def __init__(self, loader: Loader, shelf: Shelf, ledger: Ledger) -> None:
        self._loader, self._shelf, self._ledger = loader, shelf, ledger
        # Both are replaced whole, so reading needs no lock.
        self.champions: Mapping[str, Served] = {}  # by model
        self.failures: Mapping[tuple[str, str], Failure] = {}  # by model and role

    @property
    def versions(self) -> dict[str, int]:
        """The number of each champion, by model."""
        return {name: served.version for name, served in self.champions.items()}

    @property
    def device_error(self) -> DeviceUnavailable | None:
        """Why a version does not run on the device that it must run on."""
        errors = (failure.error for failure in self.failures.values())
        return next((each for each in errors if isinstance(each, DeviceUnavailable)), None)

    def follow(self, wanted: Mapping[str, Lineup]) -> None:
        """Let these serve, and no others."""
        self.failures = {
            (name, role): failure
            for (name, role), failure in self.failures.items()
            if name in wanted and _version_of(role, wanted[name]) == failure.version
        }
        for name, lineup in wanted.items():
            self._line_up(name, lineup)
        self._keep({n: served for n, served in self.champions.items() if n in wanted})

    def retire(self, name: str) -> None:
        """Let no version of a model serve."""
        self.forgive(name)
        self._keep({n: served for n, served in self.champions.items() if n != name})

    def forgive(self, name: str) -> None:
        """Try again at once what failed of a model."""
        self.failures = {key: each for key, each in self.failures.items() if key[0] != name}

    def _keep(self, champions: Mapping[str, Served]) -> None:
        self.champions = champions
        self._shelf.hold({key for served in champions.values() for key in _keys(served)})

    def _line_up(self, name: str, lineup: Lineup) -> None:
        """Let the champion serve, then those that compete with it."""
        leader = self.champions.get(name)
        contending = {each.version for each in (lineup.challenger, lineup.shadow) if each}
        leaving: tuple[Key, ...] = ()
        if leader and leader.version != lineup.champion and leader.version not in contending:
            leaving = ((name, leader.version),)
        champion = self._in_role(name, CHAMPION, lineup.champion, leaving)
        if champion is None and leader:
            champion = self._shelf.get(name, leader.version)
        if champion is None:
            return
        trial = leader.trial if leader and leader.model is champion.model else None
        self._lead(champion, trial)  # at once: loading the others may take long
        challenger = self._comparison(champion, CHALLENGER, lineup.challenger, trial)
        shadow = self._comparison(champion, SHADOW, lineup.shadow, trial)
        self._lead(champion, Trial(challenger, shadow) if challenger or shadow else None)

    def _lead(self, champion: Served, trial: Trial | None) -> None:
        leader = self.champions.get(champion.name)
        if leader is None or leader.model is not champion.model or leader.trial != trial:
            leader = champion.leading(trial) if trial else champion
            self.champions = {**self.champions, champion.name: leader}

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
        failure = self.failures.get((name, role))
        waits = failure is not None and time.monotonic() < failure.retry_at
        if waits and self._shelf.get(name, version) is None:
            return None
        try:
            with self._loader.lock:  # nobody evicts it before it is held
                served = self._loader.load(name, version, leaving)
                self._shelf.retain(name, version)
        except PellucidError as error:
            self._note(name, role, version, error)
            return None
        self.failures = {k: each for k, each in self.failures.items() if k != (name, role)}
        return served

    def _note(self, name: str, role: str, version: int, error: PellucidError) -> None:
        previous = self.failures.get((name, role))
        wait = min(previous.wait * 2, _LONGEST_WAIT) if previous else 0.0
        # What is not the version's fault is tried again at the next poll.
        wait = 0.0 if isinstance(error, TrackerUnavailable) else max(wait, _FIRST_WAIT)
        failure = Failure(version, error, wait, time.monotonic() + wait)
        self.failures = {**self.failures, (name, role): failure}
        self._ledger.failed(name)
        logger.error("%s version %d does not serve as %s: %s", name, version, role, error)


def _version_of(role: str, lineup: Lineup) -> int | None:
    if role == CHAMPION:
        return lineup.champion
    contender = lineup.challenger if role == CHALLENGER else lineup.shadow
    return contender.version if contender else None


def _keys(leader: Served) -> tuple[Key, ...]:
    """Of the champion and of those that compete with it."""
    contenders = leader.trial.contenders if leader.trial else ()
    return tuple((each.name, each.version) for each in (leader, *contenders))
