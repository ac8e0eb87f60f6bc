"""What to try next and what to give up, against Optuna's own bookkeeping and by hand."""

from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pellucid.plan import Search
from pellucid.resources.jobs import JobStatus
from pellucid.search.study import Trial, at_rungs, best, hopeless, rebuilt, suggest

RUNNING, SUCCEEDED = JobStatus.RUNNING, JobStatus.SUCCEEDED
SPACE = {
    "optimizer.lr": {"kind": "range", "low": 1e-4, "high": 1.0, "log": True},
    "training.batch_size": {"kind": "range", "low": 16, "high": 64, "integer": True},
    "model.widths": {"kind": "choice", "values": [[8], [16, 16], [32]]},
}


def a_search(**changes: Any) -> Search:
    return Search.model_validate({"space": SPACE} | changes)


def loss_of(params: dict[str, Any]) -> float:
    """Least, 0, at a learning rate of 0.01 and widths of [16, 16]."""
    from math import log10

    return abs(log10(params["optimizer.lr"]) + 2) + (params["model.widths"] != [16, 16])


def played(search: Search, count: int) -> list[Trial]:
    trials: list[Trial] = []
    for number in range(count):
        params = suggest(search, trials, number)
        trials.append(Trial(number, params, SUCCEEDED, loss_of(params)))
    return trials


def test_suggestions_stay_within_the_space_and_repeat_with_the_seed() -> None:
    first, again = played(a_search(), 14), played(a_search(), 14)
    assert first == again
    assert played(a_search(seed=1), 3) != first[:3]
    for trial in first:
        assert 1e-4 <= trial.params["optimizer.lr"] <= 1.0
        assert type(trial.params["training.batch_size"]) is int
        assert 16 <= trial.params["training.batch_size"] <= 64
        assert trial.params["model.widths"] in ([8], [16, 16], [32])
    assert len({trial.params["optimizer.lr"] for trial in first}) == 14


def test_the_sampler_learns_where_good_trials_are() -> None:
    guided = played(a_search(), 40)[20:]
    blind = played(a_search(sampler="random"), 40)[20:]
    mean = {
        name: sum(trial.value or 0 for trial in trials) / len(trials)
        for name, trials in (("guided", guided), ("blind", blind))
    }
    assert mean["guided"] < 0.7 * mean["blind"]


def test_trials_under_way_are_not_tried_again() -> None:
    trials = played(a_search(), 12)
    for number in range(12, 16):
        trials.append(Trial(number, suggest(a_search(), trials, number), RUNNING))
    rates = [trial.params["optimizer.lr"] for trial in trials[12:]]
    assert len(set(rates)) == 4


@pytest.mark.parametrize(
    "values", [[True, 1, "1", "true"], [None, 0.0, "none"], [{"kind": "sgd"}, {"kind": "adamw"}]]
)
def test_choices_come_back_as_they_were(values: list[Any]) -> None:
    search = a_search(space={"x": {"kind": "choice", "values": values}}, sampler="random")
    drawn = [suggest(search, [], number)["x"] for number in range(60)]
    assert {(type(value), str(value)) for value in drawn} == {
        (type(value), str(value)) for value in values
    }
    trials = [Trial(i, {"x": value}, SUCCEEDED, 1.0) for i, value in enumerate(drawn)]
    assert suggest(search, trials, 60)["x"] in values


def test_the_rebuilt_study_holds_every_trial_in_its_state() -> None:
    params = played(a_search(), 1)[0].params
    states = {
        JobStatus.SUCCEEDED: optuna.trial.TrialState.COMPLETE,
        JobStatus.FAILED: optuna.trial.TrialState.FAIL,
        JobStatus.CANCELED: optuna.trial.TrialState.FAIL,
        JobStatus.PRUNED: optuna.trial.TrialState.PRUNED,
        JobStatus.QUEUED: optuna.trial.TrialState.RUNNING,
        JobStatus.RUNNING: optuna.trial.TrialState.RUNNING,
    }
    trials = [
        Trial(i, params, status, 0.5 if status is SUCCEEDED else None, {1: 0.7})
        for i, status in enumerate(states)
    ]
    study = rebuilt(a_search(), trials)
    assert [trial.state for trial in study.trials] == list(states.values())
    assert study.best_value == 0.5


def test_the_best_follows_the_direction_of_the_score() -> None:
    trials = [Trial(i, {}, SUCCEEDED, value) for i, value in enumerate([0.3, 0.9, 0.1, 0.9])]
    lowest = best(a_search(), trials)
    highest = best(a_search(metric="roc_auc"), trials)
    assert lowest is not None
    assert highest is not None
    assert (lowest.number, highest.number) == (2, 1)
    assert best(a_search(), [Trial(0, {}, RUNNING)]) is None


def curves(*losses: float, status: JobStatus = RUNNING) -> list[Trial]:
    """Trials that have had the same loss for 16 epochs."""
    return [
        Trial(i, {}, status, None, dict.fromkeys(range(1, 17), loss))
        for i, loss in enumerate(losses)
    ]


def test_one_in_four_goes_on_from_a_rung() -> None:
    search = a_search(first_rung=4)
    assert hopeless(search, curves(0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1), 100) == []
    ended = hopeless(search, curves(0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8), 100)
    assert ended == [1, 2, 3, 4, 5, 6, 7]


def test_a_trial_that_has_not_reached_a_rung_goes_on() -> None:
    done = curves(0.1, 0.2, 0.3, 0.4, status=SUCCEEDED)
    early = Trial(4, {}, RUNNING, None, {1: 9.0, 3: 9.0})
    late = Trial(5, {}, RUNNING, None, {1: 9.0, 4: 9.0})
    assert hopeless(a_search(first_rung=4), [*done, early, late], 100) == [5]
    assert hopeless(a_search(first_rung=4, pruner="none"), [*done, early, late], 100) == []


@given(
    st.lists(st.floats(0, 1), min_size=1, max_size=12),
    st.integers(1, 4),
    st.integers(2, 5),
)
def test_the_best_running_trial_is_never_ended(
    losses: list[float], first: int, reduction: int
) -> None:
    ended = hopeless(a_search(first_rung=first, reduction=reduction), curves(*losses), 16)
    assert losses.index(min(losses)) not in ended


def test_rungs_take_the_first_epoch_that_is_not_before_them() -> None:
    losses = {1: 1.0, 3: 0.9, 9: 0.5, 20: 0.1}
    assert at_rungs(losses, 2, 3) == [(2, 0.9), (6, 0.5), (18, 0.1)]
    assert at_rungs({}, 1, 4) == []
