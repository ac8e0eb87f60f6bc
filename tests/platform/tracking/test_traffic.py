"""Traffic rules in the registry: whom they hold for, and what ends them."""

from pathlib import Path

import pytest

from pellucid.errors import Conflict, NotFound, TrackerUnavailable
from pellucid.tracking import promotion
from pellucid.tracking.contract import CHALLENGER, CHAMPION, SHADOW
from pellucid.tracking.memory import MemoryTracker
from pellucid.tracking.traffic import (
    Contender,
    Lineup,
    Rules,
    clear_rules,
    lineup_of,
    rules_of,
    set_rules,
)
from support.bundles import make_bundle

BOTH = Rules(challenger=Contender(version=2, share=0.25), shadow=Contender(version=3, share=0.5))


@pytest.fixture
def registry(tmp_path: Path) -> MemoryTracker:
    registry = MemoryTracker(tmp_path / "registry")
    bundle = make_bundle(tmp_path / "bundle", name="credit")
    for number in range(1, 5):
        registry.register(f"run-{number}", "credit", bundle.root, {})
    registry.set_alias("credit", CHAMPION, 1)
    return registry


def lineup(registry: MemoryTracker) -> Lineup | None:
    return lineup_of(registry.model("credit"))


def test_rules_are_read_as_they_were_set(registry: MemoryTracker) -> None:
    set_rules(registry, "credit", BOTH)
    assert rules_of(registry.model("credit")) == BOTH
    assert registry.model("credit").aliases == {CHAMPION: 1, CHALLENGER: 2, SHADOW: 3}
    assert lineup(registry) == Lineup(1, BOTH.challenger, BOTH.shadow)


def test_new_rules_replace_all_earlier_ones(registry: MemoryTracker) -> None:
    set_rules(registry, "credit", BOTH)
    set_rules(registry, "credit", Rules(shadow=Contender(version=2, share=1)))
    assert registry.model("credit").aliases == {CHAMPION: 1, SHADOW: 2}
    assert lineup(registry) == Lineup(1, None, Contender(version=2, share=1))


def test_a_share_stays_with_its_version_when_the_alias_moves(registry: MemoryTracker) -> None:
    set_rules(registry, "credit", BOTH)
    registry.set_alias("credit", CHALLENGER, 4)
    registry.set_alias("credit", SHADOW, 4)
    assert lineup(registry) == Lineup(1, None, Contender(version=4, share=1))


def test_a_challenger_without_a_share_gets_no_request(registry: MemoryTracker) -> None:
    registry.set_alias("credit", CHALLENGER, 2)
    assert lineup(registry) == Lineup(1)


def test_promoting_the_challenger_ends_its_competition_alone(registry: MemoryTracker) -> None:
    set_rules(registry, "credit", BOTH)
    promotion.promote(registry, "credit", 2)
    assert registry.model("credit").aliases == {CHAMPION: 2, SHADOW: 3}
    assert lineup(registry) == Lineup(2, None, BOTH.shadow)
    promotion.promote(registry, "credit", 3)
    assert registry.model("credit").aliases == {CHAMPION: 3}
    assert lineup(registry) == Lineup(3)


def test_a_champion_by_another_way_does_not_compete_with_itself(registry: MemoryTracker) -> None:
    set_rules(registry, "credit", BOTH)
    registry.set_alias("credit", CHAMPION, 2)  # as in MLflow's own pages
    assert lineup(registry) == Lineup(2, None, BOTH.shadow)


def test_cleared_rules_leave_the_champion_alone(registry: MemoryTracker) -> None:
    set_rules(registry, "credit", BOTH)
    for _ in range(2):
        clear_rules(registry, "credit")
    found = registry.model("credit")
    assert (found.aliases, found.tags) == ({CHAMPION: 1}, {})


@pytest.mark.parametrize("text", ["", "0.5", "[]", '{"challenger": {"version": 2, "share": 7}}'])
def test_a_tag_that_cannot_be_read_sends_nobody_anywhere(
    registry: MemoryTracker, text: str
) -> None:
    set_rules(registry, "credit", BOTH)
    registry.set_model_tag("credit", "pellucid.traffic", text)
    assert lineup(registry) == Lineup(1, None, Contender(version=3, share=1))


def test_without_a_champion_there_is_no_lineup(registry: MemoryTracker) -> None:
    registry.delete_alias("credit", CHAMPION)
    assert lineup(registry) is None
    with pytest.raises(Conflict, match="no champion"):
        set_rules(registry, "credit", BOTH)


def test_what_cannot_compete_changes_nothing(registry: MemoryTracker) -> None:
    with pytest.raises(Conflict, match="Version 1 is the champion"):
        set_rules(registry, "credit", Rules(challenger=Contender(version=1, share=0.1)))
    for name, version in (("credit", 9), ("nobody", 2)):
        with pytest.raises(NotFound):
            set_rules(registry, name, Rules(shadow=Contender(version=version, share=0.1)))
    assert registry.model("credit").aliases == {CHAMPION: 1}
    registry.down = True
    with pytest.raises(TrackerUnavailable):
        set_rules(registry, "credit", BOTH)
