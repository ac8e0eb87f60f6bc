"""A small network that learnt the SHAP values: one forward pass instead of one per background row.

As FastSHAP (Jethani et al., 2022), but fitted to SHAP values themselves, which a linear pass gives
by the thousand (amortisation by regression; Covert et al., 2024). What its values miss of the
prediction is shared evenly by the columns (additive efficient normalisation; Ruiz et al., 1998),
so they always add up: it may be wrong in who did it, not in how much was done.
"""

import copy
import itertools
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from pellucid_pipelines.data import Data, drawn
from pellucid_pipelines.explain.attributions import Attribution
from pellucid_pipelines.explain.deepshap import Attributed
from pellucid_pipelines.explain.values import Explained
from pellucid_pipelines.features import Features

_WIDTHS = (128, 128)
_STEPS, _BATCH, _LR = 3000, 128, 3e-3
ROWS = 8192  # most training rows that it learns from


class Amortized(nn.Module):
    """Values by one pass through a student; tables only.

    Args:
        attribution: what it learns from; it has a copy of its network, in float32.
        features: what the network takes.
    """

    base: Tensor
    scale: Tensor

    def __init__(self, attribution: Attribution, features: Features) -> None:
        super().__init__()
        self.network = copy.deepcopy(attribution.module.get_submodule("network")).float()
        self.blocks = tuple(features.blocks.values())
        self.register_buffer("base", attribution.module.get_buffer("base").float())
        self.outputs = len(self.base)
        sizes = [features.shape[0], *_WIDTHS]
        layers: list[nn.Module] = []
        for before, width in itertools.pairwise(sizes):
            layers += [nn.Linear(before, width), nn.ReLU()]
        self.student = nn.Sequential(*layers, nn.Linear(sizes[-1], len(self.blocks) * self.outputs))
        self.register_buffer("scale", torch.ones(len(self.blocks), self.outputs))

    def forward(
        self, inputs: Tensor, chosen: Tensor | None = None, shares: Tensor | None = None
    ) -> Attributed:
        """See `Attributed`; a column's value stands at the first place of its block."""
        with torch.no_grad():
            raw = self.network(inputs)
        columns = self.by_column(inputs, raw)
        parts = [
            nn.functional.pad(columns[:, i : i + 1], (0, 0, 0, block.stop - block.start - 1))
            for i, block in enumerate(self.blocks)
        ]
        return raw, torch.cat(parts, dim=1), self.base

    def by_column(self, inputs: Tensor, raw: Tensor) -> Tensor:
        """(N, columns, outputs), which add up to the raw outputs (N, outputs) less the base."""
        guess = self.student(inputs).view(-1, len(self.blocks), self.outputs) * self.scale
        missing = raw - self.base - guess.sum(dim=1)
        values: Tensor = guess + missing.unsqueeze(1) / len(self.blocks)
        return values


@dataclass(frozen=True)
class Student:
    """A network that learnt SHAP values, and how near it comes to them on held-out rows."""

    module: Amortized
    errors: dict[str, float]


def taught(explained: Explained, examples: Data, seed: int) -> Student:
    """A student of a run's attribution, measured on the explained rows."""
    attribution, preprocessing = explained.attribution, examples.preprocessing
    assert attribution is not None, "a run's explanation has one"
    rows = examples.rows(drawn(examples.parts.train, ROWS, seed)).inputs.double()
    held_out = preprocessing(preprocessing.encode(explained.rows)).double()
    features = preprocessing.features
    student = learn(attribution, features, rows, seed)
    return Student(student, errors(student, attribution, features, held_out))


def learn(attribution: Attribution, features: Features, rows: Tensor, seed: int) -> Amortized:
    """Fit a student to the values of some training rows.

    Args:
        attribution: of a table.
        features: what its network takes.
        rows: (N, width) dense training rows.
        seed: of the student's weights and of the batches.
    """
    raw, values = attribution.values(rows)
    inputs, raw, wanted = rows.float(), raw.float(), _by_column(values, features).float()
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        student = Amortized(attribution, features)
    student.scale.copy_(wanted.std(dim=0, correction=0).clamp(min=1e-6))
    fitted = student.student.requires_grad_(True)
    optimizer = torch.optim.AdamW(fitted.parameters(), lr=_LR)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LR, total_steps=_STEPS)
    for _ in range(_STEPS):
        batch = torch.randint(len(inputs), (_BATCH,), generator=generator)
        given = student.by_column(inputs[batch], raw[batch])
        loss = ((given - wanted[batch]) / student.scale).square().mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return student.eval().requires_grad_(False)


def errors(
    student: Amortized, attribution: Attribution, features: Features, rows: Tensor
) -> dict[str, float]:
    """How near the student comes on held-out rows (N, width).

    Returns:
        `relative_error`: mean |difference| over mean |value|; `r2`: of all values together;
        `rank_correlation`: mean Spearman correlation over a row's columns.
    """
    _, values = attribution.values(rows)
    wanted = _by_column(values, features).numpy()
    with torch.no_grad():
        given = student.by_column(rows.float(), student.network(rows.float())).numpy()
    difference = given - wanted
    ranks = [
        spearmanr(given[i, :, k], wanted[i, :, k]).statistic
        for i in range(len(wanted))
        for k in range(wanted.shape[2])
        if np.ptp(wanted[i, :, k]) > 0 and np.ptp(given[i, :, k]) > 0
    ]
    size = max(float(np.abs(wanted).mean()), 1e-12)
    spread = max(float(((wanted - wanted.mean(axis=0)) ** 2).sum()), 1e-12)
    return {
        "relative_error": float(np.abs(difference).mean()) / size,
        "r2": 1 - float((difference**2).sum()) / spread,
        "rank_correlation": float(np.mean(ranks)) if ranks else 1.0,
    }


def _by_column(values: Tensor, features: Features) -> Tensor:
    """(N, width, outputs) -> (N, columns, outputs)."""
    return torch.stack([values[:, block].sum(dim=1) for block in features.blocks.values()], dim=1)
