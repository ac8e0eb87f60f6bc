"""Learning rate schedules: a row for each kind of `plan.Schedule`.

A schedule is a pure function of the step and of the validation losses so far. It has no state, so
a resumed run goes on exactly where the interrupted one stopped.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

from pellucid import plan

Factor = Callable[[int, int, Sequence[float]], float]
"""(step from 0, steps of the whole run, losses of finished epochs) -> share of the plan's lr."""


def _constant(_spec: plan.Constant, _step: int, _steps: int, _losses: Sequence[float]) -> float:
    return 1.0


def _step(spec: plan.Step, step: int, steps: int, _losses: Sequence[float]) -> float:
    drops = math.floor(step / (spec.every * steps) + 1e-9)  # 3 * 0.1 is more than 0.3
    return spec.factor**drops


def _cosine(spec: plan.Cosine, step: int, steps: int, _losses: Sequence[float]) -> float:
    warmup = round(spec.warmup * steps)
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return spec.floor + (1 - spec.floor) * _half_cosine(done)


def _one_cycle(spec: plan.OneCycle, step: int, steps: int, _losses: Sequence[float]) -> float:
    # From 1/25 up to 1, then down to 1/250,000: the paper's shape in the form now common.
    start, end = 1 / 25, 1 / 250_000
    peak = spec.peak * steps
    if step < peak:
        return 1 - (1 - start) * _half_cosine(step / peak)
    return end + (1 - end) * _half_cosine((step - peak) / max(1.0, steps - peak))


def _warmup_stable_decay(
    spec: plan.WarmupStableDecay, step: int, steps: int, _losses: Sequence[float]
) -> float:
    warmup, decay = round(spec.warmup * steps), round(spec.decay * steps)
    up = (step + 1) / warmup if step < warmup else 1.0
    down = (steps - step) / (decay + 1) if step >= steps - decay else 1.0
    return min(up, down)


def _plateau(spec: plan.Plateau, _step: int, _steps: int, losses: Sequence[float]) -> float:
    best, waited, drops = math.inf, 0, 0
    for loss in losses:
        if loss < best:
            best, waited = loss, 0
        else:
            waited += 1
        if waited >= spec.patience:
            drops, waited = drops + 1, 0
    return spec.factor**drops


BUILDERS: dict[type[plan.Part], Callable[[Any, int, int, Sequence[float]], float]] = {
    plan.Constant: _constant,
    plan.Step: _step,
    plan.Cosine: _cosine,
    plan.OneCycle: _one_cycle,
    plan.WarmupStableDecay: _warmup_stable_decay,
    plan.Plateau: _plateau,
}


def factor(spec: plan.Schedule, step: int, steps: int, losses: Sequence[float]) -> float:
    """The share of the plan's learning rate at a step.

    Args:
        spec: the plan's schedule.
        step: counted from 0 over the whole run.
        steps: of the whole run.
        losses: validation losses of the finished epochs.
    """
    return BUILDERS[type(spec)](spec, step, steps, losses)


def _half_cosine(done: float) -> float:
    """From 1 at 0 down to 0 at 1."""
    return 0.5 * (1 + math.cos(math.pi * done))
