"""The learning rate range test (Smith, WACV 2017): train briefly while the rate grows."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from pellucid import plan
from pellucid.errors import TrainingFailed
from pellucid_pipelines import architectures, environment, initialization, losses
from pellucid_pipelines.data import Data
from pellucid_pipelines.loop import Fit
from pellucid_pipelines.rows import Rows
from pellucid_pipelines.tensors import seed_of

_SMOOTH = 0.9
_DIVERGED = 3.0  # times the lowest loss, in units of what a constant could lose
_FEWEST = 10


@dataclass(frozen=True)
class Range:
    """What a test found.

    Attributes:
        rates: (steps,) learning rates, growing.
        losses: (steps,) smoothed training losses.
        steepest: the rate where the loss fell fastest per decade.
        diverged: where it climbed out again, or None.
    """

    rates: npt.NDArray[np.float64]
    losses: npt.NDArray[np.float64]
    steepest: float
    diverged: float | None

    @property
    def suggested(self) -> float:
        """The steepest rate, but at most a tenth of where it diverged."""
        limit = math.inf if self.diverged is None else self.diverged / 10
        return min(self.steepest, limit)


def measure(
    spec: plan.Plan,
    examples: Data,
    *,
    low: float = 1e-6,
    high: float = 10.0,
    steps: int = 200,
) -> Range:
    """Train from the plan's start while the learning rate grows exponentially; nothing is kept.

    Args:
        spec: resolved.
        examples: prepared data.
        low, high: the rates.
        steps: how many, unless the loss diverges before.

    Raises:
        TrainingFailed: the loss is not finite from the very first steps.
    """
    device = environment.choose_device(spec.training.device)
    fit = _fit(spec, examples, device)
    rates, smoothed = [], []
    average = 0.0
    lowest, first = math.inf, math.nan
    diverged = None
    fit.network.train()
    for step, batch in enumerate(_endless(fit)):
        if step == steps:
            break
        rate = low * (high / low) ** (step / max(1, steps - 1))
        for group in fit.optimizer.param_groups:
            group["lr"] = rate * group.get("initial_lr", spec.optimizer.lr) / spec.optimizer.lr
        loss = fit.train_step(batch)[0].item()
        if math.isfinite(loss):
            average = _SMOOTH * average + (1 - _SMOOTH) * loss
            value = average / (1 - _SMOOTH ** (step + 1))
            first = value if step == 0 else first
            lowest = min(lowest, value)
            rates.append(rate)
            smoothed.append(value)
        if not math.isfinite(loss) or value > lowest + _DIVERGED * max(abs(first), 1e-12):
            diverged = rate
            break
    if len(rates) < _FEWEST:
        raise TrainingFailed(
            f"The loss is not finite after {len(rates)} steps at learning rates of "
            f"{low:g} and more.",
            where={"step": len(rates)},
            remedy="Look at the columns' scales, or choose a lower --low.",
        )
    return Range(np.array(rates), np.array(smoothed), _steepest(rates, smoothed), diverged)


def _steepest(rates: list[float], values: list[float]) -> float:
    """Where the loss falls fastest per decade, before its lowest point."""
    window = max(3, len(values) // 20)
    end = max(int(np.argmin(values)) + 1, window + 1)
    drops = [values[i + window] - values[i] for i in range(end - window)]
    return rates[int(np.argmin(drops)) + window // 2]


def _fit(spec: plan.Plan, examples: Data, device: torch.device) -> Fit:
    target, parts = examples.target, examples.parts
    assert spec.model is not None, "a resolved plan has a model"
    assert spec.loss is not None, "a resolved plan has a loss"
    torch.manual_seed(seed_of("network", spec.training.seed))
    features = examples.features(spec.training.seed)
    network = architectures.build(spec.model, features, target.outputs, target.link)
    initialization.initialize(network, spec.initialization, features.sample)
    weights = spec.training.class_weights
    return Fit(
        network,
        losses.build(spec.loss, target),
        examples.source(parts.train, weights),
        examples.rows(parts.validation, weights),
        spec,
        device=device,
    )


def _endless(fit: Fit) -> Iterator[Rows]:
    """Batches, epoch after epoch."""
    epoch = 0
    while True:
        torch.manual_seed(seed_of("epoch", fit.spec.training.seed, epoch))
        yield from fit.train.batches(
            fit.spec.training.batch_size,
            seed=fit.spec.training.seed,
            epoch=epoch,
            device=fit.device,
        )
        epoch += 1
