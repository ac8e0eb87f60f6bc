"""Findings: a fault by its name, with what was measured and what to do."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Severity = Literal["info", "warning", "critical"]
RANK: dict[Severity, int] = {"info": 0, "warning": 1, "critical": 2}


@dataclass(frozen=True)
class Kind:
    """What a code stands for. `path` is the key of the plan that the remedy turns first."""

    meaning: str
    remedy: str
    path: str


KINDS: dict[str, Kind] = {
    "not_finite": Kind(
        "A value became infinite or NaN; the layer where it began is named.",
        "Lower `optimizer.lr` or `training.clip_norm`, set `training.precision` to fp32, or "
        "`preprocessing.numeric` to quantile if a column holds extreme values.",
        "optimizer.lr",
    ),
    "exploding_gradients": Kind(
        "The gradient's norm before clipping is far above what a step can follow.",
        "Set `training.clip_norm` to 1, lower `optimizer.lr`, choose an `initialization` such as "
        "orthogonal, or a gated network (`lstm`, `gru`) instead of `rnn`.",
        "training.clip_norm",
    ),
    "vanishing_gradients": Kind(
        "The gradient shrinks on its way back: early layers get almost none of it.",
        "Use `model.activation` relu or gelu, a `model.norm`, residual blocks, or fewer layers.",
        "model.activation",
    ),
    "dead_units": Kind(
        "Rectified units that are zero for every row: they neither answer nor learn.",
        "Lower `optimizer.lr`, use `model.activation` leaky_relu, elu or gelu, a `model.norm`, or "
        "`initialization` he_normal.",
        "model.activation",
    ),
    "saturated_units": Kind(
        "Sigmoid or tanh units that lie at their limits, where the gradient is zero.",
        "Lower `optimizer.lr`, use `initialization` xavier_uniform, add a `model.norm`, or use "
        "`model.activation` relu or gelu.",
        "initialization",
    ),
    "poor_initialization": Kind(
        "Before the first step the network is much worse than a constant, or its units are equal.",
        "Set `initialization` to default, he_normal, xavier_uniform or lsuv.",
        "initialization",
    ),
    "learning_rate_too_high": Kind(
        "Each step changes the weights by a large share of themselves, or the loss climbs.",
        "Lower `optimizer.lr` to a tenth; `pellucid lr-range` suggests one.",
        "optimizer.lr",
    ),
    "learning_rate_too_low": Kind(
        "Each step changes the weights by almost nothing, and the loss was still falling.",
        "Raise `optimizer.lr` tenfold; `pellucid lr-range` suggests one.",
        "optimizer.lr",
    ),
    "loss_not_falling": Kind(
        "The training loss is not below that of a constant prediction.",
        "See the other findings first; then raise `model` widths or `training.epochs`, or check "
        "the target.",
        "model",
    ),
    "no_signal": Kind(
        "The training rows are learnt, yet held-out rows are predicted no better than by a "
        "constant: labels may be shuffled, or the columns may not tell the target.",
        "Check how `target` was joined to the columns and whether the rows of `split` come from "
        "one population.",
        "target",
    ),
    "overfitting": Kind(
        "The training loss goes on falling while the validation loss climbs.",
        "Raise `model.dropout` or `optimizer.weight_decay`, lower the `model` widths or "
        "`training.patience`, or add rows.",
        "model.dropout",
    ),
    "oversized_model": Kind(
        "The network has very many more weights than there are training rows, and overfits.",
        "Lower the `model` widths or depth.",
        "model",
    ),
    "few_updates": Kind(
        "The batch is so large that the run has few updates, and the loss was still falling.",
        "Lower `training.batch_size` or raise `training.epochs`.",
        "training.batch_size",
    ),
    "small_batches": Kind(
        "Batches of a few rows: noisy gradients, and most of the time goes into overhead.",
        "Raise `training.batch_size` to 32 or more.",
        "training.batch_size",
    ),
    "class_imbalance": Kind(
        "A class is rare, and every row counts the same in the loss.",
        "Set `training.class_weights` to balanced or `loss.kind` to focal; watch PR-AUC instead "
        "of accuracy.",
        "training.class_weights",
    ),
    "suspected_leakage": Kind(
        "One column alone predicts the target nearly perfectly.",
        "If it is known only after the target, give it the role ignore in `data.roles`.",
        "data.roles",
    ),
    "constant_inputs": Kind(
        "Inputs have one value in all training rows.",
        "Give these columns the role ignore in `data.roles`, or check how they were made.",
        "data.roles",
    ),
    "unscaled_inputs": Kind(
        "The inputs that reach the network are on very different or very large scales.",
        "Set `preprocessing.numeric` to standardize or quantile, or "
        "`preprocessing.sequence.scaling` to standardize.",
        "preprocessing.numeric",
    ),
    "extreme_values": Kind(
        "An input has values tens of standard deviations away from the others.",
        "Set `preprocessing.numeric` to quantile, or correct the values.",
        "preprocessing.numeric",
    ),
    "shared_rows": Kind(
        "Validation rows also stand among the training rows: scores are too good.",
        "Remove the duplicates, or keep them together with `split` by group.",
        "split",
    ),
    "label_noise": Kind(
        "Held-out rows contradict predictions that are confident and else right: labels seem "
        "wrong (confident learning, Northcutt et al., 2021).",
        "Look at the rows that are named first; raise `loss.label_smoothing` while they are "
        "in doubt.",
        "target",
    ),
}


@dataclass(frozen=True)
class Finding:
    """One fault.

    Attributes:
        code: a key of `KINDS`.
        severity: info is worth knowing; warning spoils the model; critical ends the run.
        message: a sentence, with the numbers.
        remedy: what to do, naming keys of the plan.
        layer: where in the network, as PyTorch names it.
        epoch: when, counted from 1; 0 is before the first step.
        evidence: the numbers, by name.
    """

    code: str
    severity: Severity
    message: str
    remedy: str
    layer: str | None = None
    epoch: int | None = None
    evidence: dict[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The finding as plain data; what does not apply is left out."""
        return {key: value for key, value in asdict(self).items() if value not in (None, {})}


def found(
    code: str,
    message: str,
    severity: Severity = "warning",
    *,
    layer: str | None = None,
    epoch: int | None = None,
    evidence: Mapping[str, float] | None = None,
) -> Finding:
    """A finding of a kind, with the kind's remedy."""
    numbers = {name: float(value) for name, value in (evidence or {}).items()}
    return Finding(code, severity, message, KINDS[code].remedy, layer, epoch, numbers)
