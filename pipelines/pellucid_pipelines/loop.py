"""The training loop: fit -> run_epoch -> train_step.

All that changes while it runs is in the network, the optimizer, the scaler and `State`; random
numbers are seeded anew for every epoch. A run that starts again from those four goes on exactly
as the undisturbed one would have, bit by bit on the same CPU.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from pellucid import plan
from pellucid.errors import InvalidPlan, TrainingFailed
from pellucid_pipelines import losses, optimizers, schedules
from pellucid_pipelines.callbacks import EVENTS, Callback
from pellucid_pipelines.distributed import World
from pellucid_pipelines.objectives import Objective
from pellucid_pipelines.regularization import Average, Penalties, mixed
from pellucid_pipelines.rows import Rows, Source
from pellucid_pipelines.tensors import seed_of

_ROWS = 2**12  # at most at once outside training: an ensemble computes each many times
_CHUNK = 2**18  # numbers that enter a forward pass outside training


@dataclass
class State:
    """How far a run has come. `best_epoch` counts from 1."""

    epoch: int = 0  # finished epochs
    losses: list[float] = field(default_factory=list)  # validation loss of each
    best_epoch: int = 0
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    stopped: bool = False
    memory: dict[str, Any] = field(default_factory=dict)  # callbacks' own, plain values

    @property
    def best_loss(self) -> float:
        """The lowest validation loss so far."""
        return self.losses[self.best_epoch - 1] if self.best_epoch else math.inf


class Fit:
    """Fits a network to rows under a plan; callbacks hear of every step and epoch.

    Args:
        network: (N, ...) -> raw outputs (N, outputs).
        loss: (N, outputs) raw outputs and targets -> (N,) losses.
        train: rows to learn from; where they are streamed, their inputs are never all in memory.
        validation: rows that choose when to stop.
        spec: the plan.
        device: where the network and the rows live.
        watch: (rows, outputs) raw validation outputs -> scores.
        callbacks: told in this order.
        augment: changes the inputs of a training batch, with torch's global random numbers.
        world: this process among those that train the network together.
        objective: what of the rows' losses is to be least; the mean by default.

    Raises:
        InvalidPlan: a batch leaves batch normalisation a single row.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: losses.Loss,
        train: Source,
        validation: Rows,
        spec: plan.Plan,
        *,
        device: torch.device,
        watch: Callable[[Tensor], dict[str, float]] = lambda _raw: {},
        callbacks: Sequence[Callback] = (),
        augment: Callable[[Tensor], Tensor] | None = None,
        world: World = World(),  # noqa: B008 - immutable
        objective: Objective | None = None,
    ) -> None:
        self.network = network.to(device)
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        self.loss = loss
        self.validation = validation.to(device)
        resident = fits(train.bytes, spec.training.data_in, device)
        self.train = train.to(device) if resident else train
        self.spec = spec
        self.device = device
        self.watch = watch
        self.callbacks = callbacks
        self.augment = augment
        self.world = world
        self.objective = (objective or Objective()).to(device)
        decay = spec.transfer.layer_decay if spec.transfer else 1.0
        self.optimizer = optimizers.build(spec.optimizer, network, decay)
        self.lr = spec.optimizer.lr  # of the last layer, now
        self.dtype = precision(spec.training.precision, device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype is torch.float16)
        regular = spec.regularization
        self.penalties = Penalties(regular, network) if regular.l1 or regular.l2 else None
        self.average = Average(network, regular.ema) if regular.ema else None
        self.steps = self.train.steps(spec.training.batch_size)  # per epoch
        self.state = State()
        told = (self.objective, *callbacks)
        self._heard = {event: _listeners(told, event) for event in EVENTS}
        self._frozen_norms = _frozen_norms(network)
        _require_rows_for_all(network, len(train) // self.steps, world.size)

    def run(self) -> State:
        """Train until the last epoch, or until a callback stops it."""
        self._notify("fit_started")
        try:
            while not self.state.stopped and self.state.epoch < self.spec.training.epochs:
                self.run_epoch()
        except TrainingFailed as error:
            self._notify("failed", error)
            raise
        self._notify("fit_ended")
        return self.state

    def run_epoch(self) -> None:
        """Every training row once, then the validation rows."""
        training, epoch = self.spec.training, self.state.epoch
        torch.manual_seed(self.world.seed(seed_of("epoch", training.seed, epoch)))
        self.network.train()
        for norm in self._frozen_norms:
            norm.eval()
        trace = torch.empty(self.steps, 2, device=self.device)  # loss, gradient norm
        batches = self.train.batches(
            training.batch_size, seed=training.seed, epoch=epoch, device=self.device
        )
        for step, batch in enumerate(batches):
            self.set_lr(epoch * self.steps + step)
            trace[step, 0], trace[step, 1] = self.train_step(batch)
            self._notify("step_ended", step + 1, trace)
        self.end_epoch(trace)

    def train_step(self, batch: Rows) -> tuple[Tensor, Tensor]:
        """One update. Returns its loss and the gradient's norm before clipping, unsynchronised."""
        self._notify("step_started", batch)
        mine = self.world.share(batch)
        loss = self.batch_loss(mine)
        if mine is not batch:
            loss = loss * (len(mine) / len(batch))
        for parameter in self.parameters:  # as optimizer.zero_grad does, at a tenth of its time
            parameter.grad = None
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.world.sum_gradients(self.parameters)
        self.scaler.unscale_(self.optimizer)
        if self.penalties is not None:
            self.penalties.add_gradients()
        norm = self.clip_gradients()
        self._notify("gradients_ready", norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update()
        return self.world.sum(loss.detach()), norm

    def batch_loss(self, batch: Rows) -> Tensor:
        """The mean loss of a training batch, augmented and mixed as the plan says."""
        if self.augment is not None:
            batch = replace(batch, inputs=self.augment(batch.inputs))
        strength = self.spec.regularization.mixup
        if not strength:
            return self._mean_loss(self.forward(batch.inputs), batch)
        first, second, share = mixed(batch, strength, self.spec.modality)
        raw = self.forward(first.inputs)
        return share * self._mean_loss(raw, first) + (1 - share) * self._mean_loss(raw, second)

    def forward(self, inputs: Tensor) -> Tensor:
        """Raw outputs in fp32 of a forward pass in the plan's precision."""
        if self.dtype is torch.float32:
            raw: Tensor = self.network(inputs)
            return raw
        with torch.autocast(self.device.type, self.dtype):
            raw = self.network(inputs)
        return raw.float()

    def _mean_loss(self, raw: Tensor, rows: Rows) -> Tensor:
        each = losses.per_row(self.loss, raw, rows.targets)
        return self.objective.of_batch(raw, each, rows, self.world)

    def clip_gradients(self) -> Tensor:
        """Scale the gradient down to the plan's largest norm; returns the norm it had."""
        gradients = [p.grad for p in self.parameters if p.grad is not None]
        norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
        largest = self.spec.training.clip_norm
        # To compare would wait for a device; on the CPU it saves a pass over the gradients.
        if largest is not None and (self.device.type != "cpu" or norm > largest):
            torch._foreach_mul_(gradients, (largest / (norm + 1e-6)).clamp(max=1.0))
        return norm

    def set_lr(self, step: int) -> None:
        """The schedule's learning rate at a step of the whole run, from 0."""
        total = self.spec.training.epochs * self.steps
        factor = schedules.factor(self.spec.schedule, step, total, self.state.losses)
        self.lr = self.spec.optimizer.lr * factor
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * factor

    def end_epoch(self, trace: Tensor) -> None:
        """Check and report what the epoch achieved.

        Raises:
            TrainingFailed: a loss is not finite; names the epoch and the step.
        """
        state = self.state
        loss, norm = trace.mean(dim=0).tolist()
        if not math.isfinite(loss):
            step = int(torch.isfinite(trace[:, 0]).logical_not().nonzero()[0]) + 1
            raise _diverged("training", trace[step - 1, 0].item(), state.epoch + 1, step)
        metrics = {"train/loss": loss, **self.validate()}
        metrics |= {"lr": self.lr, "gradient_norm": norm}
        if not math.isfinite(metrics["validation/loss"]):
            raise _diverged("validation", metrics["validation/loss"], state.epoch + 1, self.steps)
        state.epoch += 1
        state.losses.append(metrics["validation/loss"])
        self._notify("epoch_ended", metrics)

    @property
    def judged(self) -> nn.Module:
        """The network that is validated and kept: of averaged weights, where the plan asks so."""
        return self.network if self.average is None else self.average.network

    def validate(self) -> dict[str, float]:
        """The loss and the watched scores on the validation rows."""
        self.world.agree(self.judged)
        raw = predict(self.judged, self.validation.inputs)
        each = self.loss(raw, self.validation.targets)
        loss = self.objective.of_all(raw, each, self.validation)
        scores = {f"validation/{name}": value for name, value in self.watch(raw).items()}
        return {"validation/loss": loss.item(), **scores}

    def state_dict(self) -> dict[str, Any]:
        """Everything a run needs to go on, as tensors and plain values."""
        saved = {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "state": vars(self.state),
        }
        if objective := self.objective.state_dict():
            saved["objective"] = objective
        return saved if self.average is None else saved | {"average": self.average.state_dict()}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.network.load_state_dict(saved["network"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scaler.load_state_dict(saved["scaler"])
        self.state = State(**saved["state"])
        if "objective" in saved:
            self.objective.load_state_dict(saved["objective"])
        if self.average is not None:
            self.average.load_state_dict(saved["average"])

    def _notify(self, event: str, *details: Any) -> None:
        for listener in self._heard[event]:
            listener(self, *details)


@torch.inference_mode()
def predict(network: nn.Module, inputs: Tensor) -> Tensor:
    """(N, ...) -> (N, outputs) raw, in fp32 and evaluation mode."""
    network.eval()
    rows = min(_ROWS, max(1, _CHUNK // max(1, inputs[:1].numel())))
    return torch.cat([network(chunk) for chunk in torch.split(inputs, rows)])


def fits(size: int, asked: str, device: torch.device) -> bool:
    """Whether rows of so many bytes live on the device; `auto` leaves half of it free."""
    if asked == "auto" and device.type == "cuda":
        return size <= torch.cuda.mem_get_info(device)[0] // 2
    return asked not in ("host", "stream")


def precision(asked: str, device: torch.device) -> torch.dtype:
    """The type of the forward pass in training; validation and export are always fp32."""
    if asked == "auto":
        native = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if native else torch.float32
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[asked]


def _listeners(callbacks: Sequence[Callback], event: str) -> list[Callable[..., None]]:
    """What is called at an event: no callback that leaves it as it is."""
    idle = getattr(Callback, event)
    return [getattr(each, event) for each in callbacks if getattr(type(each), event) is not idle]


def _frozen_norms(network: nn.Module) -> list[nn.Module]:
    """Norms that are not trained: their running statistics stay as they are, too."""
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    return [m for m in norms if m.affine and not any(p.requires_grad for p in m.parameters())]


def _diverged(part: str, value: float, epoch: int, step: int) -> TrainingFailed:
    return TrainingFailed(
        f"The {part} loss became {value} in epoch {epoch}, step {step}.",
        where={"epoch": epoch, "step": step},
        remedy="Lower optimizer.lr or training.clip_norm, set training.precision to fp32, or set "
        "preprocessing.numeric to quantile if a column holds extreme values.",
    )


def _require_rows_for_all(network: nn.Module, rows: int, processes: int) -> None:
    """`rows` of the smallest batch are enough for every process, and for batch normalisation."""
    norms = any(isinstance(module, nn.BatchNorm1d) for module in network.modules())
    if rows < processes:
        raise InvalidPlan(
            f"A batch of {rows} rows leaves some of {processes} processes none.",
            where={"path": "training.batch_size"},
            remedy="Raise training.batch_size, or train with fewer processes.",
        )
    if norms and rows // processes < 2:
        raise InvalidPlan(
            "Batch normalisation needs 2 rows in every batch, and in every process's share of it; "
            f"here one has {rows // processes}.",
            where={"path": "training.batch_size"},
            remedy="Raise training.batch_size, or set model.norm to layer or none.",
        )
