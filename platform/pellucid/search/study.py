"""What to try next, and what to give up: Optuna's sampler and pruner over what the jobs say.

Nothing is kept between two questions. A study is rebuilt in memory from the trials' records, so
the job table is the only source of truth; a question with the same records has the same answer.
"""

import hashlib
import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial

from pellucid.plan import Choice, Range, Search, Space
from pellucid.resources.jobs import JobStatus

optuna.logging.set_verbosity(optuna.logging.ERROR)

_STARTUP = 10  # trials at random before the sampler models anything
_RUNGS_BELOW = 16  # the first rung is at this part of all epochs


@dataclass(frozen=True)
class Trial:
    """What is known of a trial.

    Attributes:
        number: from 0.
        params: path in the plan -> value.
        status: of its job.
        value: the score that the search is for; None before success.
        losses: epoch -> validation loss, at some epochs.
    """

    number: int
    params: Mapping[str, Any]
    status: JobStatus
    value: float | None = None
    losses: Mapping[int, float] = field(default_factory=dict)


def higher_is_better(search: Search) -> bool:
    """Which way the search's score improves."""
    from pellucid.analysis.scores import SCORES

    return search.metric not in (None, "loss") and SCORES[str(search.metric)].direction == "higher"


def best(search: Search, trials: Sequence[Trial]) -> Trial | None:
    """The best trial that succeeded; of equals the first."""
    sign = -1 if higher_is_better(search) else 1
    done = [(sign * t.value, t.number, t) for t in trials if t.value is not None]
    return min(done, key=lambda entry: entry[:2])[2] if done else None


def suggest(search: Search, trials: Sequence[Trial], number: int) -> dict[str, Any]:
    """The values of trial `number`, given all earlier ones: path in the plan -> value."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        study = rebuilt(search, trials, _sampler(search, number))
        asked = study.ask(distributions(search.space)).params
    return {path: _value(entry, asked[path]) for path, entry in search.space.items()}


def hopeless(search: Search, trials: Sequence[Trial], epochs: int) -> list[int]:
    """Numbers of running trials that asynchronous successive halving would end now.

    At the rungs (`first_rung` epochs, and `reduction` times as many each time) a trial goes on
    if its validation loss is among the best of one in `reduction` that reached the rung; the
    first ones there go on if they are the best so far (Li et al., 2020).
    """
    if search.pruner == "none":
        return []
    first = search.first_rung or max(1, epochs // _RUNGS_BELOW)
    pruner = optuna.pruners.SuccessiveHalvingPruner(
        min_resource=first, reduction_factor=search.reduction
    )
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0), pruner=pruner)
    ended = []
    running = sorted(trials, key=lambda trial: (trial.status is JobStatus.RUNNING, trial.number))
    for trial in running:  # what has ended stands at its rungs already
        replayed = study.ask()
        for rung, loss in at_rungs(trial.losses, first, search.reduction):
            replayed.report(loss, rung)
            if replayed.should_prune() and trial.status is JobStatus.RUNNING:
                ended.append(trial.number)
                break
    return ended


def at_rungs(losses: Mapping[int, float], first: int, reduction: int) -> list[tuple[int, float]]:
    """(rung, loss): at each rung the loss of the first epoch told of that is not before it."""
    found, rung = [], first
    for epoch in sorted(losses):
        while epoch >= rung:
            found.append((rung, losses[epoch]))
            rung *= reduction
    return found


def rebuilt(
    search: Search, trials: Sequence[Trial], sampler: optuna.samplers.BaseSampler | None = None
) -> optuna.Study:
    """An Optuna study that holds the trials."""
    way = StudyDirection.MAXIMIZE if higher_is_better(search) else StudyDirection.MINIMIZE
    study = optuna.create_study(direction=way, sampler=sampler)
    known = distributions(search.space)
    for trial in trials:
        state, value = _state(trial)
        losses = trial.losses if search.metric in (None, "loss") else {}
        study.add_trial(
            create_trial(
                state=state,
                params={
                    path: _known(entry, trial.params[path]) for path, entry in search.space.items()
                },
                distributions=known,
                value=value,
                intermediate_values=dict(losses) if state is TrialState.PRUNED else {},
            )
        )
    return study


def distributions(space: Mapping[str, Space]) -> dict[str, BaseDistribution]:
    """Path -> the distribution that Optuna draws from."""
    return {path: _distribution(entry) for path, entry in space.items()}


def _distribution(entry: Space) -> BaseDistribution:
    if isinstance(entry, Choice):
        return CategoricalDistribution([_written(value) for value in entry.values])
    if entry.integer:
        return IntDistribution(int(entry.low), int(entry.high), log=entry.log)
    return FloatDistribution(entry.low, entry.high, log=entry.log)


def _written(value: Any) -> str:
    """A choice as a text: Optuna takes true and 1 for the same, and no lists."""
    if isinstance(value, str) and not _is_json(value):
        return value
    return json.dumps(value, sort_keys=True)


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


def _value(entry: Space, drawn: Any) -> Any:
    """What Optuna drew, as the plan takes it."""
    if isinstance(entry, Range):
        return drawn
    return next(value for value in entry.values if _written(value) == drawn)


def _known(entry: Space, value: Any) -> Any:
    """A plan's value, as Optuna knows it."""
    if isinstance(entry, Choice):
        return _written(value)
    return int(value) if entry.integer else float(value)


def _state(trial: Trial) -> tuple[TrialState, float | None]:
    if trial.value is not None and math.isfinite(trial.value):
        return TrialState.COMPLETE, trial.value
    if trial.status is JobStatus.PRUNED:
        return TrialState.PRUNED, None
    return (TrialState.FAIL if trial.status.final else TrialState.RUNNING), None


def _sampler(search: Search, number: int) -> optuna.samplers.BaseSampler:
    digest = hashlib.sha256(f"{search.seed}/{number}".encode()).digest()
    seed = int.from_bytes(digest[:4])
    if search.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    # Trials under way count as bad ones, so that two at once do not try the same.
    return optuna.samplers.TPESampler(
        seed=seed, n_startup_trials=_STARTUP, multivariate=True, constant_liar=True
    )
