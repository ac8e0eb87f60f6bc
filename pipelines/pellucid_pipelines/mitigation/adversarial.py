"""A network whose outputs tell an adversary nothing of the group.

Zhang, Lemoine and Mitchell (AIES 2018), by gradient reversal (Ganin et al., JMLR 2016): the
adversary's gradient reaches the network with the opposite sign.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pellucid import plan
from pellucid_pipelines import losses
from pellucid_pipelines.distributed import World
from pellucid_pipelines.objectives import Objective
from pellucid_pipelines.rows import Rows

if TYPE_CHECKING:
    from pellucid_pipelines.loop import Fit


class _Reversed(torch.autograd.Function):
    """The identity, whose gradient is multiplied by -strength."""

    @staticmethod
    def forward(context: Any, values: Tensor, strength: float) -> Tensor:
        context.strength = strength
        return values.view_as(values)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -context.strength * gradients[0], None


class Adversarial(Objective):
    """The mean loss, less `strength` times the adversary's.

    The adversary sees the raw outputs, of an ensemble their mean. Rows without a group say nothing
    to it.

    Args:
        spec: of the adversary.
        groups: G.
        classes: K: for equalised odds it is told the class, and its product with the outputs; 1:
            it is not told.
        outputs: of the network.
        only: for equal opportunity it sees rows of this target alone.
    """

    def __init__(
        self,
        spec: plan.Adversarial,
        groups: int,
        classes: int,
        outputs: int,
        only: float | None = None,
    ) -> None:
        super().__init__()
        self.strength, self.only = spec.strength, only
        self.groups, self.classes = groups, classes
        width = outputs if classes == 1 else outputs + classes + outputs * classes
        self.adversary = nn.Sequential(
            nn.Linear(width, spec.width), nn.ReLU(), nn.Linear(spec.width, groups)
        )
        self.optimizer = torch.optim.AdamW(self.adversary.parameters(), lr=spec.lr)

    def of_batch(self, raw: Tensor, each: Tensor, rows: Rows, world: World) -> Tensor:
        """The mean loss in value; its gradient is the adversary's too, reversed in the network."""
        reversed_: Tensor = _Reversed.apply(raw, self.strength)  # type: ignore[no-untyped-call]
        fooled = self._loss(reversed_, rows)
        return losses.mean(each, rows.weights) + fooled - fooled.detach()

    def of_all(self, raw: Tensor, each: Tensor, rows: Rows) -> Tensor:
        """The mean loss, and `strength` times what the adversary knows beyond groups' shares."""
        with torch.no_grad():
            known = self._ignorance(rows) - self._loss(raw, rows)
        return losses.mean(each, rows.weights) + self.strength * known.clamp(min=0.0)

    def gradients_ready(self, fit: "Fit", norm: Tensor) -> None:
        """The adversary's own step."""
        parameters = list(self.adversary.parameters())
        fit.world.sum_gradients(parameters)
        fit.scaler.unscale_(self.optimizer)
        fit.scaler.step(self.optimizer)
        self.optimizer.zero_grad()

    def get_extra_state(self) -> dict[str, Any]:
        """The state of the adversary's optimizer, for checkpoints."""
        return self.optimizer.state_dict()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Go on from it."""
        self.optimizer.load_state_dict(state)

    def _loss(self, raw: Tensor, rows: Rows) -> Tensor:
        """The adversary's mean cross-entropy, in nats."""
        seen = raw.mean(dim=1) if raw.ndim == 3 else raw
        if self.classes > 1:
            truth = functional.one_hot(rows.targets.long(), self.classes).to(seen.dtype)
            product = (seen.unsqueeze(2) * truth.unsqueeze(1)).flatten(1)
            seen = torch.cat([seen, truth, product], dim=1)
        at, weight = self._asked(rows)
        each = functional.cross_entropy(self.adversary(seen), at, reduction="none")
        return (each * weight).sum() / weight.sum().clamp(min=1e-12)

    def _asked(self, rows: Rows) -> tuple[Tensor, Tensor]:
        """(N,) the groups to be told, and what each row counts."""
        assert rows.groups is not None, "a fair plan's rows have groups"
        known = rows.groups < self.groups
        if self.only is not None:
            known = known & (rows.targets == self.only)
        weight = known.float() if rows.weights is None else known * rows.weights
        return rows.groups.clamp(max=self.groups - 1), weight

    def _ignorance(self, rows: Rows) -> Tensor:
        """The cross-entropy of the groups' shares: of each class, where the class is told."""
        at, weight = self._asked(rows)
        truth = rows.targets.long() if self.classes > 1 else torch.zeros_like(at)
        cells = weight.new_zeros(self.classes * self.groups)
        cells = cells.index_add(0, truth * self.groups + at, weight).view(self.classes, -1)
        shares = cells / cells.sum(dim=1, keepdim=True).clamp(min=1e-12)
        return -torch.xlogy(cells, shares).sum() / cells.sum().clamp(min=1e-12)
