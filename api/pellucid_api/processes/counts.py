"""What serving processes have done and what they hold: plain numbers, which add up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import reduce
from operator import add
from typing import Any

import msgspec

from pellucid_api.engine.pool import ModelPool
from pellucid_api.engine.statistics import Statistics
from pellucid_api.engine.trial import Comparison, Findings

Version = tuple[str, int]  # model, number
Kind = tuple[str, int, str]  # model, number, kind of odd values
Contest = tuple[str, str, int, int]  # model, role, champion, contender


@dataclass
class Done:
    """Counters, which only grow. They outlive the process that counted: its heir counts on."""

    statistics: dict[Version, Statistics] = field(default_factory=dict)
    contests: dict[Contest, Findings] = field(default_factory=dict)
    loads: dict[str, int] = field(default_factory=dict)  # by model
    load_failures: dict[str, int] = field(default_factory=dict)
    logged: dict[str, int] = field(default_factory=dict)  # rows by outcome; {}: there is no log
    labels: dict[str, int] = field(default_factory=dict)  # by what became of them
    values: dict[Version, int] = field(default_factory=dict)  # of inputs, in the log
    odd_values: dict[Kind, int] = field(default_factory=dict)
    expected_values: dict[Kind, float] = field(default_factory=dict)  # odd ones, in training rows
    evictions: int = 0
    lost_lines: int = 0  # of the access log

    def __add__(self, other: "Done") -> "Done":
        names = [each.name for each in fields(self)]
        return Done(*(_sum(getattr(self, name), getattr(other, name)) for name in names))

    @classmethod
    def of(cls, pool: ModelPool) -> "Done":
        """What a pool's versions have done."""
        ledger = pool.ledger
        return cls(
            {(name, version): each for name, version, each in ledger.all()},
            _contests(pool),
            ledger.loads.copy(),
            ledger.load_failures.copy(),
            evictions=pool.shelf.evictions,
        )


@dataclass
class State:
    """What a process is and holds now."""

    pid: int
    device: str | None
    obstacle: str  # to its readiness; empty if there is none
    registry_error: str
    log_error: str  # of the prediction log
    memory: int  # bytes of models
    unloaded: list[str]
    champions: dict[str, int]  # by model
    loaded: dict[Version, str]  # device
    waiting: dict[Version, int]  # rows

    @classmethod
    def of(cls, pid: int, pool: ModelPool, log_error: str) -> "State":
        """Of a process with a pool."""
        served = {(each.name, each.version): each for each in pool.shelf.served()}
        return cls(
            pid=pid,
            device=pool.device,
            obstacle=pool.obstacle(),
            registry_error=str(pool.registry_error or ""),
            log_error=log_error,
            memory=pool.shelf.size,
            unloaded=sorted(pool.unloaded),
            champions={each.name: each.version for each in pool.champions()},
            loaded={key: each.model.device for key, each in served.items()},
            waiting={key: each.batcher.waiting for key, each in served.items()},
        )


@dataclass
class Report:
    """One process's answer for itself."""

    done: Done
    state: State


@dataclass(frozen=True)
class Census:
    """All processes together.

    Args:
        done: by all, as known last of those that do not answer.
        states: by number, of those that answer, beginning with the one that was asked.
        missing: the numbers of the others.
    """

    done: Done
    states: Mapping[int, State]
    missing: Sequence[int] = ()

    def versions(self, name: str) -> list[int]:
        """A model's versions that at least one process has in memory, ascending."""
        found = {key for state in self.states.values() for key in state.loaded}
        return sorted(version for model, version in found if model == name)

    def statistics(self, name: str, version: int) -> Statistics:
        """What a version has done."""
        return self.done.statistics.get((name, version)) or Statistics()

    def findings(self, comparison: Comparison) -> Findings:
        """What a comparison of this process has shown in all of them."""
        return self.done.contests.get(_contest(comparison)) or comparison.findings()

    def obstacle(self) -> str:
        """Why a process does not serve as the settings want it; empty if all do."""
        for number, state in self.states.items():
            if state.obstacle:
                alone = len(self.states) + len(self.missing) == 1
                return state.obstacle if alone else f"Process {number}: {state.obstacle}"
        return ""


def total(parts: Sequence[Done]) -> Done:
    """All together."""
    return reduce(add, parts, Done())


def packed(value: Any) -> bytes:
    """A report, or a part of it, as bytes."""
    return msgspec.msgpack.encode(value, enc_hook=lambda number: number.item())  # of NumPy


def _sum(a: Any, b: Any) -> Any:
    if not isinstance(a, dict):
        return a + b
    return a | {key: a[key] + value if key in a else value for key, value in b.items()}


def _contests(pool: ModelPool) -> dict[Contest, Findings]:
    trials = [served.trial for served in pool.champions() if served.trial]
    found = [each for trial in trials for each in (trial.challenger, trial.shadow) if each]
    return {_contest(each): each.findings() for each in found}


def _contest(given: Comparison) -> Contest:
    champion = given.champion
    return champion.name, given.role, champion.version, given.contender.version
