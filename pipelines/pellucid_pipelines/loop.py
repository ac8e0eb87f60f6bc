"""The training loop: fit -> run_epoch -> train_step.

All that changes while it runs is in the network, the optimizer, the scaler and `State`; random
numbers are seeded anew for every epoch. A run that starts again from those four goes on exactly
as the undisturbed one would have, bit by bit on the same CPU.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from pellucid import plan
from pellucid.errors import InvalidPlan, TrainingFailed
from pellucid_pipelines import losses, optimizers, schedules
from pellucid_pipelines.callbacks import Callback
from pellucid_pipelines.tensors import Rows, seed_of

_CHUNK = 65_536  # rows per forward pass outside training


@dataclass
class State:
    """How far a run has come. `best_epoch` counts from 1."""

    epoch: int = 0  # finished epochs
    losses: list[float] = field(default_factory=list)  # validation loss of each
    best_epoch: int = 0
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    stopped: bool = False

    @property
    def best_loss(self) -> float:
        """The lowest validation loss so far."""
        return self.losses[self.best_epoch - 1] if self.best_epoch else math.inf


class Fit:
    """Fits a network to rows under a plan; callbacks hear of every step and epoch."""

    def __init__(
        self,
        network: nn.Module,
        loss: losses.Loss,
        train: Rows,
        validation: Rows,
        spec: plan.Plan,
        *,
        device: torch.device,
        watch: Callable[[Tensor], dict[str, float]] = lambda _raw: {},
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.network = network.to(device)
        self.parameters = list(network.parameters())
        self.loss = loss
        self.train, self.validation = train.to(device), validation.to(device)
        self.spec = spec
        self.device = device
        self.watch = watch  # (rows, outputs) raw validation outputs -> scores
        self.callbacks = callbacks
        self.optimizer = optimizers.build(spec.optimizer, network)
        self.dtype = precision(spec.training.precision, device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype is torch.float16)
        self.steps = self.train.steps(spec.training.batch_size)  # per epoch
        self.state = State()
        _require_batches_for_norm(network, len(train), self.steps)

    def run(self) -> State:
        """Train until the last epoch, or until a callback stops it."""
        self._notify("fit_started")
        while not self.state.stopped and self.state.epoch < self.spec.training.epochs:
            self.run_epoch()
        self._notify("fit_ended")
        return self.state

    def run_epoch(self) -> None:
        """Every training row once, then the validation rows."""
        training, epoch = self.spec.training, self.state.epoch
        torch.manual_seed(seed_of("epoch", training.seed, epoch))
        self.network.train()
        trace = torch.empty(self.steps, 2, device=self.device)  # loss, gradient norm
        batches = self.train.batches(training.batch_size, seed=training.seed, epoch=epoch)
        for step, batch in enumerate(batches):
            self.set_lr(epoch * self.steps + step)
            trace[step, 0], trace[step, 1] = self.train_step(batch)
            self._notify("step_ended", step + 1, trace)
        self.end_epoch(trace)

    def train_step(self, batch: Rows) -> tuple[Tensor, Tensor]:
        """One update. Returns its loss and the gradient's norm before clipping, unsynchronised."""
        self._notify("step_started", batch)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            raw = self.network(batch.inputs)
        rows = losses.per_row(self.loss, raw.float(), batch.targets)
        loss = losses.mean(rows, batch.weights)
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.scaler.unscale_(self.optimizer)
        norm = self.clip_gradients()
        self._notify("gradients_ready", norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss.detach(), norm

    def clip_gradients(self) -> Tensor:
        """Scale the gradient down to the plan's largest norm; returns the norm it had."""
        norm = nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None])
        if self.spec.training.clip_norm is not None:
            nn.utils.clip_grads_with_norm_(self.parameters, self.spec.training.clip_norm, norm)
        return norm

    def set_lr(self, step: int) -> None:
        """The schedule's learning rate at a step of the whole run, from 0."""
        total = self.spec.training.epochs * self.steps
        factor = schedules.factor(self.spec.schedule, step, total, self.state.losses)
        for group in self.optimizer.param_groups:
            group["lr"] = self.spec.optimizer.lr * factor

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
        metrics |= {"lr": self.optimizer.param_groups[0]["lr"], "gradient_norm": norm}
        if not math.isfinite(metrics["validation/loss"]):
            raise _diverged("validation", metrics["validation/loss"], state.epoch + 1, self.steps)
        state.epoch += 1
        state.losses.append(metrics["validation/loss"])
        self._notify("epoch_ended", metrics)

    def validate(self) -> dict[str, float]:
        """The loss and the watched scores on the validation rows."""
        raw = predict(self.network, self.validation.inputs)
        loss = losses.mean(self.loss(raw, self.validation.targets), self.validation.weights)
        scores = {f"validation/{name}": value for name, value in self.watch(raw).items()}
        return {"validation/loss": loss.item(), **scores}

    def state_dict(self) -> dict[str, Any]:
        """Everything a run needs to go on, as tensors and plain values."""
        return {
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "state": vars(self.state),
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self.network.load_state_dict(saved["network"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scaler.load_state_dict(saved["scaler"])
        self.state = State(**saved["state"])

    def _notify(self, event: str, *details: Any) -> None:
        for callback in self.callbacks:
            getattr(callback, event)(self, *details)


@torch.inference_mode()
def predict(network: nn.Module, inputs: Tensor) -> Tensor:
    """(N, ...) -> (N, outputs) raw, in fp32 and evaluation mode."""
    network.eval()
    return torch.cat([network(chunk) for chunk in torch.split(inputs, _CHUNK)])


def precision(asked: str, device: torch.device) -> torch.dtype:
    """The type of the forward pass in training; validation and export are always fp32."""
    if asked == "auto":
        native = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if native else torch.float32
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[asked]


def _diverged(part: str, value: float, epoch: int, step: int) -> TrainingFailed:
    return TrainingFailed(
        f"The {part} loss became {value} in epoch {epoch}, step {step}.",
        where={"epoch": epoch, "step": step},
        remedy="Lower optimizer.lr or training.clip_norm, set training.precision to fp32, or set "
        "preprocessing.numeric to quantile if a column holds extreme values.",
    )


def _require_batches_for_norm(network: nn.Module, rows: int, steps: int) -> None:
    norms = any(isinstance(module, nn.BatchNorm1d) for module in network.modules())
    if norms and rows // steps < 2:
        raise InvalidPlan(
            f"Batch normalisation needs 2 rows in every batch; {rows} rows in {steps} batches "
            "leave one with a single row.",
            where={"path": "training.batch_size"},
            remedy="Raise training.batch_size, or set model.norm to layer or none.",
        )
