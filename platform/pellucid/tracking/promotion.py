"""Which version is the champion, and which were champions before it."""

from pellucid.errors import Conflict
from pellucid.tracking import traffic
from pellucid.tracking.contract import CHALLENGER, CHAMPION, RegisteredModel, Registry

_HISTORY_TAG = "pellucid.former_champions"  # version numbers, the most recent last
_LONGEST_HISTORY = 100


def promote(registry: Registry, name: str, version: int) -> None:
    """Make a version the champion and remember the one it replaces.

    If it was the challenger or the shadow, it is that no longer, and its share of the traffic ends.

    The memory is written first: a crash between the two steps leaves the champion as its own
    predecessor, which `rollback` passes over.

    Raises:
        NotFound: there is no such model or version.
        TrackerUnavailable: the registry does not answer; promoting again is safe.
    """
    registry.version(name, version)
    model = registry.model(name)
    current = model.aliases.get(CHAMPION)
    if current not in (None, version):
        _remember(registry, name, [*_former(model), current])
    if current != version:
        registry.set_alias(name, CHAMPION, version)
    traffic.withdraw(registry, model, version)


def challenger(registry: Registry, name: str) -> int:
    """The version that competes for the champion's place.

    Raises:
        NotFound: there is no such model.
        Conflict: it has no challenger.
        TrackerUnavailable: the registry does not answer.
    """
    version = registry.model(name).aliases.get(CHALLENGER)
    if version is None:
        raise Conflict(
            f"Model {name!r} has no challenger.",
            where={"model": name},
            remedy="Name the version to promote.",
        )
    return version


def rollback(registry: Registry, name: str) -> int:
    """Make the previous champion the champion again, and say which version that is.

    Rolling back twice goes back twice.

    Raises:
        NotFound: there is no such model.
        Conflict: no version was champion before.
        TrackerUnavailable: the registry does not answer. Whether the alias has moved is then
            unknown: look before rolling back again.
    """
    model = registry.model(name)
    former = _former(model)
    if not former:
        raise Conflict(
            f"Model {name!r} has no earlier champion to return to.",
            where={"model": name},
            remedy="Promote the version that should serve.",
        )
    registry.set_alias(name, CHAMPION, former[-1])
    _remember(registry, name, former[:-1])
    return former[-1]


def _former(model: RegisteredModel) -> list[int]:
    """Earlier champions, the most recent last, without the current one at the end."""
    former = [int(part) for part in model.tags.get(_HISTORY_TAG, "").split(",") if part]
    while former and former[-1] == model.aliases.get(CHAMPION):
        former.pop()
    return former


def _remember(registry: Registry, name: str, former: list[int]) -> None:
    kept = former[-_LONGEST_HISTORY:]
    registry.set_model_tag(name, _HISTORY_TAG, ",".join(str(version) for version in kept))
