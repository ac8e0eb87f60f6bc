"""How good a run's explanations are, measured on some of the held-out rows.

Local accuracy is that of the values that the run hands on. Everything else compares a method with
the network itself, on a few rows and as many background rows as the network's cost allows: the
method is built anew against these, so that both answer the same question. See
`pellucid.analysis.faithfulness` for the measures and `mixing` for what is hidden.
"""

import copy
import math
import sys
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from pellucid.analysis import faithfulness, games
from pellucid.analysis.calibration import Floats, Integers
from pellucid_pipelines.explain.attributions import Attribution
from pellucid_pipelines.explain.gradients import grid
from pellucid_pipelines.explain.mixing import Game, Mixing, operations, players_of
from pellucid_pipelines.explain.values import Explained
from pellucid_pipelines.features import Features
from pellucid_pipelines.loop import predict
from pellucid_pipelines.preprocessing import Preprocessing
from pellucid_pipelines.tensors import Target, seed_of

_ORDERS, _POINTS = 4, 16  # of curves
_SETS = 32  # of players to hide
_EXACT = 8  # players of a game that is solved exactly
_WORTHS = (2 + _ORDERS) * (_POINTS + 1) + _SETS + 1 + 2**_EXACT  # of a row, at most
_NOISE = 0.05  # standard deviations
_PATHS = 48  # points on the paths to all background rows together: more change no ranking
_FEWEST = 4  # background rows


@dataclass(frozen=True)
class _Effort:
    """How much is measured.

    Attributes:
        rows: held-out ones.
        noisy: draws of noise.
        redrawn: networks with other weights.
        operations: floating-point ones for the worths of all rows, which a core does in two or
            three seconds; decides how many background rows there are.
    """

    rows: int
    noisy: int
    redrawn: int
    operations: float


_THOROUGH = _Effort(rows=16, noisy=5, redrawn=8, operations=6e10)
_BRIEF = _Effort(rows=8, noisy=2, redrawn=3, operations=8e10)  # of a network that is slow
_SLOW = 1e6  # operations for a row


def measure(
    network: nn.Module,
    preprocessing: Preprocessing,
    target: Target,
    explained: Explained,
    background: pa.Table,
    weights: Floats,
    seed: int,
) -> dict[str, float]:
    """The scores of `pellucid.analysis.explanation_scores` that are defined here.

    Left out are sensitivity where nothing in a row can change a little (texts; categories only),
    and the likeness under random weights of fewer than four players.

    Args:
        network: (N, *features.shape) -> raw (N, outputs).
        preprocessing: as fitted.
        target: as fitted.
        explained: held-out rows, their values, and the attribution that is served.
        background: the raw rows compared to.
        weights: (B,) what each of them counts for, adding up to 1.
        seed: of the rows, the noise and the weights that are drawn.
    """
    found = explained.attribution
    assert found is not None, "only what a network explained has none"
    features = preprocessing.features
    generator = np.random.default_rng(seed_of("explanation quality", seed))
    model = copy.deepcopy(network).cpu().float().eval().requires_grad_(False)
    picked = generator.permutation(len(explained.rows))[: _THOROUGH.rows]
    inputs = preprocessing(preprocessing.encode(explained.rows.take(picked)))
    cost = operations(model, features, inputs)
    effort = _THOROUGH if cost < _SLOW else _BRIEF
    inputs = inputs[: effort.rows]
    affordable = int(effort.operations / (cost * len(inputs) * _WORTHS))
    kept, counted = _thinned(weights, max(_FEWEST, affordable), generator)
    beside = preprocessing(preprocessing.encode(background.take(kept)))
    raw = predict(model, inputs)
    chosen = raw.argmax(dim=1) if target.classes else torch.zeros(len(raw)).long()
    method = _Method(found, features, beside, counted, chosen)
    mixing = Mixing(model, features, beside, counted)
    mixed = [mixing.game(row, int(output)) for row, output in zip(inputs, chosen, strict=True)]
    values = method.values(model, inputs)
    gaps = faithfulness.gap(explained.values, explained.base, explained.prediction)
    scores = {
        **dict(zip(("gap", "relative_gap"), map(_number, gaps), strict=True)),
        **_against_worths(mixed, values, generator),
        "sensitivity": _sensitivity(method, model, inputs, values, effort.noisy, generator),
        "randomization": _likeness(method, model, inputs, values, mixed, effort.redrawn, generator),
    }
    return {name: value for name, value in scores.items() if math.isfinite(value)}


def _number(gap: float) -> float:
    """A gap that is no number is not left out: it is the largest there is."""
    return gap if math.isfinite(gap) else sys.float_info.max


