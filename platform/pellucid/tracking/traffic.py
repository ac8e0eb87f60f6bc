"""Which share of a model's requests its challenger answers, and which share its shadow sees.

The rules are one tag of the registered model, written whole. Every serving process polls the
registry anyway, so all follow the same rules within seconds, and none asks our database. A share
belongs to one version: an alias that moves, as a finished training may move `challenger`, takes no
traffic with it.
"""

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pellucid.errors import Conflict
from pellucid.tracking.contract import CHALLENGER, CHAMPION, SHADOW, RegisteredModel, Registry

_TAG = "pellucid.traffic"


class Contender(BaseModel):
    """A version that competes with the champion for, or on, a share of the requests."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int = Field(ge=1, examples=[3])
    share: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, examples=[0.1])]


class Rules(BaseModel):
    """Who competes. The challenger answers its share; the shadow sees copies, and nobody waits."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    challenger: Contender | None = None
    shadow: Contender | None = None


@dataclass(frozen=True)
class Lineup:
    """The versions that a model's requests go to."""

    champion: int
    challenger: Contender | None = None
    shadow: Contender | None = None


def rules_of(model: RegisteredModel) -> Rules:
    """The rules in force.

    A rule holds while its alias points at its version. A `shadow` without a rule sees every
    request; a `challenger` without one gets none.
    """
    written = _written(model)
    challenger, shadow = written.challenger, written.shadow
    if challenger and model.aliases.get(CHALLENGER) != challenger.version:
        challenger = None
    alias = model.aliases.get(SHADOW)
    if alias is None:
        shadow = None
    elif shadow is None or shadow.version != alias:
        shadow = Contender(version=alias, share=1.0)
    return Rules(challenger=challenger, shadow=shadow)


def lineup_of(model: RegisteredModel) -> Lineup | None:
    """The model's versions by role; None without a champion. The champion competes with others."""
    champion = model.aliases.get(CHAMPION)
    if champion is None:
        return None
    rules = rules_of(model)
    challenger, shadow = (
        each if each and each.version != champion and each.share else None
        for each in (rules.challenger, rules.shadow)
    )
    return Lineup(champion, challenger, shadow)


def set_rules(registry: Registry, name: str, rules: Rules) -> None:
    """Put rules in force, in place of all earlier ones.

    The tag is written last: until then a new challenger has no share, and an earlier one's ended
    when the alias left it.

    Raises:
        NotFound: there is no such model or version.
        Conflict: the model has no champion, or a version is to compete with itself.
        TrackerUnavailable: the registry does not answer; setting them again is safe.
    """
    champion = registry.model(name).aliases.get(CHAMPION)
    wanted = {CHALLENGER: rules.challenger, SHADOW: rules.shadow}
    for role, contender in wanted.items():
        if champion is None:
            raise Conflict(
                f"The model {name!r} has no champion to compete with.",
                where={"model": name},
                remedy=f"Promote a version first: POST /v1/models/{name}/promote.",
            )
        if contender and contender.version == champion:
            raise Conflict(
                f"Version {champion} is the champion: it cannot be the {role} too.",
                where={"model": name, "version": champion},
                remedy="Name another version.",
            )
        if contender:
            registry.version(name, contender.version)
    for role, contender in wanted.items():
        if contender:
            registry.set_alias(name, role, contender.version)
        else:
            registry.delete_alias(name, role)
    _write(registry, name, rules)


def clear_rules(registry: Registry, name: str) -> None:
    """End every competition: the champion answers all. Raises as `set_rules`."""
    _write(registry, name, Rules())
    for role in (CHALLENGER, SHADOW):
        registry.delete_alias(name, role)


def withdraw(registry: Registry, model: RegisteredModel, version: int) -> None:
    """End the competition of one version, which has become the champion."""
    written = _written(model)
    kept = {
        role: contender
        for role, contender in ((CHALLENGER, written.challenger), (SHADOW, written.shadow))
        if contender and contender.version != version
    }
    rules = Rules.model_validate(kept)
    if rules != written:
        _write(registry, model.name, rules)
    for role in (CHALLENGER, SHADOW):
        if model.aliases.get(role) == version:
            registry.delete_alias(model.name, role)


def _written(model: RegisteredModel) -> Rules:
    try:
        return Rules.model_validate_json(model.tags.get(_TAG, "{}"))
    except ValidationError:  # written by hand: nobody is sent anywhere by what cannot be read
        return Rules()


def _write(registry: Registry, name: str, rules: Rules) -> None:
    if rules == Rules():
        registry.delete_model_tag(name, _TAG)
    else:
        registry.set_model_tag(name, _TAG, rules.model_dump_json(exclude_none=True))
