"""Watch a fit from the inside, and tell what goes wrong as a finding.

Few steps are measured: 0, 1, 2, 4, 8, 16, 32, 64 and then every 64th. Only for these are there
hooks in the network, and what they measure stays on the device until the epoch has ended. All that
later epochs need is in `fit.state.memory`, which a checkpoint carries.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from pellucid.errors import TrainingFailed
from pellucid_pipelines.callbacks import Callback
from pellucid_pipelines.diagnostics import (
    KINDS,
    Finding,
    curves,
    found,
    layers,
    probes,
    start,
    trace,
)
from pellucid_pipelines.diagnostics.findings import RANK
from pellucid_pipelines.features import Features
from pellucid_pipelines.journal import Journal
from pellucid_pipelines.loop import Fit
from pellucid_pipelines.rows import Rows
from pellucid_pipelines.tensors import Target

EVERY = 64  # steps
_GISTS = 256  # kept at most
_ROWS = 64  # in a batch from which a unit is called dead
_MEMORY = "diagnostics"


class Diagnosing(Callback):
    """Findings as events and, with per-layer numbers, as metrics; must come before checkpoints.

    Args:
        journal: hears of findings and numbers.
        features: what the inputs are.
        target: what is predicted.
    """

    def __init__(self, journal: Journal, features: Features, target: Target) -> None:
        self.journal, self.features, self.target = journal, features, target
        self._batch: Rows | None = None
        self._sample: probes.Sample | None = None
        self._samples: list[probes.Sample] = []
        self._before: list[Tensor] = []
        self._norms: Iterable[Tensor] = ()

    def fit_started(self, fit: Fit) -> None:
        """Learn what there is to watch."""
        self._modules = probes.activations(fit.network)
        self._weights = probes.weights(fit.network)
        self._sizes = {
            name: layers.Size(p.numel(), p[0].numel()) for name, p in self._weights.items()
        }
        self._strict = fit.device.type == "cpu" and not fit.scaler.is_enabled()
        self._step: int | None = None  # of the whole run

    def step_started(self, fit: Fit, batch: Rows) -> None:
        """Before the first step look at rows and start; before a sampled one set hooks."""
        if self._step is None:  # the checkpoint, if there is one, was loaded after `fit_started`
            self._step = fit.state.epoch * fit.steps
            if self._step == 0 and not fit.state.memory.get(_MEMORY):
                self._begin(fit)
        self._batch = batch
        if self._step % EVERY == 0 or (self._step < EVERY and self._step.bit_count() == 1):
            self._sample = probes.Sample(self._step)
            self._handles = probes.attach(self._modules, self._sample.activation)

    def gradients_ready(self, fit: Fit, norm: Tensor) -> None:
        """Stop where a gradient is not finite, while its cause is still at hand.

        On CUDA asking would wait for the device: there the epoch's end tells.
        """
        if self._strict and not math.isfinite(norm.item()):
            self._fail(fit)
        if self._sample is not None:
            probes.detach(self._handles)
            kept = {n: p for n, p in self._weights.items() if p.grad is not None}
            self._watched = kept
            self._before = [p.detach().clone() for p in kept.values()]
            gradients = [p.grad for p in kept.values() if p.grad is not None]
            self._norms = torch._foreach_norm(gradients) if gradients else ()

    def step_ended(self, fit: Fit, step: int, trace: Tensor) -> None:
        """Complete the sample."""
        assert self._step is not None
        self._step += 1
        if self._sample is not None:
            if self._before:
                self._sample.weight = probes.weight_summary(
                    self._watched, self._before, list(self._norms)
                )
            self._samples.append(self._sample)
            self._sample = None
            self._rows = len(self._batch.targets) if self._batch else 0

    def epoch_ended(self, fit: Fit, metrics: dict[str, float]) -> None:
        """Bring the samples over, keep their gist, and apply the rules that can speak already."""
        memory = self._memory(fit)
        epoch = fit.state.epoch
        memory["train"].append(metrics["train/loss"])
        numbers: probes.Numbers = {}
        for sample in self._samples:
            numbers = sample.numbers()
            gist = layers.gist(sample.step, numbers, self._sizes)
            if gist is not None:
                memory["gists"].append(list(gist))
        if self._samples:
            if len(memory["gists"]) > _GISTS:  # every second of the later ones is enough
                memory["gists"][16:] = memory["gists"][16::2]
            self._spool(numbers, epoch)
            self._tell(fit, layers.saturated(self._twice(fit, numbers, "saturated_share"), epoch))
            if self._rows >= _ROWS:
                shares = self._twice(fit, numbers, "dead_share")
                self._tell(fit, layers.dead(shares, epoch, self._rows))
            memory["last"] = numbers
        clip = fit.spec.training.clip_norm
        self._tell(fit, layers.exploding(metrics["gradient_norm"], clip, numbers, epoch))
        self._samples = []
        if epoch.bit_count() == 1 or epoch % 32 == 0:  # seldom: rules cost time, too
            self._tell(fit, layers.vanishing(self._gists(fit), epoch))
            self._tell(fit, curves.too_high(self._curves(fit)))

    def fit_ended(self, fit: Fit) -> None:
        """The rules that need the whole run; the network is at its best by now or at its end."""
        memory, epoch = self._memory(fit), fit.state.epoch
        if memory["ended"] or not memory["train"]:
            return
        whole = self._curves(fit)
        rows = start.some_rows(fit.train).to(fit.device)
        numbers = start.look(fit.network, rows.inputs)
        self._tell(fit, layers.dead(numbers, epoch, len(rows)))
        self._tell(fit, layers.saturated(numbers, epoch))
        self._tell(fit, layers.vanishing(self._gists(fit), epoch))
        self._tell(fit, curves.too_high(whole))
        self._tell(fit, curves.too_low(whole))
        self._tell(fit, curves.batches(whole))
        self._tell(fit, curves.learnt(whole, set(memory["findings"])))
        self._tell(fit, curves.overfitting(whole, set(memory["findings"])))
        memory["ended"] = True

    def failed(self, fit: Fit, error: TrainingFailed) -> None:
        """Add to an error the layer where it began, where that can still be told."""
        if "epoch" not in error.where or "not_finite" in self._memory(fit)["findings"]:
            return
        rows = fit.validation if "validation" in error.message else self._batch
        rows = rows or start.some_rows(fit.train).to(fit.device)
        better = self._failure(fit, trace.locate(fit, rows), error.message, error.where)
        error.message, error.where, error.remedy = better.message, better.where, better.remedy

    def _begin(self, fit: Fit) -> None:
        """Look at the rows, and at the network before its first step."""
        memory = self._memory(fit)
        link, classes = self.target.link, len(self.target.classes)
        balanced = fit.spec.training.class_weights == "balanced" or (
            fit.spec.loss is not None and fit.spec.loss.kind == "focal"
        )
        self._tell(fit, start.rows_findings(fit, self.features, classes, balanced))
        rows = start.some_rows(fit.train).to(fit.device)
        memory["start"] = start.loss_of(fit, rows)
        memory["constant_train"] = start.constant_loss(fit, link, fit.train)
        memory["constant_validation"] = start.constant_loss(fit, link, fit.validation)
        spread = start.unit_spread(fit.network, rows.inputs)
        if "unscaled_inputs" in memory["findings"]:
            return  # the start is not at fault
        constant = max(
            start.constant_loss(fit, link, rows),
            start.zero_loss(fit, rows, self.target.outputs),
        )
        self._tell(fit, layers.start(memory["start"], constant, spread))
        numbers = start.look(fit.network, rows.inputs)
        self._tell(fit, layers.saturated(numbers, 0))
        self._tell(fit, layers.dead(numbers, 0, len(rows)))

    def _memory(self, fit: Fit) -> dict[str, Any]:
        """What outlives this process: plain values only."""
        memory: dict[str, Any] = fit.state.memory.setdefault(_MEMORY, {})
        if not memory:
            unknown = {"start": math.nan, "constant_train": math.nan}
            memory |= {"train": [], "gists": [], "last": {}, "findings": {}, "ended": False}
            memory |= unknown | {"constant_validation": math.nan}
        return memory

    def _gists(self, fit: Fit) -> list[layers.Gist]:
        return [layers.Gist(*values) for values in self._memory(fit)["gists"]]

    def _curves(self, fit: Fit) -> curves.Curves:
        memory = self._memory(fit)
        return curves.Curves(
            start=memory["start"],
            train=memory["train"],
            validation=fit.state.losses,
            constant_train=memory["constant_train"],
            constant_validation=memory["constant_validation"],
            gists=self._gists(fit),
            epochs=fit.spec.training.epochs,
            steps=fit.steps,
            batch_size=fit.spec.training.batch_size,
            rows=len(fit.train),
            validation_rows=len(fit.validation),
            weights=sum(p.numel() for p in fit.parameters),
        )

    def _twice(self, fit: Fit, numbers: probes.Numbers, what: str) -> probes.Numbers:
        """Of each layer the smaller share of this sample and the one before: nothing passing."""
        last = self._memory(fit)["last"]
        return {
            name: {what: min(values.get(what, 0.0), last.get(name, {}).get(what, 0.0))}
            for name, values in numbers.items()
        }

    def _spool(self, numbers: probes.Numbers, epoch: int) -> None:
        values = {}
        for layer, measured in numbers.items():
            for what, value in measured.items():
                if what != "update_norm":
                    values[f"diagnostics/{layer}/{what}"] = value
            if layer in self._sizes and "update_norm" in measured:
                ratio = layers.update_ratio(measured, self._sizes[layer])
                values[f"diagnostics/{layer}/update_ratio"] = ratio
        finite = {key: value for key, value in values.items() if math.isfinite(value)}
        self.journal.metrics(finite, epoch)

    def _tell(self, fit: Fit, findings: Iterable[Finding]) -> None:
        """Each kind once; again only when it has become more severe."""
        known = self._memory(fit)["findings"]
        for finding in findings:
            before = known.get(finding.code)
            if before is None or RANK[finding.severity] > RANK[before["severity"]]:
                known[finding.code] = finding.as_dict()
                self.journal.event("finding", **finding.as_dict())

    def _fail(self, fit: Fit) -> None:
        """Raise if weights are about to become NaN; a norm alone may overflow."""
        gradients = [p.grad for p in fit.parameters if p.grad is not None]
        if all(bool(torch.isfinite(g).all()) for g in gradients):
            return
        assert self._step is not None
        assert self._batch is not None
        epoch, step = fit.state.epoch + 1, self._step % fit.steps + 1
        message = f"The training loss became NaN or infinite in epoch {epoch}, step {step}."
        origin = trace.locate(fit, self._batch)
        raise self._failure(fit, origin, message, {"epoch": epoch, "step": step})

    def _failure(
        self, fit: Fit, origin: trace.Origin, message: str, where: dict[str, Any]
    ) -> TrainingFailed:
        sentence = f"{message.rstrip('.')}: {origin.sentence}."
        finding = found(
            "not_finite", sentence, "critical", layer=origin.layer, epoch=where["epoch"]
        )
        self._tell(fit, [finding])
        where = where | ({"layer": origin.layer} if origin.layer else {})
        return TrainingFailed(sentence, where=where, remedy=KINDS["not_finite"].remedy)