class _Method:
    """An attribution against other background rows, its values summed for each player."""

    def __init__(
        self,
        found: Attribution,
        features: Features,
        background: Tensor,
        weights: Tensor,
        chosen: Tensor,
    ) -> None:
        self.features, self.background = features, background
        self._attribution, self._weights, self._chosen = type(found.module), weights, chosen
        self._shares = grid(math.ceil(_PATHS / len(background))) if found.steps else None
        places = players_of(features)
        if features.modality == "image":
            places = places[..., 0, :, :]  # one value for all channels
        elif features.modality == "sequence":
            places = places[:, :-1]
        self._players = np.eye(places.max() + 1)[places.ravel()]

    def values(self, model: nn.Module, inputs: Tensor) -> Floats:
        """(N, *shape) to (N, players), for the chosen output of each row."""
        built = self._attribution(model, self.features, self.background, self._weights)
        tabular = self.features.modality == "tabular"
        _, found, _ = built(inputs, None if tabular else self._chosen, self._shares)
        if tabular:
            found = found[torch.arange(len(inputs)), :, self._chosen]
        flat = found.detach().double().numpy().reshape(len(inputs), -1)
        if flat.shape[1] != len(self._players):
            return np.asarray(flat)  # per raw column as it is
        return np.asarray(flat @ self._players)


def _thinned(weights: Floats, most: int, generator: np.random.Generator) -> tuple[Integers, Tensor]:
    """Background rows and their weights: all, or a sample in which each weighs the same."""
    if len(weights) <= most:
        return np.arange(len(weights)), torch.from_numpy(weights).float()
    count = min(most, int(np.count_nonzero(weights)))
    kept = generator.choice(len(weights), count, replace=False, p=weights / weights.sum())
    return np.sort(kept), torch.full((count,), 1 / count)


def _against_worths(
    rows: list[Game], values: Floats, generator: np.random.Generator
) -> dict[str, float]:
    """Agreement, deletion, insertion and infidelity."""
    agreement, curves, errors = [], [], []
    for (worth, players), every in zip(rows, values, strict=True):
        own = every[players]
        few, joined = games.joined(worth, own, _EXACT)
        exact = games.shapley_values(few, len(joined))
        agreement.append(faithfulness.spearman(joined, exact))
        curves.append(faithfulness.curves(worth, own, generator, _ORDERS, _POINTS))
        hidden = games.random_sets(len(own), _SETS, generator)
        errors.append(faithfulness.infidelity(worth, own, hidden))
    deletion, insertion = faithfulness.against_chance(curves)
    missed, moved = np.sum(errors, axis=0)
    return {
        "shapley_agreement": _mean(np.array(agreement)),
        "deletion": deletion,
        "insertion": insertion,
        "infidelity": float(missed / moved) if moved > 0 else math.nan,
    }


def _sensitivity(
    method: _Method,
    model: nn.Module,
    inputs: Tensor,
    values: Floats,
    draws: int,
    generator: np.random.Generator,
) -> float:
    """Mean over the rows of `max_sensitivity`; NaN where no noise is small."""
    reach = _NOISE * _spread(method.features, method.background)
    if not reach.any():
        return math.nan
    noisy = []
    for _ in range(draws):
        noise = torch.from_numpy(generator.uniform(-1, 1, size=inputs.shape)) * reach
        if method.features.modality == "sequence":
            noise *= inputs[..., -1:]  # only where there is a step
        moved = inputs + noise
        if not inputs.is_floating_point():
            moved = moved.round().clamp(0, 255)
        noisy.append(method.values(model, moved.to(inputs.dtype)))
    return _mean(faithfulness.max_sensitivity(values, np.stack(noisy)))


def _spread(features: Features, background: Tensor) -> Tensor:
    """(*shape), or what broadcasts to it: deviations of what is a number on a scale, else 0."""
    if features.modality == "text":
        return torch.zeros(1)
    given = background.double()
    if features.modality == "image":
        return given.std(correction=0)
    if features.modality == "sequence":
        spread = given[given[..., -1] > 0.5].std(dim=0, correction=0).nan_to_num()
        spread[-1] = 0.0
        return spread
    numeric = torch.zeros(features.shape, dtype=torch.float64)
    numeric[list(features.numeric)] = 1.0
    return numeric * given.std(dim=0, correction=0)


def _likeness(
    method: _Method,
    model: nn.Module,
    inputs: Tensor,
    values: Floats,
    rows: list[Game],
    draws: int,
    generator: np.random.Generator,
) -> float:
    """Mean over rows and draws of the likeness of rankings; NaN where it is never defined."""
    redrawn = np.stack([method.values(_redrawn(model, generator), inputs) for _ in range(draws)])
    found = [
        faithfulness.likeness(values[i, players], redrawn[:, i, players])
        for i, (_, players) in enumerate(rows)
    ]
    return _mean(np.concatenate(found))


@torch.no_grad()
def _redrawn(network: nn.Module, generator: np.random.Generator) -> nn.Module:
    """A copy whose parameters are normal, each with the mean and deviation that it had."""
    other = copy.deepcopy(network)
    random = torch.Generator().manual_seed(int(generator.integers(2**62)))
    for parameter in other.parameters():
        deviation = float(parameter.std(correction=0))
        parameter.normal_(float(parameter.mean()), deviation, generator=random)
    return other


def _mean(values: Floats) -> float:
    """Of those that are defined; NaN of none."""
    defined = values[np.isfinite(values)]
    return float(defined.mean()) if len(defined) else math.nan
